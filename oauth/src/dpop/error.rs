//! Why a proof was not accepted.

/// Why a proof was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// `invalid_dpop_proof`; contains the reason as a sentence for the developer of the client.
    #[error("{0}")]
    Invalid(&'static str),
    /// `use_dpop_nonce`: the client has to send a new proof with this nonce.
    #[error("the proof needs a nonce of this server")]
    NonceNeeded(String),
    /// Whether the proof was used before cannot be looked up. A new proof may be accepted later.
    #[error("the proof cannot be checked at the moment")]
    Unavailable,
}
