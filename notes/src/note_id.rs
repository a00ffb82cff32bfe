//! The id of a note.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// The id of a note: a UUID version 7, so that ids sort by time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveValueType)]
#[serde(transparent)]
pub struct NoteId(pub Uuid);

/// The text is not a well-formed id. Says nothing about whether a note exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for NoteId {
    type Err = NotAnId;

    /// Accepts only the hyphenated form, so that each note has exactly one resource URI.
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
            "is not the id of a note: expected a UUID with hyphens, as returned by notes_list or \
             notes_search",
        )
    }
}

impl std::error::Error for NotAnId {}

impl<'de> Deserialize<'de> for NoteId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|not_an_id: NotAnId| {
            // Long values are truncated in the message.
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
            "description": "The id of a note, as returned by notes_create, notes_list and notes_search.",
        })
    }
}

impl TryFromU64 for NoteId {
    fn try_from_u64(_: u64) -> Result<Self, DbErr> {
        Err(DbErr::ConvertFromU64("NoteId"))
    }
}
