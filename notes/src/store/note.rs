//! The types of notes that the functions of [`super`] take and return.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::Error as _};

use super::{
    cursor::Cursor,
    text::{Body, PageSize, Tag, Tags, Title},
};
use crate::{entity::Model, note_id::NoteId};

/// Serializes a time as RFC 3339. The result is the same as that of `DateTime::serialize`, which takes about
/// ten times as many instructions.
fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    let (date, clock) = (time.date_naive(), time.time());
    let (year, nanoseconds) = (u32::try_from(date.year()), clock.nanosecond());
    // Milliseconds, whole seconds, nanoseconds and leap seconds are rare.
    let has_microseconds = nanoseconds < 1_000_000_000
        && nanoseconds.is_multiple_of(1_000)
        && !nanoseconds.is_multiple_of(1_000_000);
    let (true, Ok(year @ 0..=9_999)) = (has_microseconds, year) else {
        return time.serialize(serializer);
    };
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (number, range) in [
        (year, 0..4),
        (date.month(), 5..7),
        (date.day(), 8..10),
        (clock.hour(), 11..13),
        (clock.minute(), 14..16),
        (clock.second(), 17..19),
        (nanoseconds / 1_000, 20..26),
    ] {
        write_digits(&mut text[range], number);
    }
    serializer.serialize_str(std::str::from_utf8(&text).map_err(S::Error::custom)?)
}

/// Writes a number with leading zeros.
fn write_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// A note with its full text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Note {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The text, plain or Markdown.
    pub body: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "DateTime<Utc>")]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "DateTime<Utc>")]
    pub updated_at: DateTime<Utc>,
}

/// A note in a list, with the beginning of its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteSummary {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The beginning of the text, at most 200 characters. Ends with “…” if the text is longer.
    pub excerpt: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "DateTime<Utc>")]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "DateTime<Utc>")]
    pub updated_at: DateTime<Utc>,
}

/// A page of notes, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Page {
    /// The notes of this page.
    pub notes: Vec<NoteSummary>,
    /// The cursor of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
}

/// Selects the notes of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The number of notes on the page.
    pub limit: PageSize,
    /// The `next_cursor` of the previous page; `None` for the first page.
    pub cursor: Option<Cursor>,
    /// If set, only notes with exactly this tag.
    pub tag: Option<Tag>,
}

/// The content of a new note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The title.
    pub title: Title,
    /// The text.
    pub body: Body,
    /// The tags.
    pub tags: Tags,
}

/// Changes to a note. A field that is `None` stays unchanged; tags are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new title.
    pub title: Option<Title>,
    /// The new text.
    pub body: Option<Body>,
    /// The new tags.
    pub tags: Option<Tags>,
}

impl Note {
    /// Returns the cursor of the list after this note.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.created_at, self.id)
    }
}

impl From<Model> for Note {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            title: row.title,
            body: row.body,
            tags: row.tags.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_serialized_as_chrono_does() {
        #[derive(Serialize)]
        struct Time(#[serde(serialize_with = "rfc3339")] DateTime<Utc>);
        for microseconds in
            [0, 1, 1_000, 1_700_000_000_123_456, 1_700_000_000_120_000, -1, 253_402_300_800_000_001]
        {
            let time = DateTime::from_timestamp_micros(microseconds).unwrap();
            let written = serde_json::to_string(&Time(time)).unwrap();
            assert_eq!(written, serde_json::to_string(&time).unwrap());
        }
    }
}
