//! A note that is being read: conversion of fields, and limits.

use chrono::{DateTime, Utc};
use platform::counted;
use serde_json::Value;

use super::{
    dates,
    document::ImportedNote,
    tags,
    text::{first_line, one_line, scalar, shorten, shorten_to, shown},
};
use crate::store::{Body, Draft, MAX_BODY, MAX_TAG, MAX_TAGS, MAX_TITLE, Tag, Tags, Title};

/// The title of a note without title and text.
const UNTITLED: &str = "Untitled";

/// The maximum length of a value in a warning, in characters.
const SHOWN: usize = 60;

/// The maximum number of fields in a warning.
const SHOWN_FIELDS: usize = 8;

/// The number of characters reserved in a title for a label such as `(2 of 3)`.
const PART_LABEL: usize = 20;

/// A note before the limits are applied.
#[derive(Debug, Default)]
pub(super) struct RawNote {
    /// Whether an export of this server has written the note, so that it is imported unchanged.
    pub(super) is_native: bool,
    pub(super) title: Option<String>,
    pub(super) body: String,
    pub(super) tags: Vec<String>,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) updated_at: Option<DateTime<Utc>>,
    /// Front matter fields that notes do not have, as written. They are kept before the body.
    pub(super) kept: Vec<String>,
    /// The names of the fields in [`Self::kept`].
    pub(super) kept_fields: Vec<String>,
    /// Whether [`Self::kept`] is TOML.
    pub(super) is_toml: bool,
    pub(super) warnings: Vec<String>,
}

/// A field of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Title,
    Tags,
    Created,
    Updated,
    Folder,
}

/// Returns the field of a key, in any of the spellings that programs use.
pub(super) fn field_of_key(key: &str) -> Option<Field> {
    let key: String = key
        .chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    Some(match key.as_str() {
        "title" => Field::Title,
        "tags" | "tag" | "keywords" | "keyword" | "labels" | "label" => Field::Tags,
        "createdat"
        | "created"
        | "date"
        | "datecreated"
        | "createddate"
        | "createdtime"
        | "timecreated"
        | "creationdate"
        | "creationtime"
        | "createdon"
        | "ctime"
        | "createdtimestamp"
        | "createdtimestampusec" => Field::Created,
        "updatedat"
        | "updated"
        | "dateupdated"
        | "updateddate"
        | "updatedtime"
        | "updatedon"
        | "modified"
        | "modifiedat"
        | "datemodified"
        | "modifieddate"
        | "modifiedtime"
        | "modifiedon"
        | "modificationdate"
        | "modificationtime"
        | "lastmod"
        | "lastmodified"
        | "lastmodifiedat"
        | "lastmodifieddate"
        | "lastmodifiedtime"
        | "lastupdated"
        | "lastupdatedat"
        | "lastedited"
        | "lasteditedat"
        | "lasteditedtime"
        | "mtime"
        | "usereditedtimestampusec" => Field::Updated,
        "folder" | "notebook" => Field::Folder,
        _ => return None,
    })
}

/// The result of setting a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldOutcome {
    /// The field was set.
    Used,
    /// The value is empty.
    Empty,
    /// The value is invalid for the field and must be kept in the text.
    Unused,
}

impl RawNote {
    /// Sets a field. `key` is its name in the document.
    pub(super) fn set_field(&mut self, key: &str, field: Field, value: &Value) -> FieldOutcome {
        match field {
            Field::Title => self.set_title(value),
            Field::Tags => self.set_tags(value),
            Field::Created => self.set_time(key, value, |note| &mut note.created_at),
            Field::Updated => self.set_time(key, value, |note| &mut note.updated_at),
            Field::Folder => self.set_folder(value),
        }
    }

    fn set_title(&mut self, value: &Value) -> FieldOutcome {
        let Some(title) = scalar(value) else { return FieldOutcome::Unused };
        if title.trim().is_empty() {
            FieldOutcome::Empty
        } else if self.title.is_some() {
            FieldOutcome::Unused
        } else {
            self.title = Some(title);
            FieldOutcome::Used
        }
    }

    fn set_tags(&mut self, value: &Value) -> FieldOutcome {
        let mut found = Vec::new();
        if !tags::collect(value, &mut found) {
            return FieldOutcome::Unused;
        }
        let outcome = if found.is_empty() { FieldOutcome::Empty } else { FieldOutcome::Used };
        self.add_tags(found);
        outcome
    }

    /// Adds tags, without duplicates.
    pub(super) fn add_tags(&mut self, tags: impl IntoIterator<Item = String>) {
        for tag in tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
    }

    fn set_time(
        &mut self,
        key: &str,
        value: &Value,
        target: fn(&mut Self) -> &mut Option<DateTime<Utc>>,
    ) -> FieldOutcome {
        match dates::read(value) {
            Ok(None) => FieldOutcome::Empty,
            Ok(Some(time)) => match target(self) {
                Some(other) if *other != time => FieldOutcome::Unused,
                target => {
                    *target = Some(time);
                    FieldOutcome::Used
                }
            },
            Err(dates::NotADate) => {
                let text = scalar(value).unwrap_or_else(|| value.to_string());
                self.warnings.push(format!(
                    "`{}` is not a supported date (“{}”)",
                    shown(key, SHOWN),
                    shown(&text, SHOWN)
                ));
                FieldOutcome::Unused
            }
        }
    }

    fn set_folder(&mut self, value: &Value) -> FieldOutcome {
        match scalar(value).as_deref().map(str::trim) {
            None => FieldOutcome::Unused,
            Some("") => FieldOutcome::Empty,
            Some(folder) => {
                let folder = one_line(folder);
                self.warnings.push(format!("its folder “{}” became a tag", shown(&folder, SHOWN)));
                self.add_tags([folder]);
                FieldOutcome::Used
            }
        }
    }

    /// Keeps a field in the text, as written.
    pub(super) fn keep_in_text(&mut self, key: &str, text: &str) {
        self.kept.push(text.trim_end_matches(['\n', '\r']).to_owned());
        self.kept_fields.push(format!("`{}`", shown(&one_line(key), SHOWN)));
    }

    /// Applies the limits. Returns the note, in several parts if its text is too long, with
    /// warnings about what was changed.
    pub(super) fn finish(mut self) -> (Vec<ImportedNote>, Vec<String>) {
        let tags = self.limited_tags();
        if let Some(warning) = self.kept_warning() {
            self.warnings.push(warning);
        }
        let title = self.limited_title();
        let body = self.full_body();
        let parts = parts(&body);
        if parts.len() > 1 {
            self.warnings.push(format!(
                "its text is longer than {MAX_BODY} characters and was split into {} notes",
                parts.len()
            ));
        }
        let (created_at, updated_at) = (self.created_at, self.updated_at);
        let count = parts.len();
        let notes = parts.into_iter().enumerate().map(|(index, body)| {
            let title = match count {
                1 => title.clone(),
                count => format!(
                    "{} ({} of {count})",
                    shorten(&title, MAX_TITLE - PART_LABEL),
                    index + 1
                ),
            };
            let draft = Draft {
                title: Title::parse(&title).expect("the title is one line, and was shortened"),
                body: Body::parse(body).expect("the text has no U+0000, and was split"),
                tags: tags.clone(),
            };
            ImportedNote { draft, created_at, updated_at }
        });
        (notes.collect(), self.warnings)
    }

    /// Returns the valid tags, at most [`MAX_TAGS`]; the others are kept in the text.
    fn limited_tags(&mut self) -> Tags {
        let mut tags: Vec<Tag> = Vec::new();
        let mut excess = Vec::new();
        for tag in std::mem::take(&mut self.tags) {
            match Tag::parse(&tag) {
                Ok(tag) if tags.len() < MAX_TAGS => {
                    if !tags.contains(&tag) {
                        tags.push(tag);
                    }
                }
                _ => excess.push(tag),
            }
        }
        if !excess.is_empty() {
            self.warnings.push(format!(
                "kept in its text, because a note has at most {MAX_TAGS} tags of 1 to {MAX_TAG} \
                 characters: {}",
                counted(excess.len(), "tag", "tags")
            ));
            let list = Value::from(excess).to_string();
            self.kept.push(if self.is_toml {
                format!("tags = {list}")
            } else {
                format!("tags: {list}")
            });
        }
        Tags::parse(tags).expect("excess tags were removed")
    }

    fn kept_warning(&self) -> Option<String> {
        let fields = &self.kept_fields;
        let more = match fields.len().checked_sub(SHOWN_FIELDS) {
            None | Some(0) => String::new(),
            Some(more) => format!(" and {more} more"),
        };
        let shown = fields.get(..SHOWN_FIELDS.min(fields.len()))?.join(", ");
        (!fields.is_empty())
            .then(|| format!("kept in its text, because a note has no field for it: {shown}{more}"))
    }

    /// Returns a title of one line with at most [`MAX_TITLE`] characters. The full version of a
    /// longer title is kept in the text.
    fn limited_title(&mut self) -> String {
        let original = self.title.take().unwrap_or_default();
        let title = one_line(&original);
        if title.is_empty() {
            let line = first_line(&self.body);
            if line.is_empty() {
                self.warnings.push(format!("it has no title and is named “{UNTITLED}”"));
                return UNTITLED.to_owned();
            }
            return shorten_to(&line, MAX_TITLE);
        }
        let length = title.chars().count();
        if length <= MAX_TITLE {
            return title;
        }
        self.warnings.push(format!(
            "its title has {length} characters and was shortened to {MAX_TITLE}; the full title is \
             in its text"
        ));
        self.body = format!("{title}\n\n{}", self.body);
        shorten_to(&title, MAX_TITLE)
    }

    fn full_body(&mut self) -> String {
        let mut body = std::mem::take(&mut self.body);
        if !self.kept.is_empty() {
            let fence = if self.is_toml { "+++" } else { "---" };
            body = format!("{fence}\n{}\n{fence}\n\n{body}", self.kept.join("\n"));
        }
        if body.contains('\0') {
            self.warnings.push("the character U+0000 in its text was replaced by U+FFFD".into());
            body = body.replace('\0', "\u{fffd}");
        }
        body
    }
}

/// Splits a text into parts of at most [`MAX_BODY`] characters, at line ends if possible.
fn parts(body: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some((most, _)) = rest.char_indices().nth(MAX_BODY) {
        let end = rest[..most].rfind('\n').map_or(most, |line_end| line_end + 1);
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    if parts.is_empty() || !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_exceed_a_limit_are_kept_in_the_text() {
        let long = "x".repeat(255);
        let raw = RawNote {
            title: Some(long.clone()),
            body: "text".into(),
            tags: (0..20).map(|number| number.to_string()).chain(["y".repeat(41)]).collect(),
            ..RawNote::default()
        };
        let (notes, warnings) = raw.finish();
        let Draft { title, body, tags } = &notes[0].draft;
        assert_eq!((title.as_str().chars().count(), tags.iter().count()), (MAX_TITLE, MAX_TAGS));
        assert!(title.as_str().ends_with('…'));
        let expected = format!(
            "---\ntags: [\"16\",\"17\",\"18\",\"19\",\"{}\"]\n---\n\n{long}\n\ntext",
            "y".repeat(41)
        );
        assert_eq!(body.as_str(), expected);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn a_long_text_becomes_several_notes() {
        let lines = "ü line\n".repeat(MAX_BODY / 3);
        for body in [lines, "x".repeat(MAX_BODY * 2 + 1)] {
            let raw =
                RawNote { title: Some("Long".into()), body: body.clone(), ..RawNote::default() };
            let (notes, warnings) = raw.finish();
            let titles: Vec<_> = notes.iter().map(|note| note.draft.title.as_str()).collect();
            assert_eq!(titles, ["Long (1 of 3)", "Long (2 of 3)", "Long (3 of 3)"]);
            let whole: String = notes.iter().map(|note| note.draft.body.as_str()).collect();
            assert!(whole == body, "nothing is lost");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
        }
    }

    #[test]
    fn a_note_without_title_is_named_after_its_text() {
        for (body, title) in [
            ("", UNTITLED),
            ("\n---\nWarning: 5 mg\n", "Warning: 5 mg"),
            ("🎉\n", "🎉"),
            ("- [ ] Milk\n- [ ] Eggs", "Milk"),
            ("a\0b", "a b"),
        ] {
            let (notes, _) = RawNote { body: body.into(), ..RawNote::default() }.finish();
            assert_eq!(notes[0].draft.title.as_str(), title, "{body:?}");
        }
    }
}
