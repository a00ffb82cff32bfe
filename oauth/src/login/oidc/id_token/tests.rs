use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;
use crate::jwt::{KeySet, MAX_BYTES};

const ISSUER: &str = "https://login.example.com";
const CLIENT: &str = "our client";
const NONCE: &str = "the nonce of this login";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn expected() -> Expected<'static> {
    Expected { issuer: ISSUER, client_id: CLIENT, nonce: Some(NONCE), now: now() }
}

fn claims() -> Value {
    let now = now().timestamp();
    json!({
        "iss": ISSUER, "sub": "7", "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": NONCE,
    })
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().unwrap().remove(member)),
        value => object[member] = value,
    }
    object
}

/// A provider with one key.
struct Signer {
    key: EcdsaKeyPair,
    jwk: Value,
}

impl Signer {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": "a", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        });
        Self { key, jwk }
    }

    fn sign(&self, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&header(), &claims.to_string())
    }

    fn verify(&self, token: &str, expected: Expected<'_>) -> Result<IdToken, OidcError> {
        verify(std::slice::from_ref(&self.jwk), token, expected)
    }
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "a", "typ": "JWT" })
}

/// Verifies a token with the keys of a provider.
fn verify(keys: &[Value], token: &str, expected: Expected<'_>) -> Result<IdToken, OidcError> {
    let keys = KeySet::read(json!({ "keys": keys }).as_object().unwrap()).unwrap();
    let token = Unverified::read(token)?;
    match keys.find(token.kid.as_deref(), token.algorithm) {
        Some(key) => expected.verify(&token, key),
        None => Err(OidcError::IdToken("its key is unknown")),
    }
}

#[test]
fn a_valid_token_is_accepted() {
    let signer = Signer::new();
    let now = now().timestamp();
    for (member, value) in [
        ("iss", json!(ISSUER)),
        ("aud", json!([CLIENT])),
        ("azp", json!(CLIENT)),
        ("exp", json!(now - 59)),
        ("iat", json!(now + 60)),
        ("iat", json!(now - 86_400)),
        ("nbf", json!(now + 60)),
        ("sub", json!("auth0|a b:c")),
        ("sub", json!("x".repeat(255))),
    ] {
        let claims = with(claims(), member, value);
        let found = signer.verify(&signer.token(&claims), expected());
        let subject = claims["sub"].as_str().unwrap();
        assert_eq!(found.unwrap().subject, subject, "{claims}");
    }
    let several = with(claims(), "aud", json!(["another", CLIENT]));
    let several = with(several, "azp", json!(CLIENT));
    assert!(signer.verify(&signer.token(&several), expected()).is_ok());
    let refreshed = with(claims(), "nonce", Value::Null);
    let after_refresh = Expected { nonce: None, ..expected() };
    assert!(signer.verify(&signer.token(&refreshed), after_refresh).is_ok());
}

#[test]
fn a_token_with_a_wrong_claim_is_refused() {
    let signer = Signer::new();
    let now = now().timestamp();
    for (member, value) in [
        ("iss", json!(null)),
        ("iss", json!("https://login.example.com/")),
        ("iss", json!("https://LOGIN.example.com")),
        ("iss", json!([ISSUER])),
        ("aud", json!(null)),
        ("aud", json!("another")),
        ("aud", json!([])),
        ("aud", json!(["another"])),
        // Several audiences, without `azp`.
        ("aud", json!(["another", CLIENT])),
        ("aud", json!({ CLIENT: true })),
        ("azp", json!("another")),
        ("azp", json!([CLIENT])),
        ("azp", json!("")),
        ("exp", json!(null)),
        ("exp", json!(now - 60)),
        ("exp", json!((now + 300).to_string())),
        ("exp", json!(1e300)),
        ("iat", json!(null)),
        ("iat", json!(now + 61)),
        ("iat", json!("now")),
        ("nbf", json!(now + 61)),
        ("nbf", json!("soon")),
        ("nonce", json!(null)),
        ("nonce", json!("")),
        ("nonce", json!("the nonce of another login")),
        ("nonce", json!([NONCE])),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\nb")),
        ("sub", json!("ä")),
        ("sub", json!("x".repeat(256))),
    ] {
        let claims = with(claims(), member, value);
        let found = signer.verify(&signer.token(&claims), expected());
        assert!(matches!(found, Err(OidcError::IdToken(_))), "{claims}: {found:?}");
    }
    let both = with(with(claims(), "aud", json!(["another", CLIENT])), "azp", json!("another"));
    assert!(signer.verify(&signer.token(&both), expected()).is_err());
}

#[test]
fn only_a_signature_of_the_provider_is_accepted() {
    let signer = Signer::new();
    let token = signer.token(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let twice = claims().to_string().replacen('{', r#"{"sub":"8","#, 1);
    let other_claims = encode(&with(claims(), "sub", json!("8")));

    let none = format!("{}.{}", encode(&json!({ "alg": "none" })), encode(&claims()));
    // The public key as the secret of an HMAC, in both of its forms.
    let confused =
        format!("{}.{}", encode(&with(header(), "alg", json!("HS256"))), encode(&claims()));
    let hmac = |secret: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, confused.as_bytes()));
        format!("{confused}.{signature}")
    };
    for bad in [
        String::new(),
        "..".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{}", &signature[..20]),
        format!("{token}.{signature}"),
        format!("{head}.{other_claims}.{signature}"),
        format!("{none}."),
        format!("{none}.{signature}"),
        hmac(signer.jwk.to_string().as_bytes()),
        hmac(signer.key.public_key().as_ref()),
        hmac(b""),
        Signer::new().token(&claims()),
        signer.sign(&header(), &twice),
        signer.sign(&header(), "[]"),
        signer.sign(&json!({ "kid": "a" }), &claims().to_string()),
        signer.sign(&with(header(), "alg", json!("es256")), &claims().to_string()),
        signer.sign(&with(header(), "alg", json!("RS256")), &claims().to_string()),
        signer.sign(&with(header(), "kid", json!("b")), &claims().to_string()),
        signer.sign(&with(header(), "kid", json!(7)), &claims().to_string()),
        signer.sign(&with(header(), "crit", json!(["x"])), &claims().to_string()),
        signer.sign(&with(header(), "b64", json!(false)), &claims().to_string()),
        signer.token(&with(claims(), "padding", json!("x".repeat(MAX_BYTES)))),
    ] {
        let found = signer.verify(&bad, expected());
        assert!(matches!(found, Err(OidcError::IdToken(_))), "{bad}: {found:?}");
    }
    // A key in the header is not used.
    let stranger = Signer::new();
    let carries = with(header(), "jwk", stranger.jwk.clone());
    assert!(signer.verify(&stranger.sign(&carries, &claims().to_string()), expected()).is_err());
    let only_key = with(header(), "kid", Value::Null);
    assert!(signer.verify(&signer.sign(&only_key, &claims().to_string()), expected()).is_ok());
}

#[test]
fn every_accepted_algorithm_is_verified() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (modulus, exponent) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let rsa_jwk = json!({
        "kty": "RSA", "kid": "a",
        "n": URL_SAFE_NO_PAD.encode(modulus.big_endian_without_leading_zero()),
        "e": URL_SAFE_NO_PAD.encode(exponent.big_endian_without_leading_zero()),
    });
    let rsa_sign = |padding: &'static dyn aws_lc_rs::signature::RsaEncoding, message: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(padding, &random, message, &mut signature).unwrap();
        signature
    };
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let ed25519_jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "a",
        "x": URL_SAFE_NO_PAD.encode(ed25519.public_key().as_ref()),
    });
    for (name, jwk) in [
        ("RS256", &rsa_jwk),
        ("PS256", &rsa_jwk),
        ("EdDSA", &ed25519_jwk),
        ("Ed25519", &ed25519_jwk),
    ] {
        let header = with(header(), "alg", json!(name));
        let message = format!("{}.{}", encode(&header), encode(&claims()));
        let signature = match name {
            "RS256" => rsa_sign(&RSA_PKCS1_SHA256, message.as_bytes()),
            "PS256" => rsa_sign(&RSA_PSS_SHA256, message.as_bytes()),
            _ => ed25519.sign(message.as_bytes()).as_ref().to_vec(),
        };
        let sign = |signature: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        let keys = [jwk.clone()];
        assert!(verify(&keys, &sign(&signature), expected()).is_ok(), "{name}");
        let mut changed = signature.clone();
        changed[9] ^= 1;
        assert!(verify(&keys, &sign(&changed), expected()).is_err(), "{name}");
        // A key that is for one algorithm is not used for another one.
        let other = if name == "RS256" { "PS256" } else { "RS256" };
        let only = [with(jwk.clone(), "alg", json!(other))];
        assert!(verify(&only, &sign(&signature), expected()).is_err(), "{name}");
    }
    // The public key as the secret of an HMAC, encoded as programs store it.
    let der = rsa.public_key().as_der().unwrap();
    let message =
        format!("{}.{}", encode(&json!({ "alg": "HS256", "kid": "a" })), encode(&claims()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, der.as_ref());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    assert!(verify(&[rsa_jwk], &format!("{message}.{signature}"), expected()).is_err());
}
