//! A note id in the argument of a tool.

use std::borrow::Cow;

use crate::note_id::NoteId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::uris::NOTE_PREFIX;

/// The id of a note, parsed from an argument that is either the id itself or the URI of the note's
/// resource. Models see both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoteRef(pub(crate) NoteId);

impl<'de> Deserialize<'de> for NoteRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sent = Cow::<'de, str>::deserialize(deserializer)?;
        let text = sent.trim();
        let id = text.strip_prefix(NOTE_PREFIX).unwrap_or(text);
        id.parse().map(Self).map_err(|error| {
            // Long values are truncated in the message.
            let shown: String =
                text.chars().take(NOTE_PREFIX.len() + uuid::fmt::Hyphenated::LENGTH).collect();
            D::Error::custom(format_args!("“{shown}” {error}"))
        })
    }
}

impl JsonSchema for NoteRef {
    fn schema_name() -> Cow<'static, str> {
        "NoteRef".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The id of a note, as returned by notes_list or notes_search, or its \
                            resource URI (notes://by-id/…).",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_a_resource_uri_name_the_same_note() {
        let id = "0191e000-0000-7000-8000-000000000000";
        let expected = NoteRef(id.parse().unwrap());
        for text in [id.to_owned(), format!("{NOTE_PREFIX}{id}"), format!(" {id}\n")] {
            assert_eq!(serde_json::from_value::<NoteRef>(text.clone().into()).unwrap(), expected);
        }
        for bad in ["", "notes://by-id/", "notes://recent", "notes://by-id/1", "https://x/y"] {
            let error = serde_json::from_value::<NoteRef>(bad.into()).unwrap_err().to_string();
            assert!(error.contains("is not the id of a note"), "{error}");
        }
        let long = serde_json::from_value::<NoteRef>("x".repeat(9_999).into()).unwrap_err();
        assert!(long.to_string().len() < 300);
    }
}
