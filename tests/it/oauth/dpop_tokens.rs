//! Which tokens are bound to a key, and what is required of whom: N188 to N197.

use serde_json::json;
use tests::{
    browser::{ClientApp, REDIRECT_URI, answer, with},
    dpop::{DpopKey, Proof, token_request},
};

use super::{
    dpop::{challenged, let_in, ping, present, stage},
    text, told,
};

#[tokio::test]
async fn n188_a_refresh_token_is_bound_to_the_key_and_survives_lost_answers() {
    let stage = stage("allowed").await;
    let (key, other) = (DpopKey::generate(), DpopKey::generate());
    let (client_app, _, first) = stage.connected(&key).await;
    let refused = async |token: &str| {
        let form = client_app.refreshing(token);
        let page = token_request(stage.one(), &form, &[]).await;
        told("N188 no proof", &page, 400, "invalid_dpop_proof");
        let proof = stage.token_proof(&key).with("htm", "GET".into());
        let page = token_request(stage.one(), &form, &[&key.sign(&proof)]).await;
        told("N188 a wrong proof", &page, 400, "invalid_dpop_proof");
        let page = stage.refresh(&client_app, token, &other).await;
        told("N188 another key", &page, 400, "invalid_grant");
    };
    let next = async |token: &str| {
        let page = stage.refresh(&client_app, token, &key).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let tokens = page.json();
        assert_eq!(tokens["token_type"], "DPoP");
        let access = text(&tokens, "access_token");
        let proof = key.sign(&stage.mcp_proof(&key, &access));
        let_in("the new token", &present(stage.one(), &access, &proof).await);
        text(&tokens, "refresh_token")
    };
    refused(&first).await;
    // Nothing of that has rotated or revoked anything.
    let second = next(&first).await;
    // A lost answer is given again, to the holder of the key only.
    stage.pass(100);
    refused(&first).await;
    assert_eq!(next(&first).await, second, "N188");
    // A lost successor is replaced, for the holder of the key only.
    stage.pass(600);
    refused(&first).await;
    let third = next(&first).await;
    assert_eq!(stage.audited("refresh_recovered").await, 1, "N188");
    let fourth = next(&third).await;
    // A replay with the key still ends the grant.
    stage.pass(600);
    let page = stage.refresh(&client_app, &third, &key).await;
    told("N188 replay", &page, 400, "invalid_grant");
    let page = stage.refresh(&client_app, &fourth, &key).await;
    told("N188 ended", &page, 400, "invalid_grant");
}

#[tokio::test]
async fn n189_a_refresh_with_a_proof_binds_what_was_unbound() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let client_app = stage.client_app().await;
    let tokens = client_app.connect(&stage.browser()).await;
    assert_eq!(tokens["token_type"], "Bearer");
    let first = text(&tokens, "refresh_token");
    let page = stage.refresh(&client_app, &first, &key).await;
    assert_eq!(page.json()["token_type"], "DPoP", "N189 {}", page.text());
    assert_eq!(stage.audited("grant_bound").await, 1, "N189");
    let second = text(&page.json(), "refresh_token");
    told("N189", &client_app.refresh(stage.one(), &second).await, 400, "invalid_dpop_proof");
    // The answer was lost, and the client has the key.
    let page = stage.refresh(&client_app, &first, &key).await;
    assert_eq!(text(&page.json(), "refresh_token"), second, "N189");
    let page = stage.refresh(&client_app, &second, &key).await;
    let (access, third) = (text(&page.json(), "access_token"), text(&page.json(), "refresh_token"));
    // Another party has the token from before the grant was bound: one of the two has copied it.
    told("N189", &client_app.refresh(stage.one(), &first).await, 400, "invalid_grant");
    let page = stage.refresh(&client_app, &third, &key).await;
    told("N189", &page, 400, "invalid_grant");
    let proof = key.sign(&stage.mcp_proof(&key, &access));
    assert_eq!(present(stage.one(), &access, &proof).await.status, 401, "N189");
    assert_eq!(stage.audited("refresh_replayed").await, 1, "N189");
    assert_eq!(stage.audited("grant_bound").await, 1, "N189: it was bound once");

    // A copy of a token that is presented with the key of the thief does not lock its owner out unnoticed.
    let tokens = client_app.connect(&stage.browser()).await;
    let first = text(&tokens, "refresh_token");
    let second = text(&client_app.refresh(stage.one(), &first).await.json(), "refresh_token");
    let page = stage.refresh(&client_app, &first, &key).await;
    assert_eq!(text(&page.json(), "refresh_token"), second, "N189 within the grace period");
    told("N189 owner", &client_app.refresh(stage.one(), &second).await, 400, "invalid_grant");
    let page = stage.refresh(&client_app, &second, &key).await;
    told("N189 thief", &page, 400, "invalid_grant");

    // A client with a secret is bound by the secret: it may use another key, but not none.
    let metadata = json!({
        "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post",
    });
    let client_app = ClientApp::register_with(stage.one(), metadata).await;
    let secret: &'static str = client_app.secret.clone().expect("it has a secret").leak();
    let code = client_app.code(&stage.browser()).await;
    let proof = key.sign(&stage.token_proof(&key));
    let form = with(&code.form(), "client_secret", secret);
    let page = token_request(stage.one(), &form, &[&proof]).await;
    let token = text(&page.json(), "refresh_token");
    let form = with(&client_app.refreshing(&token), "client_secret", secret);
    let page = token_request(stage.one(), &form, &[]).await;
    told("N190", &page, 400, "invalid_dpop_proof");
    let other = DpopKey::generate();
    let proof = other.sign(&stage.token_proof(&other));
    let page = token_request(stage.one(), &form, &[&proof]).await;
    assert_eq!(page.status, 200, "N190 {}", page.text());
    let access = text(&page.json(), "access_token");
    let proof = other.sign(&stage.mcp_proof(&other, &access));
    let_in("N190", &present(stage.other(), &access, &proof).await);
}

#[tokio::test]
async fn n191_a_code_is_bound_by_dpop_jkt() {
    let stage = stage("allowed").await;
    let (key, other) = (DpopKey::generate(), DpopKey::generate());
    let client_app = stage.client_app().await;
    let asked = client_app.asks().with("dpop_jkt", &key.thumbprint());
    let code = client_app.received(&asked, &stage.browser().sign_in(&asked).await);
    told("N191", &code.redeem(stage.one()).await, 400, "invalid_dpop_proof");
    let proof = other.sign(&stage.token_proof(&other));
    let page = token_request(stage.other(), &code.form(), &[&proof]).await;
    told("N191", &page, 400, "invalid_grant");
    stage.redeem(&code, &key).await;

    let thumbprint = key.thumbprint();
    for (case, asked) in [
        ("short", client_app.asks().with("dpop_jkt", &thumbprint[1..])),
        ("not base64url", client_app.asks().with("dpop_jkt", &"+".repeat(43))),
        ("twice", client_app.asks().and("dpop_jkt", &thumbprint).and("dpop_jkt", &thumbprint)),
    ] {
        let page = stage.browser().get(&asked.path()).await;
        assert_eq!(page.status, 303, "N192 {case}: {}", page.text());
        let answer = answer(page.header("location"));
        assert_eq!(answer["error"], "invalid_request", "N192 {case}");
    }
}

#[tokio::test]
async fn n193_a_client_with_a_wrong_clock_gets_a_nonce() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let code = stage.client_app().await.code(&stage.browser()).await;
    let late = |proof: Proof| {
        let iat = proof.claims["iat"].as_i64().expect("it has a time") - 200;
        proof.with("iat", iat.into())
    };
    let proof = late(stage.token_proof(&key));
    let page = token_request(stage.one(), &code.form(), &[&key.sign(&proof)]).await;
    told("N193", &page, 400, "use_dpop_nonce");
    let nonce = page.header("dpop-nonce").to_owned();
    // Nonces of other servers, and damaged ones, are refused with a new one.
    for wrong in ["", "nonsense", &nonce[1..], &nonce[..nonce.len() - 4]] {
        let proof = stage.token_proof(&key).with_nonce(wrong);
        let page = token_request(stage.other(), &code.form(), &[&key.sign(&proof)]).await;
        told("N194", &page, 400, "use_dpop_nonce");
        assert_ne!(page.header("dpop-nonce"), "", "N194");
    }
    // The nonce of one instance is good at the other, at both endpoints.
    let proof = late(stage.token_proof(&key)).with_nonce(&nonce);
    let page = token_request(stage.other(), &code.form(), &[&key.sign(&proof)]).await;
    assert_eq!(page.status, 200, "N193 {}", page.text());
    assert_eq!(page.header("dpop-nonce"), "", "the nonce is new");
    let token = text(&page.json(), "access_token");
    let proof = late(stage.mcp_proof(&key, &token));
    challenged("N193", &present(stage.one(), &token, &key.sign(&proof)).await, "use_dpop_nonce");
    let proof = late(stage.mcp_proof(&key, &token)).with_nonce(&nonce);
    let_in("N193", &present(stage.other(), &token, &key.sign(&proof)).await);

    // An old nonce comes with a new one, and later is refused.
    stage.pass(3 * 60);
    let proof = key.sign(&stage.mcp_proof(&key, &token).with_nonce(&nonce));
    let page = present(stage.one(), &token, &proof).await;
    let_in("N193 ageing", &page);
    let newer = page.header("dpop-nonce").to_owned();
    assert_ne!(newer, "", "N193");
    stage.pass(2 * 60);
    let proof = key.sign(&stage.mcp_proof(&key, &token).with_nonce(&nonce));
    challenged("N194", &present(stage.one(), &token, &proof).await, "use_dpop_nonce");
    let proof = key.sign(&stage.mcp_proof(&key, &token).with_nonce(&newer));
    let_in("N193 newer", &present(stage.other(), &token, &proof).await);
}

#[tokio::test]
async fn n195_a_server_that_requires_dpop_accepts_nothing_else() {
    let stage = stage("required").await;
    let key = DpopKey::generate();
    let client_app = stage.client_app().await;
    let code = client_app.code(&stage.browser()).await;
    told("N195 no proof", &code.redeem(stage.one()).await, 400, "invalid_dpop_proof");
    let proof = key.sign(&stage.token_proof(&key));
    let page = token_request(stage.one(), &code.form(), &[&proof]).await;
    told("N195 no nonce", &page, 400, "use_dpop_nonce");
    let nonce = page.header("dpop-nonce").to_owned();
    let proof = key.sign(&stage.token_proof(&key).with_nonce(&nonce));
    let page = token_request(stage.other(), &code.form(), &[&proof]).await;
    let token = text(&page.json(), "access_token");
    let proof = key.sign(&stage.mcp_proof(&key, &token));
    challenged("N195", &present(stage.one(), &token, &proof).await, "use_dpop_nonce");
    let proof = key.sign(&stage.mcp_proof(&key, &token).with_nonce(&nonce));
    let_in("N195", &present(stage.one(), &token, &proof).await);

    // A token of the command line, which is bound to no key.
    let unbound = stage.cluster.token("ada").await;
    for authorization in [format!("Bearer {unbound}"), format!("DPoP {unbound}")] {
        let page = ping(stage.one(), &[&authorization], &[]).await;
        challenged("N195 unbound", &page, "invalid_token");
    }
    let page = ping(stage.one(), &[], &[]).await;
    let challenge = page.header("www-authenticate");
    assert!(challenge.starts_with("DPoP resource_metadata="), "N195 {challenge}");
}

#[tokio::test]
async fn n196_a_client_that_registered_for_bound_tokens_gets_no_other() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let metadata = json!({ "redirect_uris": [REDIRECT_URI], "dpop_bound_access_tokens": true });
    let page = tests::browser::register(stage.one(), metadata.to_string()).await;
    assert_eq!(page.json()["dpop_bound_access_tokens"], true, "N196");
    let client_app = ClientApp::register_with(stage.one(), metadata).await;
    let code = client_app.code(&stage.browser()).await;
    told("N196", &code.redeem(stage.one()).await, 400, "invalid_dpop_proof");
    stage.redeem(&code, &key).await;
    let wrong = json!({ "redirect_uris": [REDIRECT_URI], "dpop_bound_access_tokens": "yes" });
    let page = tests::browser::register(stage.one(), wrong.to_string()).await;
    told("N196", &page, 400, "invalid_client_metadata");
}

#[tokio::test]
async fn n197_a_server_without_dpop_ignores_proofs_and_refuses_bound_tokens() {
    let mut stage = stage("off").await;
    let key = DpopKey::generate();
    let client_app = stage.client_app().await;
    let asked = client_app.asks().with("dpop_jkt", "nonsense");
    let code = client_app.received(&asked, &stage.browser().sign_in(&asked).await);
    let page = token_request(stage.one(), &code.form(), &["nonsense"]).await;
    assert_eq!(page.json()["token_type"], "Bearer", "N197 {}", page.text());
    stage.is_good(&text(&page.json(), "access_token")).await;

    // An instance from before DPoP was turned off.
    let earlier = stage.cluster.join(&[("DPOP", "allowed")]).await;
    let code = client_app.code(&stage.browser()).await;
    let proof = key.sign(&stage.token_proof(&key));
    let page = token_request(stage.cluster.web(earlier), &code.form(), &[&proof]).await;
    let (access, refresh) =
        (text(&page.json(), "access_token"), text(&page.json(), "refresh_token"));
    for scheme in ["Bearer", "DPoP"] {
        let proof = key.sign(&stage.mcp_proof(&key, &access));
        let page = ping(stage.one(), &[&format!("{scheme} {access}")], &[&proof]).await;
        assert_eq!(page.status, 401, "N197 {scheme}");
        assert_eq!(page.headers.get_all("www-authenticate").iter().count(), 1, "N197");
        assert!(page.header("www-authenticate").starts_with("Bearer "), "N197 {scheme}");
    }
    let page = stage.refresh(&client_app, &refresh, &key).await;
    told("N197", &page, 400, "invalid_grant");
}
