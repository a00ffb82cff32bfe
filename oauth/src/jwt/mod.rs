//! JWTs that others have signed: ID tokens and identity assertions of identity providers, assertions
//! with which clients authenticate, and DPoP proofs.
//!
//! As for access tokens, the verification is implemented here rather than left to the JWT library,
//! which only verifies the signature: see [`crate::access_token`]. What the claims have to say is up
//! to the caller.

mod algorithm;
mod keys;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use mcp::json::unique_object;
use serde_json::{Map, Value};

pub use self::algorithm::NAMES;
pub(crate) use self::algorithm::{NAMES_TEXT, named as algorithm_named};
pub(crate) use self::keys::{KeySet, fits, is_private};

/// The maximum length of a token, in bytes. Tokens with many groups have a few kilobytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// How far the clocks of the issuer and of this server may differ, in seconds.
pub(crate) const SKEW: i64 = 60;

/// The maximum length of a subject, according to OpenID Connect Core 1.0, section 2, and of the id of
/// a token.
const MAX_TEXT: usize = 255;

/// The media type of identity assertions (ID-JAG).
pub(crate) const ID_JAG: &str = "oauth-id-jag+jwt";

/// The claims of a token.
pub(crate) type Claims = Map<String, Value>;

/// Why a token is not valid: the rest of a sentence about it, such as `it has expired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct JwtError(pub(crate) &'static str);

/// The parts of a JWT. Nothing is verified.
pub(crate) struct Parts<'a> {
    /// The decoded header.
    pub(crate) header: Map<String, Value>,
    /// The claims, encoded.
    claims: &'a str,
    /// Header and claims, as they are signed.
    message: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Splits a JWT in its compact form, and decodes the header. `None`: it does not have this form.
    pub(crate) fn split(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        Some(Self { header: object(header)?, claims, message, signature })
    }

    /// Returns whether the header has an extension. None is supported, so no critical one may be
    /// ignored (RFC 7515, section 4.1.11).
    pub(crate) fn has_extension(&self) -> bool {
        self.header.contains_key("crit") || self.header.contains_key("b64")
    }

    /// Decodes the claims. `None`: they are malformed.
    pub(crate) fn claims(&self) -> Option<Claims> {
        object(self.claims)
    }

    /// Returns whether the signature is that of this key, with this algorithm.
    pub(crate) fn has_valid_signature(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        crypto::verify(self.signature, self.message.as_bytes(), key, algorithm).unwrap_or(false)
    }
}

/// A token whose signature has not been verified.
pub(crate) struct Unverified<'a> {
    /// The media type in its header.
    pub(crate) typ: Option<String>,
    /// The id of the key in its header.
    pub(crate) kid: Option<String>,
    /// The algorithm in its header, which is an accepted one.
    pub(crate) algorithm: Algorithm,
    parts: Parts<'a>,
}

impl<'a> Unverified<'a> {
    /// Reads a token and its header.
    pub(crate) fn read(token: &'a str) -> Result<Self, JwtError> {
        const MALFORMED: JwtError = JwtError("it is not a signed JWT");

        if token.len() > MAX_BYTES {
            return Err(JwtError("it is too large"));
        }
        let parts = Parts::split(token).ok_or(MALFORMED)?;
        if parts.has_extension() {
            return Err(JwtError("it has an extension that is not supported"));
        }
        let header = &parts.header;
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(algorithm::named);
        let algorithm = algorithm.ok_or(JwtError("its algorithm is not accepted"))?;
        let text = |member| match header.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(MALFORMED),
        };
        Ok(Self { typ: text("typ")?, kid: text("kid")?, algorithm, parts })
    }

    /// Returns whether the token has this media type, which may be written without its prefix
    /// `application/` (RFC 7515, section 4.1.9).
    pub(crate) fn is_of_type(&self, media_type: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| {
            let bare = match typ.split_at_checked("application/".len()) {
                Some((prefix, bare)) if prefix.eq_ignore_ascii_case("application/") => bare,
                _ => typ,
            };
            bare.eq_ignore_ascii_case(media_type)
        })
    }

    /// Returns the claims without verifying anything: to find the keys of the issuer.
    pub(crate) fn unverified_claims(&self) -> Result<Claims, JwtError> {
        self.parts.claims().ok_or(JwtError("its claims are malformed"))
    }

    /// Returns whether the signature is that of this key.
    pub(crate) fn has_valid_signature(&self, key: &DecodingKey) -> bool {
        self.parts.has_valid_signature(key, self.algorithm)
    }

    /// Verifies the signature, and returns the claims.
    pub(crate) fn verify(&self, key: &DecodingKey) -> Result<Claims, JwtError> {
        if !self.has_valid_signature(key) {
            return Err(JwtError("its signature is wrong"));
        }
        self.unverified_claims()
    }
}

/// Returns the text of a claim. `None`: it is absent, or not a text.
pub(crate) fn text<'a>(claims: &'a Claims, claim: &str) -> Option<&'a str> {
    claims.get(claim)?.as_str()
}

/// Returns the subject of a token. `None`: there is none, or an invalid one.
pub(crate) fn subject(claims: &Claims) -> Option<&str> {
    let subject = text(claims, "sub")?;
    let is_valid = (1..=MAX_TEXT).contains(&subject.len())
        && subject.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    is_valid.then_some(subject)
}

/// Returns the id of a token. `None`: there is none, or an invalid one.
pub(crate) fn id(claims: &Claims) -> Option<&str> {
    text(claims, "jti").filter(|id| (1..=MAX_TEXT).contains(&id.len()))
}

/// Returns the only audience of a token. `None`: there is none, or more than one.
pub(crate) fn audience(claims: &Claims) -> Option<&str> {
    only(claims.get("aud")?)
}

/// Returns a text, or the only text of an array.
pub(crate) fn only(value: &Value) -> Option<&str> {
    match value {
        Value::String(one) => Some(one),
        Value::Array(all) => match &all[..] {
            [Value::String(one)] => Some(one),
            _ => None,
        },
        _ => None,
    }
}

/// Returns a time in seconds since the Unix epoch. `Ok(None)`: the claim is absent.
pub(crate) fn time(claims: &Claims, claim: &str) -> Result<Option<i64>, JwtError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or(JwtError("a time is not a whole number")),
    }
}

/// Checks that a token has not expired at `now` (in seconds since the Unix epoch), and is valid
/// already. Returns its expiry.
pub(crate) fn check_times(claims: &Claims, now: i64) -> Result<i64, JwtError> {
    let expires = time(claims, "exp")?.ok_or(JwtError("it has no expiry"))?;
    if expires <= now.saturating_sub(SKEW) {
        return Err(JwtError("it has expired"));
    }
    let is_later = |time: i64| time > now.saturating_add(SKEW);
    if time(claims, "iat")?.is_some_and(is_later) || time(claims, "nbf")?.is_some_and(is_later) {
        return Err(JwtError("it was issued in the future, or is not valid yet"));
    }
    Ok(expires)
}

/// Decodes a part of a token. `None`: it is not an object in base64url, or a key occurs twice.
fn object(part: &str) -> Option<Claims> {
    unique_object(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(header: &Value) -> String {
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    #[test]
    fn a_media_type_may_lack_its_prefix() {
        for (typ, is_jwt) in [
            (json!("JWT"), true),
            (json!("jwt"), true),
            (json!("application/jwt"), true),
            (json!("Application/JWT"), true),
            (json!("application/at+jwt"), false),
            (json!("text/jwt"), false),
            (json!(""), false),
        ] {
            let token = token(&json!({ "alg": "ES256", "typ": typ }));
            assert_eq!(Unverified::read(&token).unwrap().is_of_type("jwt"), is_jwt, "{typ}");
        }
        let without = token(&json!({ "alg": "ES256" }));
        assert!(!Unverified::read(&without).unwrap().is_of_type("jwt"));
    }

    #[test]
    fn an_audience_is_single() {
        for (audience, expected) in [
            (json!("a"), Some("a")),
            (json!(["a"]), Some("a")),
            (json!(["a", "b"]), None),
            (json!([["a"]]), None),
            (json!([]), None),
            (json!(7), None),
        ] {
            let claims = json!({ "aud": audience });
            assert_eq!(super::audience(claims.as_object().unwrap()), expected, "{claims}");
        }
    }

    #[test]
    fn times_are_checked_with_a_tolerance() {
        let now = 1_700_000_000;
        let far = i64::MAX;
        for (claims, expected) in [
            (json!({ "exp": now - 59 }), Ok(now - 59)),
            (json!({ "exp": now - 60 }), Err("it has expired")),
            (json!({ "exp": i64::MIN }), Err("it has expired")),
            (json!({}), Err("it has no expiry")),
            (json!({ "exp": "1" }), Err("a time is not a whole number")),
            (json!({ "exp": 1.5 }), Err("a time is not a whole number")),
            (json!({ "exp": far, "iat": now + 60, "nbf": now + 60 }), Ok(far)),
            (
                json!({ "exp": far, "iat": now + 61 }),
                Err("it was issued in the future, or is not valid yet"),
            ),
            (
                json!({ "exp": far, "nbf": now + 61 }),
                Err("it was issued in the future, or is not valid yet"),
            ),
        ] {
            let found = check_times(claims.as_object().unwrap(), now);
            assert_eq!(found.map_err(|JwtError(why)| why), expected, "{claims}");
        }
    }
}
