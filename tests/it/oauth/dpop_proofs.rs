//! Proofs that are wrong, for another request, or used before: N180 to N187.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::dpop::{DpopKey, token_request};

use super::{
    dpop::{challenged, let_in, ping, present, stage},
    text, told,
};

const RACERS: usize = 16;
const ROUNDS: usize = 20;

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
