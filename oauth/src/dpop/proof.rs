//! A proof as a JWT (RFC 9449, section 4.2).
//!
//! As for access tokens, this is implemented here rather than left to the JWT library, which only
//! verifies the signature: see [`crate::access_token`].

use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{error::ProofError, public_key::PublicKey};
use crate::jwt::{Parts, algorithm_named};

/// The maximum length of a proof, in bytes: one with an RSA key of 4096 bits, and room for a long
/// `htu`.
const MAX_BYTES: usize = 8 * 1024;

/// The maximum length of a `jti`, in bytes. A UUID has 36.
const MAX_JTI_BYTES: usize = 256;

/// How long a proof without a nonce is accepted after its `iat`.
pub const MAX_AGE: TimeDelta = TimeDelta::seconds(60);

/// How far the `iat` of a proof without a nonce may be in the future: the clock of the client is
/// ahead.
pub(super) const MAX_AHEAD: TimeDelta = TimeDelta::seconds(10);

/// How far the `iat` of a proof with a nonce may differ from the time of this server, in either
/// direction. The MCP extension for DPoP (SEP-1932) limits it to five minutes.
pub const MAX_CLOCK_DIFFERENCE: TimeDelta = TimeDelta::minutes(5);

/// The type of a proof.
const TYPE: &str = "dpop+jwt";

/// The latest `iat` that is read, in seconds since the Unix epoch: far in the future, and small enough
/// to calculate with.
const MAX_TIME: f64 = 1e11;

/// A proof whose form is valid. Its signature has not been verified.
pub(super) struct Proof<'a> {
    pub(super) key: PublicKey,
    pub(super) claims: Claims,
    algorithm: Algorithm,
    parts: Parts<'a>,
}

/// The claims of a proof.
pub(super) struct Claims {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) target: String,
    /// In seconds since the Unix epoch.
    pub(super) issued_at: i64,
    pub(super) access_token_hash: Option<String>,
    pub(super) nonce: Option<String>,
}

impl<'a> Proof<'a> {
    /// Reads a proof.
    pub(super) fn read(text: &'a str) -> Result<Self, ProofError> {
        const MALFORMED: ProofError = ProofError::Invalid("The DPoP proof is not a signed JWT.");

        if text.len() > MAX_BYTES {
            return Err(ProofError::Invalid("The DPoP proof is longer than 8192 bytes."));
        }
        let parts = Parts::split(text).ok_or(MALFORMED)?;
        let claims = parts.claims().ok_or(MALFORMED)?;
        let header = &parts.header;
        let kind = header.get("typ").and_then(Value::as_str).unwrap_or_default();
        if !kind.eq_ignore_ascii_case(TYPE) {
            return Err(ProofError::Invalid("The typ of the DPoP proof must be dpop+jwt."));
        }
        if parts.has_extension() {
            return Err(ProofError::Invalid(
                "The header of the DPoP proof has an extension that is not supported.",
            ));
        }
        let name = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let algorithm = algorithm_named(name).ok_or(ProofError::Invalid(
            "The alg of the DPoP proof must be ES256, PS256, RS256, EdDSA or Ed25519.",
        ))?;
        let jwk = header.get("jwk");
        let jwk = jwk.ok_or(ProofError::Invalid("The header of the DPoP proof has no jwk."))?;
        let key = PublicKey::read(jwk, algorithm, name)?;
        let claims = Claims::read(&claims)?;
        Ok(Self { key, claims, algorithm, parts })
    }

    /// Checks the signature.
    pub(super) fn check_signature(&self) -> Result<(), ProofError> {
        if self.parts.has_valid_signature(&self.key.decoding, self.algorithm) {
            Ok(())
        } else {
            Err(ProofError::Invalid("The signature of the DPoP proof is wrong."))
        }
    }
}

impl Claims {
    fn read(claims: &Map<String, Value>) -> Result<Self, ProofError> {
        let text = |claim| claims.get(claim).and_then(Value::as_str).map(str::to_owned);
        let optional = |claim, error| match claims.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ProofError::Invalid(error)),
        };
        let id = text("jti").filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len()));
        Ok(Self {
            id: id.ok_or(ProofError::Invalid(
                "The jti of the DPoP proof must be a text of 1 to 256 bytes.",
            ))?,
            method: text("htm").ok_or(ProofError::Invalid("The DPoP proof has no htm."))?,
            target: text("htu").ok_or(ProofError::Invalid("The DPoP proof has no htu."))?,
            issued_at: claims.get("iat").and_then(seconds).ok_or(ProofError::Invalid(
                "The iat of the DPoP proof must be a time in seconds since 1970.",
            ))?,
            access_token_hash: optional("ath", "The ath of the DPoP proof must be a text.")?,
            nonce: optional("nonce", "The nonce of the DPoP proof must be a text.")?,
        })
    }
}

/// Returns a time in whole seconds. A `NumericDate` may have a fraction (RFC 7519, section 2).
#[expect(clippy::cast_possible_truncation, reason = "it is in the range of i64, and rounded down")]
fn seconds(value: &Value) -> Option<i64> {
    let seconds = value.as_f64()?;
    (0.0..MAX_TIME).contains(&seconds).then_some(seconds as i64)
}
