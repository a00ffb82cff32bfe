//! The public key in the header of a proof.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse, ThumbprintHash},
};
use serde_json::Value;

use super::{error::ProofError, thumbprint::Thumbprint};
use crate::jwt::{fits, is_private};

/// The sizes of RSA keys that are accepted, in bits: smaller ones are weak, and larger ones are slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// A public key that fits the algorithm of its proof.
pub(super) struct PublicKey {
    pub(super) thumbprint: Thumbprint,
    pub(super) decoding: DecodingKey,
}

impl PublicKey {
    /// Reads the `jwk` of a header with this algorithm, whose name is `name`.
    pub(super) fn read(jwk: &Value, algorithm: Algorithm, name: &str) -> Result<Self, ProofError> {
        let malformed = || ProofError::Invalid("The jwk of the DPoP proof is malformed.");
        let members = jwk.as_object().ok_or_else(malformed)?;
        if is_private(jwk) {
            return Err(ProofError::Invalid(
                "The jwk of the DPoP proof contains a private key, which is now compromised. Create \
                 a new key, and send only its public half.",
            ));
        }
        if members.get("alg").is_some_and(|only| only != name) {
            return Err(ProofError::Invalid(
                "The jwk of the DPoP proof is for another algorithm than that of the proof.",
            ));
        }
        let jwk: Jwk = serde_json::from_value(jwk.clone()).map_err(|_details| malformed())?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err(ProofError::Invalid("The jwk of the DPoP proof is not for signatures."));
        }
        if let AlgorithmParameters::RSA(key) = &jwk.algorithm
            && !bits(&key.n).is_some_and(|bits| RSA_BITS.contains(&bits))
        {
            return Err(ProofError::Invalid(
                "The RSA key of the DPoP proof must have 2048 to 4096 bits.",
            ));
        }
        if !fits(&jwk.algorithm, algorithm) {
            return Err(ProofError::Invalid(
                "The kind of key in the jwk of the DPoP proof does not fit its algorithm.",
            ));
        }
        // The key is decoded first: after that, no member contains a character that would have to be
        // escaped in the input of the thumbprint.
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_details| malformed())?;
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_details| malformed())?;
        let thumbprint = Thumbprint::parse(&thumbprint).map_err(|_details| malformed())?;
        Ok(Self { thumbprint, decoding })
    }
}

/// Returns the number of bits of an unsigned number in base64url. `None`: it is not one.
fn bits(number: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(number).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let first = bytes.get(zeros)?;
    Some((bytes.len() - zeros) * 8 - usize::try_from(first.leading_zeros()).ok()?)
}
