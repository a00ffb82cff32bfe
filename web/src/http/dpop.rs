//! The headers of DPoP (RFC 9449).

use app::App;
use http::{HeaderMap, HeaderName, HeaderValue};
use oauth::dpop::{ALGORITHMS, ProofError};

/// The header with the proof of a request.
const PROOF: HeaderName = HeaderName::from_static("dpop");

/// The header with the nonce for the next proof.
pub(crate) const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Returns the proof of a request. `Ok(None)`: it has none.
pub(crate) fn proof(headers: &HeaderMap) -> Result<Option<&str>, ProofError> {
    let mut values = headers.get_all(PROOF).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => {
            Err(ProofError::Invalid("There are several DPoP headers. Send exactly one."))
        }
        (Some(value), None) => match value.to_str() {
            Ok(proof) => Ok(Some(proof.trim())),
            Err(_not_ascii) => Err(ProofError::Invalid("The DPoP header is not a signed JWT.")),
        },
    }
}

/// Returns the value of `DPoP-Nonce` for a nonce.
pub(crate) fn nonce_header(nonce: &str) -> HeaderValue {
    HeaderValue::try_from(nonce).expect("a nonce is base64url")
}

/// Returns the accepted signature algorithms of proofs, for metadata documents. `None`: DPoP is off.
pub(crate) fn algorithms(app: &App) -> Option<Vec<String>> {
    let is_on = app.oauth().dpop().mode().is_on();
    is_on.then(|| ALGORITHMS.split(' ').map(str::to_owned).collect())
}
