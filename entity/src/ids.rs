//! One newtype per id, so that two ids cannot change places.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// Which note. A UUID of version 7, so ids made later sort later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct NoteId(pub Uuid);

/// The text is not the id of a note. It says nothing about whether such a note exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for NoteId {
    type Err = NotAnId;

    /// Takes the hyphenated form only: one note has one name, so that a resource URI is unique.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
        match Uuid::try_parse(text) {
            Ok(id) if hyphenated => Ok(Self(id)),
            _ => Err(NotAnId),
        }
    }
}

impl fmt::Display for NoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "is not the id of a note: expected a UUID with hyphens, as notes_list or notes_search \
             give it",
        )
    }
}

impl std::error::Error for NotAnId {}

impl<'de> Deserialize<'de> for NoteId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|not_an_id: NotAnId| {
            // Long garbage is not repeated to whoever sent it.
            let shown: String = text.chars().take(uuid::fmt::Hyphenated::LENGTH).collect();
            serde::de::Error::custom(format_args!("“{shown}” {not_an_id}"))
        })
    }
}

impl JsonSchema for NoteId {
    fn schema_name() -> Cow<'static, str> {
        "NoteId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "uuid",
            "description": "The id of a note, as notes_create, notes_list and notes_search give it.",
        })
    }
}

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

/// Which file of exported notes. A random UUID. Not a credential: a file is found by it only together
/// with the person it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct ExportId(pub Uuid);

impl ExportId {
    /// Takes the form in which it is written, and no other.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (id.as_hyphenated().to_string() == text).then_some(Self(id))
    }
}

impl fmt::Display for ExportId {
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
never_counted!(NoteId, Kid, ClientId, GrantId, ExportId, AuditId, Digest);
