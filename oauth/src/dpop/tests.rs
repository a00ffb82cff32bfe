use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use platform::{clock::MockClock, public_url::PublicUrl, secret::Secret};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    client::{Client, parse_preregistered},
    data_keys::DataKeys,
    redirect_uri::Schemes,
    used_ids::InProcess,
};

const TOKEN: &str = "an-access-token";

/// A client with a P-256 key.
struct Signer {
    key: EncodingKey,
    jwk: Value,
}

impl Signer {
    fn new() -> Self {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
        };

        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let key = EncodingKey::from_ec_der(pkcs8.unwrap().as_ref());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        Self { key, jwk }
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn claims(jti: &str) -> Value {
    json!({
        "jti": jti, "htm": "POST", "htu": "https://notes.example.com/mcp",
        "iat": now().timestamp(), "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(TOKEN)),
    })
}

fn with(mut json: Value, member: &str, value: Value) -> Value {
    json[member] = value;
    json
}

fn server(mode: Mode) -> (Dpop, Arc<MockClock>) {
    let clock = Arc::new(MockClock::at(now()));
    let keys = DataKeys::new(&[], &[Secret::new("a secret of thirty-two bytes or more")]);
    let url = PublicUrl::parse("https://notes.example.com").unwrap();
    let used = Arc::new(InProcess::new(Arc::clone(&clock) as _));
    (Dpop::new(mode, &url, keys, used, Arc::clone(&clock) as _), clock)
}

async fn check(dpop: &Dpop, proof: &str) -> Result<ProvenKey, ProofError> {
    dpop.check(proof, ProofTarget { method: "POST", path: "/mcp", token: None }).await
}

fn nonce(result: Result<ProvenKey, ProofError>) -> String {
    match result {
        Err(ProofError::NonceNeeded(nonce)) => nonce,
        other => panic!("no nonce is needed: {other:?}"),
    }
}

#[tokio::test]
async fn a_proof_is_accepted_once_while_it_is_young() {
    let ((dpop, clock), signer) = (server(Mode::Allowed), Signer::new());
    let sign = |jti, iat: i64| {
        let claims = with(claims(jti), "iat", (now().timestamp() + iat).into());
        signer.sign(&signer.header(), &claims)
    };
    for (jti, iat) in [("a", 0), ("oldest", -60), ("newest", 10)] {
        let proof = sign(jti, iat);
        assert!(check(&dpop, &proof).await.is_ok(), "{jti}");
        assert!(matches!(check(&dpop, &proof).await, Err(ProofError::Invalid(_))), "{jti}");
    }
    // The clock of the client is wrong: it needs a nonce.
    for iat in [-61, 11, -300, 300] {
        nonce(check(&dpop, &sign("b", iat)).await);
    }
    for iat in [-301, 301] {
        assert!(matches!(check(&dpop, &sign("b", iat)).await, Err(ProofError::Invalid(_))));
    }
    // A used proof is forgotten only after it is too old.
    let proof = sign("c", 10);
    assert!(check(&dpop, &proof).await.is_ok());
    clock.advance(Duration::from_secs(70));
    assert!(matches!(check(&dpop, &proof).await, Err(ProofError::Invalid(_))));
    clock.advance(Duration::from_secs(1));
    nonce(check(&dpop, &proof).await);
}

#[tokio::test]
async fn a_nonce_of_the_server_replaces_the_clock_of_the_client() {
    let ((dpop, clock), signer) = (server(Mode::Required), Signer::new());
    let sign = |jti, iat: i64, nonce: &str| {
        let claims = with(claims(jti), "iat", (now().timestamp() + iat).into());
        signer.sign(&signer.header(), &with(claims, "nonce", nonce.into()))
    };
    let first = nonce(check(&dpop, &signer.sign(&signer.header(), &claims("a"))).await);
    for wrong in ["", "nonsense", &first[1..], &first[..40]] {
        nonce(check(&dpop, &sign("a", 0, wrong)).await);
    }
    for (jti, iat) in [("a", 0), ("b", -299), ("c", 299)] {
        let proven = check(&dpop, &sign(jti, iat, &first)).await.unwrap();
        assert_eq!(proven.next_nonce, None, "it is new");
    }
    clock.advance(Duration::from_mins(2));
    let proven = check(&dpop, &sign("d", 0, &first)).await.unwrap();
    let second = proven.next_nonce.expect("the first one is ageing");
    clock.advance(Duration::from_mins(3));
    nonce(check(&dpop, &sign("e", 300, &first)).await);
    assert!(check(&dpop, &sign("f", 300, &second)).await.is_ok());
    // The nonce of an instance with another secret.
    let keys = DataKeys::new(&[], &[Secret::new("another secret of thirty-two bytes")]);
    let url = PublicUrl::parse("https://notes.example.com").unwrap();
    let used = Arc::new(InProcess::new(Arc::clone(&clock) as _));
    let other = Dpop::new(Mode::Required, &url, keys, used, Arc::clone(&clock) as _);
    nonce(check(&other, &sign("g", 300, &second)).await);
}

#[tokio::test]
async fn a_proof_for_a_token_has_its_hash_and_its_key() {
    let ((dpop, _), signer, other) = (server(Mode::Allowed), Signer::new(), Signer::new());
    let key_of = async |signer: &Signer, jti| {
        let proof = signer.sign(&signer.header(), &claims(jti));
        check(&dpop, &proof).await.unwrap().key
    };
    let key = key_of(&signer, "a").await;
    let check = async |signer: &Signer, claims: &Value, token| {
        let token = Some(TokenProof { token, key: &key });
        let target = ProofTarget { method: "POST", path: "/mcp", token };
        dpop.check(&signer.sign(&signer.header(), claims), target).await
    };
    assert_eq!(check(&signer, &claims("b"), TOKEN).await.unwrap().key, key);
    for (case, signer, claims, token) in [
        ("another key", &other, claims("c"), TOKEN),
        ("another token", &signer, claims("d"), "another-token"),
        ("no hash", &signer, with(claims("e"), "ath", Value::Null), TOKEN),
    ] {
        let result = check(signer, &claims, token).await;
        assert!(matches!(result, Err(ProofError::Invalid(_))), "{case}: {result:?}");
    }
}

#[tokio::test]
async fn another_algorithm_than_that_of_the_key_is_refused() {
    let ((dpop, _), signer) = (server(Mode::Allowed), Signer::new());
    let octets = URL_SAFE_NO_PAD.encode([1; 32]);
    let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
    for (case, alg, jwk) in [
        ("none", "none", signer.jwk.clone()),
        ("HMAC", "HS256", json!({ "kty": "oct", "k": octets })),
        ("HMAC with a public key", "HS256", signer.jwk.clone()),
        ("symmetric", "ES256", json!({ "kty": "oct", "k": octets })),
        ("RSA with an EC key", "RS256", signer.jwk.clone()),
        ("EdDSA with an EC key", "EdDSA", signer.jwk.clone()),
        ("another curve", "ES256", with(signer.jwk.clone(), "crv", "P-384".into())),
        ("ES384", "ES384", with(signer.jwk.clone(), "crv", "P-384".into())),
        ("short RSA", "RS256", json!({ "kty": "RSA", "n": short, "e": "AQAB" })),
        ("private", "ES256", with(signer.jwk.clone(), "d", octets.clone().into())),
        ("for encryption", "ES256", with(signer.jwk.clone(), "use", "enc".into())),
        ("for another algorithm", "ES256", with(signer.jwk.clone(), "alg", "ES384".into())),
        ("no coordinate", "ES256", with(signer.jwk.clone(), "x", Value::Null)),
        ("a quote", "ES256", with(signer.jwk.clone(), "x", "\",\"y\":\"".into())),
        ("not on the curve", "ES256", with(signer.jwk.clone(), "x", octets.clone().into())),
        ("a text", "ES256", "x".into()),
        ("absent", "ES256", Value::Null),
    ] {
        let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
        let result = check(&dpop, &signer.sign(&header, &claims("a"))).await;
        assert!(matches!(result, Err(ProofError::Invalid(_))), "{case}: {result:?}");
    }
    assert!(check(&dpop, &signer.sign(&signer.header(), &claims("a"))).await.is_ok());
}

#[test]
fn a_grant_that_is_bound_stays_bound() {
    let client = |secret: &str| -> Client {
        let text = format!(
            r#"[{{"client_id": "app", "client_name": "App"{secret},
                "redirect_uris": ["https://app.example.com/cb"]}}]"#
        );
        let clients = parse_preregistered(&text, &Schemes::default(), crate::scope::EXAMPLE);
        clients.unwrap().remove(0)
    };
    let public = client("");
    let confidential = client(r#", "client_secret": "a secret of thirty-two bytes or more""#);
    let [one, other] = [[1; 32], [2; 32]]
        .map(|bytes: [u8; 32]| Thumbprint::parse(&URL_SAFE_NO_PAD.encode(bytes)).unwrap());
    for client in [&public, &confidential] {
        assert_eq!(bind(client, None, None), Ok(None));
        assert_eq!(bind(client, None, Some(&one)), Ok(Some(one.clone())));
        assert_eq!(bind(client, Some(one.clone()), Some(&one)), Ok(Some(one.clone())));
        assert_eq!(bind(client, Some(one.clone()), None), Err(BindError::ProofMissing));
    }
    assert_eq!(bind(&public, Some(one.clone()), Some(&other)), Err(BindError::OtherKey));
    assert_eq!(bind(&confidential, Some(one), Some(&other)), Ok(Some(other)));
}
