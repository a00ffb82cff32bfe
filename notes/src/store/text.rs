//! Validated values of notes: each type guarantees its limits.
//!
//! Each type states its limits in its JSON schema and again in the message that rejects a value,
//! because a language model reads both and should succeed at the next attempt. Lengths are in
//! characters (Unicode scalar values), as in JSON Schema. U+0000 is rejected everywhere, because
//! Postgres cannot store it.

use std::{borrow::Cow, collections::HashSet, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::query::Query;

/// The maximum length of a title, in characters.
pub const MAX_TITLE: usize = 200;

/// The maximum length of a body, in characters.
pub const MAX_BODY: usize = 100_000;

/// The maximum length of a tag, in characters.
pub const MAX_TAG: usize = 40;

/// The maximum number of tags of a note.
pub const MAX_TAGS: usize = 16;

/// The maximum length of a search query, in characters.
pub const MAX_QUERY: usize = 200;

/// The maximum number of words in a search query: the cost of a search grows with each.
pub const MAX_QUERY_WORDS: usize = 32;

/// The maximum number of notes on a page.
pub const MAX_PAGE: u8 = 100;

/// The default number of notes on a page.
pub const DEFAULT_PAGE: u8 = 20;

/// The value is invalid. The message has the limit and the actual value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

/// The title of a note: one line of 1 to [`MAX_TITLE`] characters, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Title(String);

/// The text of a note: 0 to [`MAX_BODY`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Body(String);

/// A tag: one line of 1 to [`MAX_TAG`] characters, trimmed. Tags are compared case-sensitively.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Tag(String);

/// The tags of a note: at most [`MAX_TAGS`], without duplicates, in their original order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tags(Vec<Tag>);

/// A search query of 1 to [`MAX_QUERY`] characters with at most [`MAX_QUERY_WORDS`] words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SearchQuery(String);

/// The number of notes on a page: 1 to [`MAX_PAGE`], by default [`DEFAULT_PAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PageSize(u8);

impl Title {
    /// Trims and validates a text.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        one_line("a title", text, MAX_TITLE).map(Self)
    }
}

impl Body {
    /// Validates a text without trimming it.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidValue> {
        let text = text.into();
        let length = text.chars().count();
        if length > MAX_BODY {
            return Err(InvalidValue(format!(
                "a body has at most {MAX_BODY} characters, and this one has {length}: split it into \
                 several notes"
            )));
        }
        if text.contains('\0') {
            return Err(InvalidValue(
                "a body cannot contain the character U+0000: remove it".into(),
            ));
        }
        Ok(Self(text))
    }
}

impl Tag {
    /// Trims and validates a text.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        one_line("a tag", text, MAX_TAG).map(Self)
    }
}

impl Tags {
    /// Removes duplicates, then validates the number of tags.
    pub fn parse(tags: impl IntoIterator<Item = Tag>) -> Result<Self, InvalidValue> {
        let mut seen = HashSet::new();
        let tags: Vec<Tag> = tags.into_iter().filter(|tag| seen.insert(tag.clone())).collect();
        if tags.len() > MAX_TAGS {
            return Err(InvalidValue(format!(
                "a note has at most {MAX_TAGS} tags, and this one has {}",
                tags.len()
            )));
        }
        Ok(Self(tags))
    }

    /// Iterates over the tags in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }

    pub(super) fn into_list(self) -> crate::entity::TagList {
        crate::entity::TagList(self.0.into_iter().map(|tag| tag.0).collect())
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a Tag;
    type IntoIter = std::slice::Iter<'a, Tag>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl SearchQuery {
    /// Trims and validates a query. Any text within the limits is valid, even one without words.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        let length = text.chars().count();
        if length == 0 || length > MAX_QUERY {
            return Err(InvalidValue(format!(
                "a search has 1 to {MAX_QUERY} characters, and this one has {length}"
            )));
        }
        // Like any other control character, U+0000 separates words.
        let text = text.replace('\0', " ");
        let words = Query::parse(&text).words();
        if words > MAX_QUERY_WORDS {
            return Err(InvalidValue(format!(
                "a search has at most {MAX_QUERY_WORDS} words, and this one has {words}: leave out \
                 the least important ones (in a script without spaces, every character but one counts \
                 as a word)"
            )));
        }
        Ok(Self(text))
    }
}

impl PageSize {
    /// Validates a number of notes.
    pub fn new(size: u64) -> Result<Self, InvalidValue> {
        match u8::try_from(size) {
            Ok(size @ 1..=MAX_PAGE) => Ok(Self(size)),
            _ => Err(InvalidValue(format!(
                "a page has 1 to {MAX_PAGE} notes, and {size} were requested"
            ))),
        }
    }

    /// Returns the number of notes.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(DEFAULT_PAGE)
    }
}

fn one_line(what: &str, text: &str, max: usize) -> Result<String, InvalidValue> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > max {
        return Err(InvalidValue(format!(
            "{what} has 1 to {max} characters, and this one has {length}"
        )));
    }
    match text.chars().find(|character| character.is_control()) {
        None => Ok(text.to_owned()),
        Some(control) => Err(InvalidValue(format!(
            "{what} is one line without control characters, and this one contains U+{:04X}",
            u32::from(control)
        ))),
    }
}

/// Implements conversions and deserialization for a text type.
macro_rules! text {
    ($type:ident, $parse:expr, $schema:tt) => {
        impl $type {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the text.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(String) -> Result<Self, InvalidValue> = $parse;
                parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        schema!($type, $schema);
    };
}

/// Implements an inline JSON schema: some clients do not resolve references.
macro_rules! schema {
    ($type:ident, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(Title, |text| Self::parse(&text), {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TITLE,
    "description": "The title: one line.",
});
text!(Body, |text| Self::parse(text), {
    "type": "string",
    "maxLength": MAX_BODY,
    "description": "The text, plain or Markdown.",
});
text!(Tag, |text| Self::parse(&text), {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TAG,
    "description": "A tag. Case-sensitive.",
});
text!(SearchQuery, |text| Self::parse(&text), {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_QUERY,
    "description": "What to search for in titles, tags and texts. All words must occur, in any \
                    grammatical form and order; at most 32 words. \"quotes\" search for a phrase, OR matches \
                    either of two words, a leading - excludes a word.",
});
schema!(Tags, {
    "type": "array",
    "maxItems": MAX_TAGS,
    "items": { "type": "string", "minLength": 1, "maxLength": MAX_TAG },
    "description": "At most 16 tags of 1 to 40 characters each. Duplicates are removed.",
});
schema!(PageSize, {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_PAGE,
    "default": DEFAULT_PAGE,
    "description": "The number of notes to return, 1 to 100.",
});

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Vec::<Tag>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_trimmed_and_counted_in_characters() {
        assert_eq!(Title::parse("  Grüße \n").unwrap().as_str(), "Grüße");
        assert!(Title::parse(&"ü".repeat(MAX_TITLE)).is_ok());
        for (bad, sentence) in [
            ("", "a title has 1 to 200 characters, and this one has 0"),
            (" \t", "a title has 1 to 200 characters, and this one has 0"),
            (&"ü".repeat(201), "a title has 1 to 200 characters, and this one has 201"),
            (
                "two\nlines",
                "a title is one line without control characters, and this one contains U+000A",
            ),
        ] {
            assert_eq!(Title::parse(bad).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn a_body_keeps_its_white_space_and_has_a_limit() {
        assert_eq!(Body::parse(" a\n").unwrap().as_str(), " a\n");
        assert!(Body::parse("x".repeat(MAX_BODY)).is_ok());
        let sentence = Body::parse("x".repeat(MAX_BODY + 1)).unwrap_err().to_string();
        assert!(sentence.contains("at most 100000 characters"), "{sentence}");
        assert!(sentence.contains("100001"), "{sentence}");
        assert!(Body::parse("a\0b").is_err());
    }

    #[test]
    fn tags_are_trimmed_counted_and_kept_in_order() {
        let tags: Tags = serde_json::from_str(r#"["work", " home", "work ", "Work"]"#).unwrap();
        assert_eq!(serde_json::to_string(&tags).unwrap(), r#"["work","home","Work"]"#);

        let many: Vec<String> = (0..17).map(|number: u8| number.to_string()).collect();
        let error = serde_json::from_value::<Tags>(many.into()).unwrap_err().to_string();
        assert_eq!(error, "a note has at most 16 tags, and this one has 17");
        let error = serde_json::from_str::<Tags>(r#"[""]"#).unwrap_err().to_string();
        assert!(error.starts_with("a tag has 1 to 40 characters, and this one has 0"), "{error}");
    }

    #[test]
    fn a_search_has_a_limit_of_words() {
        let words = |count| vec!["a"; count].join(" ");
        assert!(SearchQuery::parse(&words(MAX_QUERY_WORDS)).is_ok());
        let refused = SearchQuery::parse(&words(39)).unwrap_err().to_string();
        assert!(refused.contains("at most 32 words, and this one has 39: leave out"), "{refused}");
        for many in ["a.".repeat(40), "数".repeat(40), "-a ".repeat(40), "a or ".repeat(40)] {
            assert!(SearchQuery::parse(&many).is_err(), "{many}");
        }
        assert!(SearchQuery::parse(&"x".repeat(MAX_QUERY)).is_ok());
    }

    #[test]
    fn a_page_has_between_1_and_100_notes() {
        assert_eq!(PageSize::default().get(), 20);
        assert_eq!(PageSize::new(100).unwrap().get(), 100);
        for bad in [0, 101, 256, 65_537, u64::MAX] {
            assert!(PageSize::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schemas_have_the_same_limits() {
        let schema = |schema: Schema| schema.to_value();
        let mut generator = SchemaGenerator::default();
        let title = schema(Title::json_schema(&mut generator));
        assert_eq!((&title["minLength"], &title["maxLength"]), (&1.into(), &200.into()));
        let tags = schema(Tags::json_schema(&mut generator));
        assert_eq!((&tags["maxItems"], &tags["items"]["maxLength"]), (&16.into(), &40.into()));
        assert!(Body::json_schema(&mut generator).to_value()["description"].is_string());
    }
}
