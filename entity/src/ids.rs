//! One newtype per kind of id, so that two ids cannot be confused.

use std::{fmt, str::FromStr};

use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a signing key: the RFC 7638 thumbprint of its public key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct Kid(pub String);

impl Kid {
    /// Returns the value of `kid` in the header of a token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a client: one that this server generated (`mcl_…`), one from the configuration, or the
/// URL of a client metadata document.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType,
)]
#[serde(transparent)]
pub struct ClientId(pub String);

impl ClientId {
    /// Returns the `client_id` as the client sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a grant: what a user allowed one installation of a client. It is the `sid` of access
/// tokens. A UUID version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct GrantId(pub Uuid);

/// The text is not the id of a grant. The `sid` of a token that an operator created by hand is not
/// one, either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAGrant;

impl FromStr for GrantId {
    type Err = NotAGrant;

    /// Accepts only the form that [`fmt::Display`] writes, so that each grant has one name.
    fn from_str(text: &str) -> Result<Self, NotAGrant> {
        match Uuid::try_parse(text) {
            Ok(id) if id.as_hyphenated().to_string() == text => Ok(Self(id)),
            _ => Err(NotAGrant),
        }
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

impl fmt::Display for NotAGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not the id of a grant")
    }
}

impl std::error::Error for NotAGrant {}

/// The id of a file for download: a random UUID. Not a credential: a file is looked up by its id
/// only together with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct DownloadId(pub Uuid);

impl DownloadId {
    /// Accepts only the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (id.as_hyphenated().to_string() == text).then_some(Self(id))
    }
}

impl fmt::Display for DownloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

/// The id of an entry of the audit log: a UUID version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct AuditId(pub Uuid);

/// A SHA-256 hash: of a secret, which is never stored itself, or of a document. `Debug` does not
/// print it. Code that compares it with input from a request must do so in constant time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
pub struct Digest(Vec<u8>);

impl Digest {
    /// Wraps the output of the hash function.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash.to_vec())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// SeaORM requires `TryFromU64` of primary keys, for keys that the database increments. None of
/// these is such a key, so the conversion always fails.
macro_rules! not_auto_incremented {
    ($($id:ty),*) => {$(
        impl TryFromU64 for $id {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($id)))
            }
        }
    )*};
}
not_auto_incremented!(Kid, ClientId, GrantId, DownloadId, AuditId, Digest);
