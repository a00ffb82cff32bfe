//! A snapshot of the signing keys.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use entity::Kid;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::Value;

/// The only signature algorithm. Every client library can verify it, and it needs no RSA
/// implementation.
pub(crate) const ALGORITHM: &str = "ES256";

/// The same algorithm, as an enum variant of the library.
pub(crate) const JWT_ALGORITHM: Algorithm = Algorithm::ES256;

/// How much before its activation time a pending key is trusted. The clocks of instances differ by
/// less.
pub(super) const EARLY: TimeDelta = TimeDelta::seconds(60);

/// The signing keys at one point in time.
pub(super) struct KeySet {
    pub(super) read_at: DateTime<Utc>,
    pub(super) verifying: HashMap<Kid, Verifier>,
    pub(super) signing: Option<Arc<Signer>>,
    pub(super) jwks: Arc<Value>,
}

/// A public key, and the time from which on it is trusted.
pub(super) struct Verifier {
    pub(super) key: Arc<DecodingKey>,
    pub(super) from: DateTime<Utc>,
}

/// The key that signs now, and its id.
pub(crate) struct Signer {
    pub(crate) kid: Kid,
    pub(crate) key: EncodingKey,
}

impl KeySet {
    /// Returns the public key of a key id, if it is trusted now.
    pub(super) fn verifier(&self, kid: &Kid, now: DateTime<Utc>) -> Option<Arc<DecodingKey>> {
        let verifier = self.verifying.get(kid)?;
        (verifier.from <= now).then(|| Arc::clone(&verifier.key))
    }
}
