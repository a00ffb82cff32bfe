//! Reads the JSON of other programs: arrays of notes under any name, Google Keep (one object per
//! note), Simplenote (`activeNotes`), Standard Notes (`items`).

use std::collections::HashMap;

use platform::counted;
use serde_json::{Map, Value, value::RawValue};

use super::{
    builder::DocumentBuilder,
    dates,
    document::ImportError,
    json_parts::{TopLevel, all_entries, not_a_note, value},
    markdown::with_plain_line_ends,
    native_json,
    raw_note::{FieldOutcome, RawNote, field_of_key},
    tags,
    text::scalar,
};

/// Keys of the text of a note, in order of preference.
const TEXTS: [&str; 6] = ["body", "content", "text", "textContent", "markdown", "note"];

/// Keys of the title of a note, in order of preference.
const TITLES: [&str; 2] = ["title", "name"];

/// Keys of internal data of programs, such as row numbers and display options.
const MACHINE_FIELDS: [&str; 17] = [
    "_id",
    "appData",
    "content_type",
    "defaultEditor",
    "editorIdentifier",
    "guid",
    "hidePreview",
    "id",
    "noteType",
    "prefersPlainEditor",
    "preview_html",
    "preview_plain",
    "protected",
    "references",
    "spellcheck",
    "textContentHtml",
    "uuid",
];

/// Keys of flags that are ignored if they are not set.
const FLAGS: [&str; 8] =
    ["archived", "isArchived", "isPinned", "locked", "markdown", "pinned", "starred", "favorite"];

/// Keys of flags that mark deleted notes.
const TRASHED: [&str; 4] = ["trashed", "isTrashed", "deleted", "isDeleted"];

/// Keys of metadata of a document.
const DOCUMENT_FIELDS: [&str; 4] = ["format", "version", "exported_at", "exportedAt"];

/// Adds the notes of a top-level value.
pub(super) fn read(top: TopLevel<'_>, builder: &mut DocumentBuilder) -> Result<(), ImportError> {
    let entries = match top {
        TopLevel::List(items) => return list(&items, builder),
        TopLevel::Object(entries) => entries,
    };
    let part = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, text)| *text);
    if let Some(notes) = part("notes").and_then(items) {
        warn_of_other_entries(&entries, &["notes"], builder);
        return native_list(&notes, native_json::is_native(&entries), builder);
    }
    if part("activeNotes").is_some() || part("trashedNotes").is_some() {
        warn_of_other_entries(&entries, &["activeNotes", "trashedNotes"], builder);
        let trashed = part("trashedNotes").and_then(items).unwrap_or_default().len();
        builder.trashed += trashed;
        let active = part("activeNotes").and_then(items).unwrap_or_default();
        return native_list(&active, false, builder);
    }
    if let Some(items) = part("items").and_then(items)
        && items.iter().any(|item| item.get().contains("\"content_type\""))
    {
        return standard_notes(&items, builder);
    }
    if let Some((fields, raw)) =
        all_entries(&entries).ok().and_then(|fields| object(&fields).map(|raw| (fields, raw)))
    {
        if is_trashed(&fields) {
            builder.trashed += 1;
            return Ok(());
        }
        return builder.add(raw);
    }
    // The only array of objects, under any name.
    let mut lists = entries.iter().filter_map(|(key, text)| Some((key.as_str(), items(text)?)));
    match (lists.next(), lists.next()) {
        (Some((key, items)), None) if items.iter().any(|item| item.get().starts_with('{')) => {
            warn_of_other_entries(&entries, &[key], builder);
            native_list(&items, false, builder)
        }
        _ => Err(not_a_note()),
    }
}

/// Returns the items of a part that is an array. `None`: it is not an array.
fn items(text: &RawValue) -> Option<Vec<&RawValue>> {
    match serde_json::from_str(text.get()) {
        Ok(TopLevel::List(items)) => Some(items),
        _ => None,
    }
}

/// Adds the notes of an array.
fn list(items: &[&RawValue], builder: &mut DocumentBuilder) -> Result<(), ImportError> {
    let (before, mut unread) = (builder.notes.len(), 0);
    for item in items {
        match value(item) {
            Some(Value::Object(fields)) if is_trashed(&fields) => builder.trashed += 1,
            Some(Value::Object(fields)) => {
                builder.add(object(&fields).unwrap_or_else(|| fields_of(&fields)))?;
            }
            Some(Value::String(text)) => {
                let body = with_plain_line_ends(&text).into_owned();
                builder.add(RawNote { body, ..RawNote::default() })?;
            }
            _ => unread += 1,
        }
    }
    if unread > 0 && builder.notes.len() == before {
        return Err(ImportError::NotJson("its items are not objects".into()));
    }
    if unread > 0 {
        let items = counted(unread, "item", "items");
        builder.warn(format!("left out of the array, because they are not notes: {items}"));
    }
    Ok(())
}

/// Adds the notes of an array, unchanged if it was written by an export of this server.
fn native_list(
    items: &[&RawValue],
    is_native: bool,
    builder: &mut DocumentBuilder,
) -> Result<(), ImportError> {
    if !is_native {
        return list(items, builder);
    }
    for item in items {
        match native_json::read_note(item) {
            Some(raw) => builder.add(raw)?,
            None => list(&[item], builder)?,
        }
    }
    Ok(())
}

/// Adds a warning about entries of a document that were not imported.
fn warn_of_other_entries(
    entries: &[(String, &RawValue)],
    used: &[&str],
    builder: &mut DocumentBuilder,
) {
    let others = entries.iter().filter(|(key, text)| {
        let is_empty = ["null", "[]", "{}", "\"\""].contains(&text.get());
        !used.contains(&key.as_str()) && !DOCUMENT_FIELDS.contains(&key.as_str()) && !is_empty
    });
    let others: Vec<_> = others.map(|(key, _)| format!("`{key}`")).take(10).collect();
    if !others.is_empty() {
        builder.warn(format!("the document also has {}, which were left out", others.join(", ")));
    }
}

/// Reads an object that has a title or a text. `None`: it has neither.
pub(super) fn object(fields: &Map<String, Value>) -> Option<RawNote> {
    let has_text = TEXTS.iter().any(|key| fields.get(*key).is_some_and(Value::is_string));
    let has_list = fields.get("listContent").is_some_and(Value::is_array);
    let has_title =
        TITLES.iter().any(|key| fields.get(*key).is_some_and(|title| !title.is_object()));
    (has_text || has_list || has_title).then(|| fields_of(fields))
}

fn is_trashed(fields: &Map<String, Value>) -> bool {
    TRASHED.iter().any(|key| fields.get(*key) == Some(&Value::Bool(true)))
}

/// Reads all fields of an object. Fields that notes do not have are kept before the text.
fn fields_of(fields: &Map<String, Value>) -> RawNote {
    let mut raw = RawNote::default();
    let text = TEXTS.iter().find(|key| fields.get(**key).is_some_and(Value::is_string));
    if let Some(text) = text.and_then(|key| fields[*key].as_str()) {
        raw.body = with_plain_line_ends(text).into_owned();
    }
    let title = TITLES.iter().find(|key| {
        fields.get(**key).and_then(scalar).is_some_and(|title| !title.trim().is_empty())
    });
    raw.title = title.and_then(|key| scalar(&fields[*key]));
    for (key, value) in fields {
        let used = [text, title].into_iter().flatten().any(|used_key| used_key == key);
        if used
            || is_insignificant(key, value)
            || (key == "listContent" && add_checklist(value, &mut raw))
        {
            continue;
        }
        let outcome = match field_of_key(key) {
            Some(field) => raw.set_field(key, field, value),
            None => FieldOutcome::Unused,
        };
        if outcome == FieldOutcome::Unused {
            raw.keep_in_text(key, &format!("{}: {value}", yaml_key(key)));
        }
    }
    raw
}

fn is_insignificant(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => {
            text.is_empty()
                || (key == "color" && text == "DEFAULT")
                || MACHINE_FIELDS.contains(&key)
        }
        Value::Array(items) => items.is_empty() || MACHINE_FIELDS.contains(&key),
        Value::Object(fields) => fields.is_empty() || MACHINE_FIELDS.contains(&key),
        Value::Bool(false) => {
            FLAGS.contains(&key) || TRASHED.contains(&key) || MACHINE_FIELDS.contains(&key)
        }
        Value::Bool(true) => key == "markdown" || MACHINE_FIELDS.contains(&key),
        Value::Number(_) => MACHINE_FIELDS.contains(&key),
    }
}

fn yaml_key(key: &str) -> String {
    let is_plain = key.starts_with(char::is_alphabetic)
        && key.chars().all(|character| character.is_alphanumeric() || "_-. ".contains(character))
        && key.trim() == key;
    if is_plain { key.to_owned() } else { Value::from(key).to_string() }
}

/// Appends the checklist of a Google Keep note to the text as Markdown. `false`: the list has
/// another form.
fn add_checklist(value: &Value, raw: &mut RawNote) -> bool {
    let item = |item: &Value| -> Option<String> {
        let text = item.get("text")?.as_str()?;
        let is_checked = item.get("isChecked").and_then(Value::as_bool).unwrap_or_default();
        Some(format!("- [{}] {}", if is_checked { 'x' } else { ' ' }, text.replace('\n', "\n  ")))
    };
    let items: Option<Vec<String>> =
        value.as_array().and_then(|items| items.iter().map(item).collect());
    let Some(items) = items else { return false };
    if !raw.body.is_empty() {
        raw.body.push_str("\n\n");
    }
    raw.body.push_str(&items.join("\n"));
    true
}

/// Reads a decrypted backup of Standard Notes, in which notes and tags are items of one array.
fn standard_notes(items: &[&RawValue], builder: &mut DocumentBuilder) -> Result<(), ImportError> {
    let count = items.len();
    let items: Vec<Value> = items.iter().filter_map(|item| value(item)).collect();
    let is = |item: &Value, content_type: &str| item["content_type"] == content_type;
    let mut tags: HashMap<&str, Vec<String>> = HashMap::new();
    for tag in items.iter().filter(|item| is(item, "Tag")) {
        let name = tag["content"]["title"].as_str().and_then(tags::clean);
        let references = tag["content"]["references"].as_array();
        for reference in references.into_iter().flatten() {
            if let (Some(id), Some(name)) = (reference["uuid"].as_str(), &name) {
                tags.entry(id).or_default().push(name.clone());
            }
        }
    }
    let (mut encrypted, mut others, mut trashed) = (0, count - items.len(), 0);
    for item in &items {
        let content = &item["content"];
        match content {
            _ if is(item, "Tag") => {}
            Value::String(_) => encrypted += 1,
            Value::Object(content) if is(item, "Note") => {
                let is_deleted = item.as_object().is_some_and(is_trashed) || is_trashed(content);
                if is_deleted {
                    trashed += 1;
                    continue;
                }
                builder.add(standard_note(item, content, &tags))?;
            }
            _ => others += 1,
        }
    }
    builder.trashed += trashed;
    if encrypted > 0 {
        let items = counted(encrypted, "encrypted item", "encrypted items");
        builder.warn(format!("left out: {items}; export a decrypted backup to import them"));
    }
    if others > 0 {
        let items = counted(others, "item", "items");
        builder.warn(format!("left out, because they are settings and not notes: {items}"));
    }
    Ok(())
}

fn standard_note(
    item: &Value,
    content: &Map<String, Value>,
    tags: &HashMap<&str, Vec<String>>,
) -> RawNote {
    let mut raw = fields_of(content);
    let app_data = &content.get("appData").unwrap_or(&Value::Null)["org.standardnotes.sn"];
    let time = |value: &Value| dates::read(value).ok().flatten();
    raw.created_at = time(&item["created_at"]);
    raw.updated_at = time(&app_data["client_updated_at"]).or_else(|| time(&item["updated_at"]));
    for flag in ["pinned", "archived"] {
        if app_data[flag] == true {
            raw.keep_in_text(flag, &format!("{flag}: true"));
        }
    }
    let own = item["uuid"].as_str().and_then(|id| tags.get(id));
    raw.add_tags(own.into_iter().flatten().cloned());
    raw
}
