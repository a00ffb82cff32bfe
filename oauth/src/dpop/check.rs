//! The check of a proof.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use platform::{clock::Clock, public_url::PublicUrl};
use sha2::{Digest as _, Sha256};

use super::{
    error::ProofError,
    nonce::{NONCE_LIFETIME, Nonces, RENEWED_AFTER},
    proof::{Claims, MAX_AGE, MAX_AHEAD, MAX_CLOCK_DIFFERENCE, Proof},
    target::is_target,
    thumbprint::Thumbprint,
};
use crate::{
    data_keys::DataKeys,
    lifetimes::LEEWAY,
    used_ids::{IdKind, UsedId, UsedIds},
};

/// Whether clients may or have to use DPoP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Proofs are ignored, and tokens that are bound to a key are refused.
    #[default]
    Off,
    /// Tokens are bound to a key if the client sends a proof.
    Allowed,
    /// Every token is bound to a key, and every proof contains a nonce of this server.
    Required,
}

impl Mode {
    /// Returns whether proofs are accepted.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }

    /// Returns whether every token has to be bound to a key.
    pub fn is_required(self) -> bool {
        self == Self::Required
    }
}

/// Checks proofs for the endpoints of one server.
pub struct Dpop {
    mode: Mode,
    origin: String,
    nonces: Nonces,
    used: Arc<dyn UsedIds>,
    clock: Arc<dyn Clock>,
}

/// The request that a proof has to be made for.
#[derive(Clone, Copy, Debug)]
pub struct ProofTarget<'a> {
    /// The method.
    pub method: &'a str,
    /// The path of the URL, as the client sent it.
    pub path: &'a str,
    /// The access token of the request. `None`: a token request, which has none.
    pub token: Option<TokenProof<'a>>,
}

/// The access token that a proof accompanies.
#[derive(Clone, Copy)]
pub struct TokenProof<'a> {
    /// The token, which was verified before.
    pub token: &'a str,
    /// The key that the token is bound to.
    pub key: &'a Thumbprint,
}

/// The result of a valid proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey {
    /// The thumbprint of the key that the client has.
    pub key: Thumbprint,
    /// A new nonce for the response. `None`: the client uses none, or its nonce is still young.
    pub next_nonce: Option<String>,
}

impl Dpop {
    /// Creates the checks of a server.
    pub fn new(
        mode: Mode,
        public_url: &PublicUrl,
        keys: DataKeys,
        used: Arc<dyn UsedIds>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let origin = public_url.origin().to_owned();
        Self { mode, origin, nonces: Nonces::new(keys), used, clock }
    }

    /// Returns whether clients may or have to use DPoP.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Checks a proof for a request, and records it, so that it is accepted once.
    pub async fn check(
        &self,
        proof: &str,
        target: ProofTarget<'_>,
    ) -> Result<ProvenKey, ProofError> {
        let now = self.clock.now();
        let proof = Proof::read(proof)?;
        self.check_target(&proof, target)?;
        let time = self.check_time(&proof.claims, now)?;
        proof.check_signature()?;
        // Last, so that only valid proofs take up room.
        self.record(&proof, time.valid_until - now).await?;
        let next_nonce = if time.nonce_is_ageing { Some(self.issue_nonce(now)?) } else { None };
        Ok(ProvenKey { key: proof.key.thumbprint, next_nonce })
    }

    fn check_target(&self, proof: &Proof<'_>, target: ProofTarget<'_>) -> Result<(), ProofError> {
        let claims = &proof.claims;
        if claims.method != target.method {
            return Err(ProofError::Invalid(
                "The htm of the DPoP proof is not the method of this request.",
            ));
        }
        if !is_target(&claims.target, &self.origin, target.path) {
            return Err(ProofError::Invalid(
                "The htu of the DPoP proof is not the public URL of this endpoint.",
            ));
        }
        let Some(TokenProof { token, key }) = target.token else {
            return Ok(());
        };
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
        match &claims.access_token_hash {
            None => {
                Err(ProofError::Invalid("The DPoP proof has no ath, the hash of the access token."))
            }
            Some(other) if *other != hash => Err(ProofError::Invalid(
                "The ath of the DPoP proof is the hash of another access token.",
            )),
            Some(_) if proof.key.thumbprint != *key => Err(ProofError::Invalid(
                "The DPoP proof is signed with another key than the one that the access token is \
                 bound to.",
            )),
            Some(_) => Ok(()),
        }
    }

    /// Checks the time of a proof, and its nonce.
    fn check_time(&self, claims: &Claims, now: DateTime<Utc>) -> Result<ProofTime, ProofError> {
        let issued_at = DateTime::from_timestamp(claims.issued_at, 0).unwrap_or_default();
        let age = now - issued_at;
        // Also without a nonce: it would not help.
        if age.abs() > MAX_CLOCK_DIFFERENCE {
            return Err(ProofError::Invalid(
                "The iat of the DPoP proof is more than five minutes away from the time of this \
                 server. Correct the clock, and create a new proof for each request.",
            ));
        }
        let Some(nonce) = &claims.nonce else {
            return if self.mode.is_required() || age > MAX_AGE || age < -MAX_AHEAD {
                Err(ProofError::NonceNeeded(self.issue_nonce(now)?))
            } else {
                Ok(ProofTime { valid_until: issued_at + MAX_AGE, nonce_is_ageing: false })
            };
        };
        match self.nonces.created_at(nonce, now) {
            None => Err(ProofError::NonceNeeded(self.issue_nonce(now)?)),
            Some(created_at) => Ok(ProofTime {
                valid_until: (created_at + NONCE_LIFETIME).min(issued_at + MAX_CLOCK_DIFFERENCE),
                nonce_is_ageing: now - created_at >= RENEWED_AFTER,
            }),
        }
    }

    /// Records a proof that is valid for this long by the clock of this instance. The clocks of
    /// others may be behind.
    async fn record(&self, proof: &Proof<'_>, valid_for: TimeDelta) -> Result<(), ProofError> {
        let ttl = (valid_for + TimeDelta::seconds(LEEWAY)).max(TimeDelta::seconds(1));
        let ttl = ttl.to_std().unwrap_or(Duration::from_secs(1));
        let id = UsedId::new(IdKind::Proof, proof.key.thumbprint.as_str(), &proof.claims.id);
        match self.used.record(&id, ttl).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ProofError::Invalid(
                "The DPoP proof was used before. Create a new one, with a new jti, for each request.",
            )),
            Err(error) => {
                tracing::warn!(%error, "Could not record a DPoP proof; refusing it");
                Err(ProofError::Unavailable)
            }
        }
    }

    fn issue_nonce(&self, now: DateTime<Utc>) -> Result<String, ProofError> {
        self.nonces.issue(now).ok_or_else(|| {
            tracing::error!("Could not create a DPoP nonce: there is no key to encrypt it with");
            ProofError::Unavailable
        })
    }
}

/// How long a proof with a valid time is accepted.
struct ProofTime {
    valid_until: DateTime<Utc>,
    nonce_is_ageing: bool,
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProof").field("key", self.key).finish_non_exhaustive()
    }
}
