//! Which key the tokens of a grant are bound to after an exchange of its refresh token.

use super::thumbprint::Thumbprint;
use crate::client::{Authentication, Client};

/// Why the refresh token of a grant cannot be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The tokens of the grant are bound to a key, and the request has no proof.
    #[error("its tokens are bound to a key, and the request has no DPoP proof")]
    ProofMissing,
    /// The request has the proof of another key.
    #[error("its tokens are bound to another key")]
    OtherKey,
}

/// Returns the key that the tokens of a grant are bound to from now on. `None`: to no key.
/// `bound_to`: the key that they are bound to now; `proven`: that of the request.
///
/// A grant that is bound to a key stays bound; see [`crate::refresh`] for tokens that were issued before
/// that. The key of a public client never changes, because nothing else proves that the refresh token was
/// not copied (RFC 9449, section 5). A client with a secret may use another key.
pub fn bind(
    client: &Client,
    bound_to: Option<Thumbprint>,
    proven: Option<&Thumbprint>,
) -> Result<Option<Thumbprint>, BindError> {
    match (bound_to, proven) {
        (None, proven) => Ok(proven.cloned()),
        (Some(_), None) => Err(BindError::ProofMissing),
        (Some(bound_to), Some(proven)) if bound_to == *proven => Ok(Some(bound_to)),
        (Some(_), Some(_)) if client.authentication == Authentication::None => {
            Err(BindError::OtherKey)
        }
        (Some(_), Some(proven)) => Ok(Some(proven.clone())),
    }
}
