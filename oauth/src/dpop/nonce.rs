//! Nonces for proofs (RFC 9449, sections 8 and 9): the encrypted time of their creation.
//!
//! Every instance that knows the key can check a nonce, and none stores it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{data_keys::DataKeys, lifetimes::LEEWAY};

/// How long a nonce is accepted.
pub const NONCE_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// The age from which on a response to a valid proof contains a new nonce, so that a client that
/// sends requests regularly never gets an error because of an expired one.
pub(super) const RENEWED_AFTER: TimeDelta = TimeDelta::minutes(2);

/// What the encrypted value is bound to.
const PURPOSE: &str = "dpop-nonce/v1";

/// Creates and checks nonces.
pub(super) struct Nonces(DataKeys);

impl Nonces {
    pub(super) fn new(keys: DataKeys) -> Self {
        Self(keys)
    }

    /// Creates a nonce. `None`: there is no key.
    pub(super) fn issue(&self, now: DateTime<Utc>) -> Option<String> {
        let sealed = self.0.seal(PURPOSE, &now.timestamp().to_string())?;
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Returns when a nonce was created. `None`: it was not created by this server, or has expired.
    pub(super) fn created_at(&self, nonce: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let sealed = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let time = self.0.open(PURPOSE, &sealed).ok()?;
        let created_at = DateTime::from_timestamp(time.expose().parse().ok()?, 0)?;
        let age = now - created_at;
        (age >= TimeDelta::seconds(-LEEWAY) && age < NONCE_LIFETIME).then_some(created_at)
    }
}
