//! Why a refresh token could not be exchanged.

use std::time::Duration;

use platform::db::Failure;

use crate::{resource, scope::MalformedScope};

/// Why a refresh token could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The token is invalid, or invalid for this client; contains the reason, for the log.
    #[error("the refresh token cannot be exchanged: {0}")]
    InvalidGrant(&'static str),
    /// The tokens of the grant are bound to a key, and the request has no proof.
    #[error("the refresh token is bound to a key, and the request has no DPoP proof")]
    ProofMissing,
    /// The `scope` parameter is malformed.
    #[error("{0}")]
    InvalidScope(#[from] MalformedScope),
    /// The requested scope exceeds the granted scope.
    #[error("scope must not exceed what was granted")]
    ScopeExceeded,
    /// The requested resource is not this server.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// A dependency failed. The same request may succeed later.
    #[error("the token cannot be looked up at the moment")]
    Unavailable(#[from] Failure),
    /// The tokens of this grant were exchanged too often recently; contains the time until a retry
    /// can succeed.
    #[error("the tokens of this grant were exchanged too often recently")]
    TooOften(Duration),
    /// The access policy cannot be checked at the moment, and no recent positive result exists.
    #[error("the access policy cannot be checked at the moment")]
    PolicyUnknown,
}
