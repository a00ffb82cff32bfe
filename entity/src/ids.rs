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

/// Neither id is ever a number that the database counts up, which SeaORM wants to be told.
macro_rules! never_counted {
    ($($id:ty),*) => {$(
        impl TryFromU64 for $id {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($id)))
            }
        }
    )*};
}
never_counted!(NoteId, Kid);
