//! One newtype per id, so that two ids cannot change places.

use std::{fmt, str::FromStr};

use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which signing key: the RFC 7638 thumbprint of its public half.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct Kid(pub String);

impl Kid {
    /// As it stands in the header of a token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which client: a name that we made (`mcl_…`), one of the configuration, or the address of its
/// metadata document.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType,
)]
#[serde(transparent)]
pub struct ClientId(pub String);

impl ClientId {
    /// As the client sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which grant: what a person allowed one installation of a client, once. It is the `sid` of access
/// tokens. A UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct GrantId(pub Uuid);

/// The text is not the id of a grant, as the `sid` of a token that was minted by hand is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAGrant;

impl FromStr for GrantId {
    type Err = NotAGrant;

    /// Takes the form in which it is written, and no other: one grant has one name.
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

/// The id of a file for download. A random UUID. Not a credential: a file is found by it only
/// together with the user it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct DownloadId(pub Uuid);

impl DownloadId {
    /// Takes the form in which it is written, and no other.
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

/// Which line of the audit log. A UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct AuditId(pub Uuid);

/// The SHA-256 hash of something: of a secret, which is never kept itself, or of a document. It does
/// not print, and is compared in constant time by whoever compares it with what somebody sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
pub struct Digest(Vec<u8>);

impl Digest {
    /// What came out of the hash function.
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

/// None of these is ever a number that the database counts up, which SeaORM wants to be told.
macro_rules! never_counted {
    ($($id:ty),*) => {$(
        impl TryFromU64 for $id {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($id)))
            }
        }
    )*};
}
never_counted!(Kid, ClientId, GrantId, DownloadId, AuditId, Digest);
