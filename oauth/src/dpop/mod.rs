//! DPoP (RFC 9449): access and refresh tokens that are bound to a key of the client.
//!
//! The client sends a proof with each request: a JWT that it signs with its key for this method, this
//! URL and this time. A token that is bound to the key is useless without such a proof, so a copied
//! token cannot be used elsewhere.
//!
//! | part | module |
//! |---|---|
//! | the setting, and the check of a proof | `check` |
//! | the proof as a JWT, and its claims | `proof` |
//! | the public key in a proof, and its thumbprint | `public_key`, `thumbprint` |
//! | the comparison of `htu` with the URL of a request | `target` |
//! | nonces that a proof may or has to contain | `nonce` |
//! | proofs that were used already | [`crate::used_ids`] |
//!
//! # What is checked where
//!
//! [`Dpop::check`] decides whether a proof is valid for a request. What a key is then compared with
//! is a matter of the caller: the access token of a request ([`TokenProof`]), the code
//! ([`crate::code`]), or the grant of a refresh token ([`crate::refresh`], [`bind()`]).
//!
//! # Time
//!
//! A proof without a nonce is accepted for [`MAX_AGE`] after its `iat`. A client whose clock is wrong
//! by more is told to use a nonce: it proves that the proof is new, so `iat` may then differ by up to
//! [`MAX_CLOCK_DIFFERENCE`]. With `DPOP=required`, every proof needs a nonce, so that no proof can be
//! made in advance. A nonce is the encrypted time of its creation, so every instance can check it
//! and none stores it.
//!
//! # Replay
//!
//! Each proof is accepted once, by all instances together: its `jti` is recorded, with the key, in one
//! atomic command of the store ([`crate::used_ids`]), until the proof would be refused as too old. If the
//! store is unavailable, no proof is accepted.

mod bind;
mod check;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod nonce;
mod proof;
mod public_key;
mod target;
#[cfg(test)]
mod tests;
mod thumbprint;

pub use self::{
    bind::{BindError, bind},
    check::{Dpop, Mode, ProofTarget, ProvenKey, TokenProof},
    error::ProofError,
    nonce::NONCE_LIFETIME,
    proof::{MAX_AGE, MAX_CLOCK_DIFFERENCE},
    thumbprint::Thumbprint,
};

/// The accepted signature algorithms of proofs, separated by spaces, as in a challenge.
pub const ALGORITHMS: &str = crate::jwt::NAMES_TEXT;
