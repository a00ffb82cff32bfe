//! Tokens that are bound to a key (RFC 9449): N180 to N199, P20 and P21.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use oauth::used_ids::{UsedId, UsedIds, UsedIdsUnavailable};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp, Code, REDIRECT_URI, answer, with},
    client::{Page, Web},
    cluster::{Cluster, Database, Setup},
    dpop::{DpopKey, Proof, mcp_request, token_request},
    github::GitHub,
    redis,
};

use super::{Stage, text, told};

const RACERS: usize = 16;
const ROUNDS: usize = 20;

/// Two instances on PostgreSQL and Redis, with this value of `DPOP`.
async fn stage(mode: &str) -> Stage {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
    let setup = setup.with("DPOP", mode).on_redis().await;
    Stage { cluster: setup.start().await, github }
}

/// A valid proof for a request to this path.
fn proof(cluster: &Cluster, key: &DpopKey, method: &str, path: &str) -> Proof {
    // The public URL is that of the first instance.
    let url = format!("{}{path}", cluster.web(0).origin());
    key.proof(cluster.clock(), method, &url)
}

impl Stage {
    fn token_proof(&self, key: &DpopKey) -> Proof {
        proof(&self.cluster, key, "POST", "/token")
    }

    fn mcp_proof(&self, key: &DpopKey, token: &str) -> Proof {
        proof(&self.cluster, key, "POST", "/mcp").for_token(token)
    }

    /// Redeems a code with a valid proof.
    async fn redeem(&self, code: &Code, key: &DpopKey) -> Value {
        let proof = key.sign(&self.token_proof(key));
        let page = token_request(self.one(), &code.form(), &[&proof]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let tokens = page.json();
        assert_eq!(tokens["token_type"], "DPoP");
        tokens
    }

    /// A client whose tokens are bound to this key.
    async fn connected(&self, key: &DpopKey) -> (ClientApp, String, String) {
        let client_app = self.client_app().await;
        let code = client_app.code(&self.browser()).await;
        let tokens = self.redeem(&code, key).await;
        (client_app, text(&tokens, "access_token"), text(&tokens, "refresh_token"))
    }

    /// Exchanges a refresh token with a new proof.
    async fn refresh(&self, client_app: &ClientApp, token: &str, key: &DpopKey) -> Page {
        let proof = key.sign(&self.token_proof(key));
        token_request(self.other(), &client_app.refreshing(token), &[&proof]).await
    }
}

/// `ping`, which both eras have.
async fn ping(web: &Web, authorizations: &[&str], proofs: &[&str]) -> Page {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    Page::read(mcp_request(web, Method::POST, authorizations, proofs).body(body)).await
}

/// A call of a tool by a client of 2026-07-28.
async fn modern(
    web: &Web,
    authorization: &str,
    proofs: &[&str],
    tool: &str,
    arguments: Value,
) -> Page {
    let call = json!({ "name": tool, "arguments": arguments });
    let body = web.modern("unused").body("tools/call", call);
    let request = mcp_request(web, Method::POST, &[authorization], proofs)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool);
    Page::read(request.body(body.to_string())).await
}

/// A request with a bound token and one proof.
async fn present(web: &Web, token: &str, proof: &str) -> Page {
    ping(web, &[&format!("DPoP {token}")], &[proof]).await
}

/// The endpoint has let the request in.
fn let_in(case: &str, page: &Page) {
    assert_ne!(page.status, 401, "{case}: {}", page.text());
    assert_ne!(page.status, 503, "{case}: {}", page.text());
}

/// The endpoint has refused the request, with this challenge for DPoP and no other.
fn challenged(case: &str, page: &Page, error: &str) {
    assert_eq!(page.status, 401, "{case}: {}", page.text());
    let challenges: Vec<_> = page.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges.len(), 1, "{case}");
    let challenge = challenges[0].to_str().expect("a challenge is ASCII");
    assert!(challenge.starts_with(&format!(r#"DPoP error="{error}""#)), "{case}: {challenge}");
    assert!(challenge.ends_with(r#"algs="ES256 PS256 RS256 EdDSA Ed25519""#), "{challenge}");
    assert!(challenge.contains("resource_metadata=") && challenge.contains("scope="), "{case}");
    assert_eq!(page.json()["error"], error, "{case}");
    let has_nonce = !page.header("dpop-nonce").is_empty();
    assert_eq!(has_nonce, error == "use_dpop_nonce", "{case}");
}

/// Wrong values of members of the header of a proof, and of its claims; `null`: the member is absent.
/// A proof with one of them is invalid for every request.
fn wrong_members(key: &DpopKey) -> Vec<(String, bool, &'static str, Value)> {
    let mut private = key.jwk();
    private["d"] = "AAAA".into();
    let mut curve = key.jwk();
    curve["crv"] = "P-384".into();
    let small = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let header = [
        ("typ absent", "typ", Value::Null),
        ("typ of an access token", "typ", "at+jwt".into()),
        ("typ JWT", "typ", "JWT".into()),
        ("alg absent", "alg", Value::Null),
        ("alg none", "alg", "none".into()),
        ("alg HS256", "alg", "HS256".into()),
        ("alg ES384", "alg", "ES384".into()),
        ("alg of another kind of key", "alg", "RS256".into()),
        ("jwk absent", "jwk", Value::Null),
        ("jwk a text", "jwk", "key".into()),
        ("jwk private", "jwk", private),
        ("jwk symmetric", "jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("jwk of another curve", "jwk", curve),
        ("jwk of another key", "jwk", DpopKey::generate().jwk()),
        ("jwk of 1024 bits", "jwk", json!({ "kty": "RSA", "n": small, "e": "AQAB" })),
        ("crit", "crit", json!(["x"])),
    ];
    let claims = [
        ("jti absent", "jti", Value::Null),
        ("jti empty", "jti", "".into()),
        ("jti long", "jti", "a".repeat(257).into()),
        ("jti a number", "jti", 7.into()),
        ("htm absent", "htm", Value::Null),
        ("htm of another method", "htm", "PUT".into()),
        ("htm in lower case", "htm", "post".into()),
        ("htu absent", "htu", Value::Null),
        ("htu of another host", "htu", "https://other.example/token".into()),
        ("htu of another path", "htu", "http://127.0.0.1/register".into()),
        ("htu a path", "htu", "/token".into()),
        ("iat absent", "iat", Value::Null),
        ("iat a text", "iat", "now".into()),
        ("iat long ago", "iat", 1_700_000_000.into()),
        ("iat far in the future", "iat", 99_999_999_999_i64.into()),
        ("iat beyond all bounds", "iat", 1e300.into()),
        ("nonce a number", "nonce", 7.into()),
    ];
    let header = header.map(|(case, name, value)| (case.to_owned(), true, name, value));
    let claims = claims.map(|(case, name, value)| (case.to_owned(), false, name, value));
    header.into_iter().chain(claims).collect()
}

/// Texts that are no proof, although the one that they are made of is valid.
fn wrong_texts(valid: &str) -> Vec<(&'static str, Vec<String>)> {
    let (message, signature) = valid.rsplit_once('.').expect("a proof has parts");
    let (header, claims) = message.split_once('.').expect("a proof has parts");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    vec![
        ("empty", vec![String::new()]),
        ("nonsense", vec!["nonsense".to_owned()]),
        ("unsigned", vec![format!("{message}.")]),
        ("without claims", vec![format!("{header}..{signature}")]),
        ("four parts", vec![format!("{header}.{claims}.{claims}.{signature}")]),
        ("another signature", vec![format!("{message}.{flipped}{}", &signature[1..])]),
        ("a short signature", vec![format!("{message}.{}", &signature[..80])]),
        ("padded", vec![format!("{valid}=")]),
        ("two in one header", vec![format!("{valid}, {valid}")]),
        ("two headers", vec![valid.to_owned(), valid.to_owned()]),
        ("long", vec![format!("{header}{}.{claims}.{signature}", "A".repeat(9_000))]),
    ]
}

#[tokio::test]
async fn n180_a_wrong_proof_gets_no_token_and_leaves_the_code_as_it_is() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let code = stage.client_app().await.code(&stage.browser()).await;
    for (case, in_header, name, value) in wrong_members(&key) {
        let proof = stage.token_proof(&key);
        let proof =
            if in_header { proof.with_header(name, value) } else { proof.with(name, value) };
        let page = token_request(stage.one(), &code.form(), &[&key.sign(&proof)]).await;
        told(&format!("N180 {case}"), &page, 400, "invalid_dpop_proof");
    }
    let valid = key.sign(&stage.token_proof(&key));
    for (case, proofs) in wrong_texts(&valid) {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let page = token_request(stage.one(), &code.form(), &proofs).await;
        told(&format!("N180 {case}"), &page, 400, "invalid_dpop_proof");
    }
    // N181: the proof for another endpoint, and for another instance's own address.
    for url in
        [format!("{}/mcp", stage.one().origin()), format!("{}/token", stage.other().origin())]
    {
        let proof = key.sign(&stage.token_proof(&key).with("htu", url.into()));
        let page = token_request(stage.other(), &code.form(), &[&proof]).await;
        told("N181", &page, 400, "invalid_dpop_proof");
    }
    assert_eq!(token_request(stage.other(), &code.form(), &[&valid]).await.status, 200);
}

#[tokio::test]
async fn n182_a_wrong_proof_at_the_endpoint_is_challenged() {
    let stage = stage("allowed").await;
    let (key, other) = (DpopKey::generate(), DpopKey::generate());
    let (_, token, _) = stage.connected(&key).await;
    for (case, in_header, name, value) in wrong_members(&key) {
        let proof = stage.mcp_proof(&key, &token);
        let proof =
            if in_header { proof.with_header(name, value) } else { proof.with(name, value) };
        let page = present(stage.other(), &token, &key.sign(&proof)).await;
        challenged(&format!("N182 {case}"), &page, "invalid_dpop_proof");
    }
    let scheme = format!("DPoP {token}");
    let valid = key.sign(&stage.mcp_proof(&key, &token));
    for (case, proofs) in wrong_texts(&valid) {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let page = ping(stage.one(), &[&scheme], &proofs).await;
        challenged(&format!("N182 {case}"), &page, "invalid_dpop_proof");
    }
    let proof = stage.mcp_proof(&key, &token);
    for (case, proof) in [
        ("no ath", key.sign(&proof.clone().with("ath", Value::Null))),
        ("ath a number", key.sign(&proof.clone().with("ath", 7.into()))),
        ("ath of another token", key.sign(&proof.clone().for_token("another"))),
        ("another key", other.sign(&stage.mcp_proof(&other, &token))),
        ("for the token endpoint", key.sign(&stage.token_proof(&key).for_token(&token))),
    ] {
        let page = present(stage.other(), &token, &proof).await;
        challenged(&format!("N182 {case}"), &page, "invalid_dpop_proof");
    }
    challenged("N182 no proof", &ping(stage.one(), &[&scheme], &[]).await, "invalid_dpop_proof");
    let_in("the valid one", &present(stage.other(), &token, &valid).await);
}

#[tokio::test]
async fn n183_a_token_is_sent_in_the_way_that_it_is_bound() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let (client_app, bound, _) = stage.connected(&key).await;
    let unbound = text(&client_app.connect(&stage.browser()).await, "access_token");
    let (bearer, bound_scheme) = (format!("Bearer {bound}"), format!("DPoP {bound}"));
    let sign = |token: &str| key.sign(&stage.mcp_proof(&key, token));

    // A bound token without the scheme, even with a valid proof: the answer offers both schemes.
    for proofs in [vec![], vec![sign(&bound)]] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let page = ping(stage.one(), &[&bearer], &proofs).await;
        assert_eq!(page.status, 401, "N183");
        let challenges = page.headers.get_all("www-authenticate").iter();
        let challenges: Vec<_> = challenges.map(|it| it.to_str().expect("ASCII")).collect();
        assert!(
            challenges[0].starts_with(r#"Bearer error="invalid_token""#),
            "N183 {challenges:?}"
        );
        assert!(challenges[1].starts_with("DPoP resource_metadata="), "N183 {challenges:?}");
        assert!(!challenges[1].contains("error="), "N183 {challenges:?}");
    }
    let page = present(stage.one(), &unbound, &sign(&unbound)).await;
    challenged("N184 an unbound token", &page, "invalid_token");
    let page = present(stage.one(), "nonsense", &sign("nonsense")).await;
    challenged("N184 no token", &page, "invalid_token");
    for authorizations in
        [[&*bound_scheme, &*bound_scheme], [&*bearer, &*bound_scheme], [&*bound_scheme, &*bearer]]
    {
        let page = ping(stage.one(), &authorizations, &[&sign(&bound)]).await;
        assert_eq!(page.status, 401, "N185 {}", page.text());
    }
    let both = format!("{bound_scheme}, {bearer}");
    assert_eq!(ping(stage.one(), &[&both], &[&sign(&bound)]).await.status, 401, "N185");
    // An unbound token is not disturbed by a proof.
    let_in("P20", &ping(stage.one(), &[&format!("Bearer {unbound}")], &[&sign(&bound)]).await);
    let_in("P20", &ping(stage.one(), &[&format!("dpop {bound}")], &[&sign(&bound)]).await);
}

#[tokio::test]
async fn n186_a_proof_is_accepted_once_by_all_instances() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let client_app = stage.client_app().await;
    let (one, two) =
        (client_app.code(&stage.browser()).await, client_app.code(&stage.browser()).await);
    let proof = key.sign(&stage.token_proof(&key));
    let page = token_request(stage.one(), &one.form(), &[&proof]).await;
    let token = text(&page.json(), "access_token");
    let page = token_request(stage.other(), &two.form(), &[&proof]).await;
    told("N186", &page, 400, "invalid_dpop_proof");
    assert!(page.text().contains("used before"), "N186 {}", page.text());

    // A cached token does not make its proof reusable.
    for (first, second) in [(stage.one(), stage.other()), (stage.other(), stage.other())] {
        let proof = key.sign(&stage.mcp_proof(&key, &token));
        let_in("N186", &present(first, &token, &proof).await);
        challenged("N186", &present(second, &token, &proof).await, "invalid_dpop_proof");
    }
    // The same `jti` of another key is another proof.
    let other = DpopKey::generate();
    let same = stage.token_proof(&key).with("jti", "one".into());
    let page = token_request(stage.one(), &two.form(), &[&key.sign(&same)]).await;
    assert_eq!(page.status, 200, "N186 {}", page.text());
    let three = client_app.code(&stage.browser()).await;
    let same = stage.token_proof(&other).with("jti", "one".into());
    let page = token_request(stage.one(), &three.form(), &[&other.sign(&same)]).await;
    assert_eq!(page.status, 200, "N186 {}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn n187_one_of_many_with_the_same_proof_is_let_in() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let (_, token, _) = stage.connected(&key).await;
    for round in 0..ROUNDS {
        let proof = key.sign(&stage.mcp_proof(&key, &token));
        let racers = (0..RACERS).map(|number| {
            let web = if number % 2 == 0 { stage.one() } else { stage.other() };
            present(web, &token, &proof)
        });
        let pages = join_all(racers).await;
        let let_in = pages.iter().filter(|page| page.status != 401).count();
        assert_eq!(let_in, 1, "N187 round {round}");
    }
}

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
    let code = Code {
        code: asked.code(&stage.browser().sign_in(&asked).await),
        verifier: asked.verifier.clone(),
        client_app: client_app.clone(),
    };
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
    let code = Code {
        code: asked.code(&stage.browser().sign_in(&asked).await),
        verifier: asked.verifier.clone(),
        client_app: client_app.clone(),
    };
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

/// A record of used proofs that is unavailable for a time.
#[derive(Debug, Default)]
struct Unreliable {
    is_away: AtomicBool,
}

#[async_trait]
impl UsedIds for Unreliable {
    async fn record(&self, _: &UsedId, _: Duration) -> Result<bool, UsedIdsUnavailable> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(UsedIdsUnavailable("for a test".to_owned()));
        }
        Ok(true)
    }

    async fn forget(&self, _: &UsedId) -> Result<(), UsedIdsUnavailable> {
        Ok(())
    }
}

#[tokio::test]
async fn n198_no_proof_is_accepted_while_the_used_ones_are_unknown() {
    let (key, github) = (DpopKey::generate(), GitHub::start().await);
    let record = Arc::new(Unreliable::default());
    let shared = Arc::clone(&record);
    let setup = Setup::new(Database::Sqlite).with_github(&github).with("DPOP", "allowed");
    let setup = setup.given(move |given| given.oauth.used_ids = Arc::clone(&shared) as _);
    let cluster = setup.start().await;
    let (web, browser) = (cluster.web(0), Browser::new(&cluster));
    let client_app = ClientApp::register(web).await;
    let sign = |path| key.sign(&proof(&cluster, &key, "POST", path));
    let code = client_app.code(&browser).await;
    let page = token_request(web, &code.form(), &[&sign("/token")]).await;
    let token = text(&page.json(), "access_token");

    record.is_away.store(true, Ordering::SeqCst);
    let code = client_app.code(&browser).await;
    let page = token_request(web, &code.form(), &[&sign("/token")]).await;
    told("N198", &page, 503, "temporarily_unavailable");
    let signed = key.sign(&proof(&cluster, &key, "POST", "/mcp").for_token(&token));
    let page = present(web, &token, &signed).await;
    assert_eq!(page.status, 503, "N198 {}", page.text());
    assert_ne!(page.header("retry-after"), "", "N198");
    // Bearer tokens need no such record, and the code is not used up.
    let page = code.redeem(web).await;
    assert_eq!(page.status, 200, "N198 {}", page.text());
    let bearer = format!("Bearer {}", text(&page.json(), "access_token"));
    let_in("N198", &ping(web, &[&bearer], &[]).await);
    record.is_away.store(false, Ordering::SeqCst);
    let_in("N198", &present(web, &token, &signed).await);
}

#[tokio::test]
async fn n198_no_proof_is_accepted_while_redis_is_away() {
    let (server, github) = (redis::Server::start().await, GitHub::start().await);
    let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
    let setup = setup.with("DPOP", "allowed").on_redis_at(server.url());
    let stage = Stage { cluster: setup.start().await, github };
    let key = DpopKey::generate();
    let (client_app, token, refresh) = stage.connected(&key).await;
    let unbound = text(&client_app.connect(&stage.browser()).await, "access_token");

    drop(server);
    for web in [stage.one(), stage.other()] {
        let proof = key.sign(&stage.mcp_proof(&key, &token));
        let page = present(web, &token, &proof).await;
        assert_eq!(page.status, 503, "N198 {}", page.text());
        assert_ne!(page.header("retry-after"), "", "N198");
    }
    let page = stage.refresh(&client_app, &refresh, &key).await;
    told("N198", &page, 503, "temporarily_unavailable");
    let page =
        modern(stage.other(), &format!("Bearer {unbound}"), &[], "items_list", json!({})).await;
    assert_eq!(page.status, 200, "N198 a bearer token needs no record: {}", page.text());
}

#[tokio::test]
async fn n199_one_process_accepts_a_proof_once_too() {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Sqlite).with_github(&github).with("DPOP", "allowed");
    let cluster = setup.start().await;
    let (web, key) = (cluster.web(0), DpopKey::generate());
    let code = ClientApp::register(web).await.code(&Browser::new(&cluster)).await;
    let signed = key.sign(&proof(&cluster, &key, "POST", "/token"));
    let page = token_request(web, &code.form(), &[&signed]).await;
    let token = text(&page.json(), "access_token");
    told("N199", &token_request(web, &code.form(), &[&signed]).await, 400, "invalid_dpop_proof");
    let signed = key.sign(&proof(&cluster, &key, "POST", "/mcp").for_token(&token));
    let_in("N199", &present(web, &token, &signed).await);
    challenged("N199", &present(web, &token, &signed).await, "invalid_dpop_proof");
}

#[tokio::test]
async fn p21_every_algorithm_and_every_request_of_both_eras_works_on_any_instance() {
    let stage = stage("allowed").await;
    for name in ["ES256", "PS256", "RS256", "EdDSA", "Ed25519"] {
        let key = DpopKey::generate_for(name);
        let (_, token, _) = stage.connected(&key).await;
        for web in [stage.one(), stage.other()] {
            let proof = key.sign(&stage.mcp_proof(&key, &token));
            let_in(&format!("P21 {name}"), &present(web, &token, &proof).await);
        }
    }

    let key = DpopKey::generate();
    let (_, token, _) = stage.connected(&key).await;
    let scheme = format!("DPoP {token}");
    let sign =
        |method: &str| key.sign(&proof(&stage.cluster, &key, method, "/mcp").for_token(&token));
    for web in [stage.one(), stage.other()] {
        let page = modern(web, &scheme, &[&sign("POST")], "items_list", json!({})).await;
        let items = &page.json()["result"]["structuredContent"]["items"];
        assert_eq!(*items, json!([]), "P21 {}", page.text());
    }
    // Legacy: a session, its stream and its end, each request with its own proof.
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "tests", "version": "1" },
        },
    });
    let request = mcp_request(stage.one(), Method::POST, &[&scheme], &[&sign("POST")]);
    let page = Page::read(request.body(initialize.to_string())).await;
    assert_eq!(page.status, 200, "P21 {}", page.text());
    let session = page.header("mcp-session-id").to_owned();
    let in_session = |web: &Web, method: Method| {
        let signed = sign(method.as_str());
        mcp_request(web, method, &[&scheme], &[&signed])
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", "2025-11-25")
    };
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let request = in_session(stage.other(), Method::POST).body(initialized.to_string());
    assert_eq!(Page::read(request).await.status, 202, "P21");
    let stream = in_session(stage.other(), Method::GET).send().await.expect("it answers");
    assert_eq!(stream.status(), 200, "P21");
    drop(stream);
    // A stream is resumed at the other instance with a proof of its own.
    let call = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "test_tool_with_progress", "arguments": {}, "_meta": { "progressToken": 7 } },
    });
    let events = Page::read(in_session(stage.one(), Method::POST).body(call.to_string())).await;
    let first = events.text().lines().find_map(|line| line.strip_prefix("id:")).map(str::to_owned);
    let first = first.unwrap_or_else(|| panic!("P21 no event with an id: {}", events.text()));
    let resume = |request: reqwest::RequestBuilder| {
        Page::read(request.header("last-event-id", first.trim()))
    };
    let resumed = resume(in_session(stage.other(), Method::GET)).await;
    assert_eq!(resumed.status, 200, "P21 {}", resumed.text());
    assert!(resumed.text().contains(r#""id":2"#), "P21 the response: {}", resumed.text());
    let unproven = mcp_request(stage.other(), Method::GET, &[&scheme], &[])
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", "2025-11-25");
    challenged("P21", &resume(unproven).await, "invalid_dpop_proof");
    // The proof of another method is not enough.
    let signed = sign("POST");
    let request = mcp_request(stage.one(), Method::DELETE, &[&scheme], &[&signed])
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", "2025-11-25");
    challenged("P21", &Page::read(request).await, "invalid_dpop_proof");
    let ended = Page::read(in_session(stage.one(), Method::DELETE)).await;
    assert!(ended.status.is_success(), "P21 {}", ended.text());
}

#[tokio::test]
async fn the_metadata_the_preflight_and_the_challenges_depend_on_the_setting() {
    for (mode, algorithms, required, schemes) in [
        ("off", false, Value::Null, &["Bearer"][..]),
        ("allowed", true, false.into(), &["Bearer", "DPoP"]),
        ("required", true, true.into(), &["DPoP"]),
    ] {
        let cluster = Setup::new(Database::Sqlite).with("DPOP", mode).start().await;
        let web = cluster.web(0);
        let server = web.get("/.well-known/oauth-authorization-server").await.json();
        let resource = web.get("/.well-known/oauth-protected-resource/mcp").await.json();
        let expected = if algorithms {
            json!(["ES256", "PS256", "RS256", "EdDSA", "Ed25519"])
        } else {
            Value::Null
        };
        for document in [&server, &resource] {
            assert_eq!(document["dpop_signing_alg_values_supported"], expected, "{mode}");
        }
        assert_eq!(resource["dpop_bound_access_tokens_required"], required, "{mode}");
        let page = ping(web, &[], &[]).await;
        let challenges: Vec<&str> = page
            .headers
            .get_all("www-authenticate")
            .iter()
            .map(|it| it.to_str().expect("ASCII").split(' ').next().expect("a scheme"))
            .collect();
        assert_eq!(challenges, schemes, "{mode}");
        for path in ["/mcp", "/token"] {
            let request = web
                .request(Method::OPTIONS, path)
                .header("origin", web.origin())
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization, dpop");
            let page = Page::read(request).await;
            assert_eq!(page.header("access-control-allow-headers"), "authorization, dpop");
            let exposed = page.header("access-control-expose-headers");
            assert!(exposed.contains("WWW-Authenticate") && exposed.contains("DPoP-Nonce"));
        }
    }
}

#[tokio::test]
async fn users_and_operators_see_which_access_is_bound_to_a_key() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let browser = stage.browser();
    let client_app = stage.client_app().await;
    client_app.connect(&browser).await;
    assert!(!browser.account().await.text().contains("bound to a key"));
    stage.pass(1);
    let code = client_app.code(&browser).await;
    stage.redeem(&code, &key).await;
    assert_eq!(browser.get("/account").await.text().matches("bound to a key").count(), 1);
    let security = browser.get("/account/security").await.text();
    assert_eq!(security.matches("bound to a key").count(), 1, "{security}");
    let filter = oauth::listing::AuditFilter {
        event: Some("token_issued".to_owned()),
        ..Default::default()
    };
    let entries = oauth::listing::audit(stage.cluster.app().oauth(), filter, 10).await.unwrap();
    let details: Vec<_> = entries.into_iter().map(|entry| entry.detail.unwrap()).collect();
    assert_eq!(details[0], format!("items:read items:write, bound to key {}", key.thumbprint()));
    assert_eq!(details[1], "items:read items:write");
}

#[tokio::test]
async fn missing_scopes_are_challenged_with_the_scheme_of_the_request() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let client_app = stage.client_app().await;
    let asked = client_app.asks().with("scope", "items:read");
    let code = Code {
        code: asked.code(&stage.browser().sign_in(&asked).await),
        verifier: asked.verifier.clone(),
        client_app,
    };
    let token = text(&stage.redeem(&code, &key).await, "access_token");
    let signed = key.sign(&stage.mcp_proof(&key, &token));
    let item = json!({ "title": "a", "body": "b" });
    let scheme = format!("DPoP {token}");
    let page = modern(stage.other(), &scheme, &[&signed], "items_create", item).await;
    assert_eq!(page.status, 403, "{}", page.text());
    let challenge = page.header("www-authenticate");
    assert!(challenge.starts_with(r#"DPoP error="insufficient_scope""#), "{challenge}");
}
