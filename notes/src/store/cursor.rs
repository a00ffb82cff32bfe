//! The cursor of a list of notes.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::note_id::NoteId;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// The position after a page: the sort key of its last note. Unlike a page number it stays valid
/// when notes are created or deleted. Clients must treat it as opaque. It contains only a time and
/// an id, and lists filter by owner, so a cursor of another user gives no access to their notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) created_at: DateTime<Utc>,
    pub(super) id: NoteId,
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cursor is invalid: use `next_cursor` of the previous page, or leave it out for the first page"
)]
pub struct NotACursor;

/// The version of the encoding, in the first byte.
const VERSION: u8 = 1;

/// The length: version, microseconds since 1970, id.
const BYTES: usize = 1 + 8 + 16;

/// The last microsecond of the year 9999. Both databases can store times from 1970 until then, and
/// SQLite compares them correctly as text.
const LAST_MICROSECOND: i64 = 253_402_300_799_999_999;

impl Cursor {
    pub(super) fn new(created_at: DateTime<Utc>, id: NoteId) -> Self {
        Self { created_at, id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [VERSION; BYTES];
        bytes[1..9].copy_from_slice(&self.created_at.timestamp_micros().to_be_bytes());
        bytes[9..].copy_from_slice(self.id.0.as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut bytes = [0; BYTES];
        let Ok(BYTES) = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) else {
            return Err(NotACursor);
        };
        let [VERSION, rest @ ..] = bytes else {
            return Err(NotACursor);
        };
        let Some((micros, id)) = rest.split_first_chunk() else {
            return Err(NotACursor);
        };
        let micros = i64::from_be_bytes(*micros);
        if !(0..=LAST_MICROSECOND).contains(&micros) {
            return Err(NotACursor);
        }
        let created_at = DateTime::from_timestamp_micros(micros).ok_or(NotACursor)?;
        let id = Uuid::from_slice(id).map_err(|_wrong_length| NotACursor)?;
        Ok(Self { created_at, id: NoteId(id) })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Cursor {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The cursor of a page, exactly as `next_cursor` of the previous page.",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_parsed_from_its_text(micros in 0..=LAST_MICROSECOND, id: [u8; 16]) {
            let created_at = DateTime::from_timestamp_micros(micros).unwrap();
            let cursor = Cursor::new(created_at, NoteId(Uuid::from_bytes(id)));
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn each_cursor_has_one_text(text in "\\PC*|[A-Za-z0-9_-]{30,38}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn parsed_cursors_are_within_the_range_of_databases(bytes: [u8; BYTES]) {
            let mut bytes = bytes;
            bytes[0] = VERSION;
            if let Ok(cursor) = URL_SAFE_NO_PAD.encode(bytes).parse::<Cursor>() {
                prop_assert!((0..=LAST_MICROSECOND).contains(&cursor.created_at.timestamp_micros()));
            }
        }
    }
}
