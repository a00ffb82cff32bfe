//! The public keys of an issuer (RFC 7517).

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::algorithm;

/// The maximum number of keys of an issuer.
const MAX_KEYS: usize = 100;

/// The keys with which an issuer may sign tokens.
pub(crate) struct KeySet(Vec<Key>);

struct Key {
    kid: Option<String>,
    /// The only algorithm of the key, if the issuer says it.
    algorithm: Option<Algorithm>,
    kind: Kind,
    decoding: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    Ed25519,
}

impl Kind {
    fn of(parameters: &AlgorithmParameters) -> Option<Self> {
        match parameters {
            AlgorithmParameters::RSA(_) => Some(Self::Rsa),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Some(Self::P256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Some(Self::Ed25519)
            }
            _ => None,
        }
    }

    fn fits(self, algorithm: Algorithm) -> bool {
        self == match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => Self::Rsa,
            Algorithm::ES256 => Self::P256,
            Algorithm::EdDSA => Self::Ed25519,
            _ => return false,
        }
    }
}

/// Returns whether a key of this kind can verify signatures with this algorithm.
pub(crate) fn fits(parameters: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    Kind::of(parameters).is_some_and(|kind| kind.fits(algorithm))
}

/// Returns whether a JWK has a member that only private and symmetric keys have (RFC 7518, section 6).
pub(crate) fn is_private(jwk: &Value) -> bool {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

    PRIVATE.iter().any(|member| jwk.get(member).is_some())
}

impl KeySet {
    /// Reads a JWK Set. Skips keys for other purposes, and of other kinds. `None`: it is not a JWK
    /// Set.
    pub(crate) fn read(document: &Map<String, Value>) -> Option<Self> {
        let keys = document.get("keys").and_then(Value::as_array)?;
        Some(Self(keys.iter().take(MAX_KEYS).filter_map(Key::read).collect()))
    }

    /// Returns whether there is no key that this server can use.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key with which a token with this header is signed. `None`: there is none, or,
    /// without `kid`, more than one (OpenID Connect Core 1.0, section 10.1).
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.fits(algorithm) && (kid.is_none() || key.kid.as_deref() == kid));
        let key = fitting.next()?;
        match kid {
            None if fitting.next().is_some() => None,
            _ => Some(&key.decoding),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySet").field(&self.0.len()).finish()
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let is_for_signatures =
            matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let kind = Kind::of(&jwk.algorithm)?;
        let algorithm = match value.get("alg") {
            Some(name) => Some(algorithm::named(name.as_str()?)?),
            None => None,
        };
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        is_for_signatures.then_some(Self { kid: jwk.common.key_id, algorithm, kind, decoding })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Public keys of RFC 7515 (A.2 and A.3) and RFC 8037 (A.2).
    fn rsa(kid: &str) -> Value {
        json!({
            "kty": "RSA", "kid": kid, "e": "AQAB",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJP\
                  MEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LO\
                  L-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlx\
                  vb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD\
                  TW9gb54h4FRWyuXpoQ",
        })
    }

    fn p256(kid: &str) -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid,
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::read(json!({ "keys": keys }).as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_id_and_algorithm() {
        let keys = set(&[rsa("a"), p256("b")]);
        for (kid, algorithm, found) in [
            (Some("a"), Algorithm::RS256, true),
            (Some("a"), Algorithm::PS256, true),
            (Some("b"), Algorithm::ES256, true),
            (Some("a"), Algorithm::ES256, false),
            (Some("b"), Algorithm::RS256, false),
            (Some("c"), Algorithm::RS256, false),
            (Some("../../a"), Algorithm::RS256, false),
            (Some("a"), Algorithm::HS256, false),
            (None, Algorithm::RS256, true),
        ] {
            assert_eq!(keys.find(kid, algorithm).is_some(), found, "{kid:?} {algorithm:?}");
        }
        let ambiguous = set(&[rsa("a"), rsa("b")]);
        assert!(ambiguous.find(None, Algorithm::RS256).is_none());
    }

    #[test]
    fn keys_for_other_purposes_are_skipped() {
        let with = |mut key: Value, member: &str, value: &str| {
            key[member] = value.into();
            key
        };
        let keys = set(&[
            with(rsa("encrypts"), "use", "enc"),
            with(rsa("pss"), "alg", "PS256"),
            with(p256("curve"), "crv", "P-384"),
            json!({ "kty": "oct", "kid": "symmetric", "k": "c2VjcmV0" }),
            json!({ "kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "x" }),
            json!("nonsense"),
            with(rsa("good"), "use", "sig"),
        ]);
        for (kid, algorithm, found) in [
            ("encrypts", Algorithm::RS256, false),
            ("pss", Algorithm::RS256, false),
            ("pss", Algorithm::PS256, true),
            ("curve", Algorithm::ES256, false),
            ("symmetric", Algorithm::HS256, false),
            ("good", Algorithm::RS256, true),
        ] {
            assert_eq!(keys.find(Some(kid), algorithm).is_some(), found, "{kid}");
        }
        assert!(KeySet::read(json!({ "keys": {} }).as_object().unwrap()).is_none());
        assert!(set(&[p256("a")]).is_empty() != set(&[]).is_empty());
    }
}
