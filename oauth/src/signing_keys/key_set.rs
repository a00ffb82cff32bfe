//! The keys at one point in time.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use entity::Kid;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::Value;

/// The only algorithm. Every client library can check it, and it needs no RSA implementation.
pub(crate) const ALGORITHM: &str = "ES256";

/// The same algorithm as the library knows it.
pub(crate) const JWT_ALGORITHM: Algorithm = Algorithm::ES256;

/// How much earlier than the row says a pending key is believed. Instances' clocks differ by less.
pub(super) const EARLY: TimeDelta = TimeDelta::seconds(60);

/// The keys at one point in time.
pub(super) struct KeySet {
    pub(super) read_at: DateTime<Utc>,
    pub(super) verifying: HashMap<Kid, Verifier>,
    pub(super) signing: Option<Arc<Signer>>,
    pub(super) jwks: Arc<Value>,
}

/// A public half, and from when on its signatures count.
pub(super) struct Verifier {
    pub(super) key: Arc<DecodingKey>,
    pub(super) from: DateTime<Utc>,
}

/// The key that signs now, and its name.
pub(crate) struct Signer {
    pub(crate) kid: Kid,
    pub(crate) key: EncodingKey,
}

impl KeySet {
    /// The public half of a key, if its signatures count now.
    pub(super) fn verifier(&self, kid: &Kid, now: DateTime<Utc>) -> Option<Arc<DecodingKey>> {
        let verifier = self.verifying.get(kid)?;
        (verifier.from <= now).then(|| Arc::clone(&verifier.key))
    }
}
