//! Notes in a ZIP archive: one file for each note, as an export writes it, or the export of another
//! program. Nothing is written to a disk; the names of files only become titles and tags.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
};

use platform::counted;
use serde_json::Value;
use zip::{ZipArchive, read::ZipFileEntry, result::ZipError};

use super::{
    builder::DocumentBuilder,
    dates,
    decode::{decode, detect_format},
    document::{DocumentFormat, ImportError, MAX_ENTRIES, MAX_UNPACKED},
    inline, json, markdown,
    raw_note::RawNote,
    text::shown,
};

/// The first bytes of an entry in the directory of an archive.
const ENTRY_MARK: &[u8] = b"PK\x01\x02";

/// How many times larger than in the archive a file may be. Text compresses to a third.
const MAX_RATIO: u64 = 100;

/// Files up to this size, in bytes, may have any ratio: a note of one repeated character is not a
/// bomb.
const RATIO_FREE: u64 = 1024 * 1024;

/// Archives in archives: Notion puts the parts of a large export into one.
const MAX_DEPTH: usize = 2;

/// Files that a warning names, and kinds of files.
const SHOWN: usize = 10;

/// Characters of a path in a warning.
const SHOWN_PATH: usize = 80;

const TEXTS: [&str; 7] = ["md", "markdown", "mdown", "mkd", "mkdn", "txt", "text"];

/// Whether a document is a ZIP archive.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// Reads all notes of an archive.
pub(super) fn read(bytes: &[u8], builder: &mut DocumentBuilder) -> Result<(), ImportError> {
    let mut unpacked = Unpacked::default();
    unpacked.unpack(bytes, 1)?;
    let files = std::mem::take(&mut unpacked.files);
    let bundles = bundles(&files);
    let copies = Copies::of(&files);
    for file in files {
        if copies.include(&file) {
            unpacked.copies += 1;
        } else if !file.is_information() {
            builder.path = Some(shown(&file.path(), SHOWN_PATH));
            builder.folders = own_folders(&file, &copies);
            add(&file, &bundles, &mut unpacked, builder)?;
        }
    }
    (builder.path, builder.folders) = (None, Vec::new());
    unpacked.warn(builder);
    Ok(())
}

/// What is in an archive.
#[derive(Default)]
struct Unpacked {
    files: Vec<File>,
    entries: usize,
    bytes: usize,
    /// How many files of each kind are not notes.
    others: BTreeMap<String, usize>,
    /// Files that could not be read, and why.
    unread: Vec<String>,
    /// Files that are not in UTF-8, and the encoding that was assumed.
    guessed: Vec<String>,
    copies: usize,
}

/// What an archive says about one of its entries.
struct Entry {
    name: String,
    is_dir: bool,
    is_symlink: bool,
    is_encrypted: bool,
    /// Bytes in the archive.
    compressed: u64,
}

impl Entry {
    fn of(entry: &ZipFileEntry<'_>) -> Self {
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(_not_decoded) => String::from_utf8_lossy(entry.name_raw()).into_owned(),
        };
        Self {
            name,
            is_dir: entry.is_dir(),
            is_symlink: entry.is_symlink(),
            is_encrypted: entry.encrypted(),
            compressed: entry.compressed_size(),
        }
    }
}

/// A file that may hold notes.
struct File {
    folders: Vec<String>,
    /// The name without its extension.
    name: String,
    extension: String,
    text: String,
}

impl Unpacked {
    fn unpack(&mut self, bytes: &[u8], depth: usize) -> Result<(), ImportError> {
        let broken = |error: ZipError| ImportError::Archive(error.to_string());
        // Counted before the directory is read into memory.
        let entries = bytes.windows(ENTRY_MARK.len()).filter(|it| *it == ENTRY_MARK).count();
        self.entries = self.entries.saturating_add(entries);
        if self.entries > MAX_ENTRIES {
            return Err(ImportError::TooManyFiles);
        }
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        if archive.has_duplicate_names() {
            self.unread.push("the first of several files with the same name".into());
        }
        for index in 0..archive.len() {
            let entry = Entry::of(&archive.by_index_data(index).map_err(broken)?);
            self.entry(&entry, &mut archive, index, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &Entry,
        archive: &mut ZipArchive<Cursor<&[u8]>>,
        index: usize,
        depth: usize,
    ) -> Result<(), ImportError> {
        if entry.is_dir {
            return Ok(());
        }
        let path = components(&entry.name);
        let Some((file_name, folders)) = path.split_last() else { return Ok(()) };
        let (name, extension) = match file_name.rsplit_once('.') {
            Some((name, extension)) if !name.is_empty() => (name, extension.to_lowercase()),
            _ => (file_name.as_str(), String::new()),
        };
        let is_hidden = path.iter().any(|it| it.starts_with('.') || it == "__MACOSX");
        let is_archive = matches!(extension.as_str(), "zip" | "textpack");
        let is_text = TEXTS.contains(&extension.as_str()) || extension == "json";
        if is_hidden || entry.is_symlink || !(is_text || is_archive) {
            let kind = if is_hidden { "hidden".into() } else { kind(&extension) };
            *self.others.entry(kind).or_default() += 1;
            return Ok(());
        }
        let shown = shown(&path.join("/"), SHOWN_PATH);
        if is_archive && depth >= MAX_DEPTH {
            self.unread.push(format!("“{shown}” (an archive in an archive in an archive)"));
            return Ok(());
        }
        let Some(bytes) = self.bytes_of(entry, archive, index, &shown)? else { return Ok(()) };
        if is_archive {
            return match self.unpack(&bytes, depth + 1) {
                Err(ImportError::Archive(problem)) => {
                    self.unread.push(format!("“{shown}” ({problem})"));
                    Ok(())
                }
                done => done,
            };
        }
        match decode(&bytes) {
            Some((text, encoding)) => {
                if let Some(encoding) = encoding {
                    self.guessed.push(format!("“{shown}” ({})", encoding.name()));
                }
                let (name, folders) = (name.to_owned(), folders.to_vec());
                self.files.push(File { folders, name, extension, text });
            }
            None => self.unread.push(format!("“{shown}” (it is not text)")),
        }
        Ok(())
    }

    /// The decompressed bytes of a file. `None`: it cannot be read.
    fn bytes_of(
        &mut self,
        entry: &Entry,
        archive: &mut ZipArchive<Cursor<&[u8]>>,
        index: usize,
        shown: &str,
    ) -> Result<Option<Vec<u8>>, ImportError> {
        if entry.is_encrypted {
            self.unread.push(format!("“{shown}” (it is encrypted)"));
            return Ok(None);
        }
        let remaining = MAX_UNPACKED - self.bytes;
        let ratio_bound = RATIO_FREE.max(entry.compressed.saturating_mul(MAX_RATIO));
        let bound = ratio_bound.min(u64::try_from(remaining).unwrap_or(u64::MAX));
        let mut bytes = Vec::new();
        let result = match archive.by_index(index) {
            // One byte more than allowed shows that there is more, whatever the entry says.
            Ok(file) => {
                file.take(bound.saturating_add(1)).read_to_end(&mut bytes).map_err(ZipError::from)
            }
            Err(error) => Err(error),
        };
        self.bytes = self.bytes.saturating_add(bytes.len()).min(MAX_UNPACKED);
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bound {
            return Err(if bound == ratio_bound {
                ImportError::Bomb(shown.to_owned())
            } else {
                ImportError::Unpacked
            });
        }
        match result {
            Ok(_) => Ok(Some(bytes)),
            Err(error) => {
                self.unread.push(format!("“{shown}” ({error})"));
                Ok(None)
            }
        }
    }

    /// Says what was left out, and what became of folders.
    fn warn(self, builder: &mut DocumentBuilder) {
        let count: usize = self.others.values().sum();
        if count > 0 {
            let mut kinds: Vec<_> = self.others.into_iter().collect();
            kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let kinds: Vec<_> =
                kinds.iter().take(SHOWN).map(|(kind, count)| format!("{count} {kind}")).collect();
            builder.warn(format!(
                "left out of the archive, because only Markdown, text and JSON are notes: {} ({})",
                counted(count, "file", "files"),
                kinds.join(", ")
            ));
        }
        if self.copies > 0 {
            builder.warn(format!(
                "left out of the archive, because they repeat its notes in another form: {}",
                counted(self.copies, "file", "files")
            ));
        }
        if !self.unread.is_empty() {
            builder.warn(format!("left out what cannot be read: {}", some_of(&self.unread)));
        }
        if !self.guessed.is_empty() {
            builder.warn(format!("guessed the encoding of {}", some_of(&self.guessed)));
        }
    }
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl File {
    fn path(&self) -> String {
        let file = format!("{}.{}", self.name, self.extension);
        self.folders.iter().map(String::as_str).chain([file.as_str()]).collect::<Vec<_>>().join("/")
    }

    /// The folder of a text bundle (Bear, Ulysses), if the file is in one.
    fn bundle(&self) -> Option<&str> {
        self.folders.last().map(String::as_str).filter(|it| it.ends_with(".textbundle"))
    }

    /// Says something about other files, and is not a note.
    fn is_information(&self) -> bool {
        let is_labels = self.name == "Labels" && self.folders.last().is_some_and(|it| it == "Keep");
        is_labels || (self.bundle().is_some() && self.extension == "json")
    }
}

/// A path without anything that a file system would follow.
fn components(name: &str) -> Vec<String> {
    name.split(['/', '\\'])
        .map(|it| it.chars().filter(|it| !it.is_control()).collect::<String>().trim().to_owned())
        .filter(|it| !it.is_empty() && it != "." && it != "..")
        .collect()
}

fn kind(extension: &str) -> String {
    let is_plain = (1..=8).contains(&extension.len())
        && extension.chars().all(|it| it.is_ascii_alphanumeric());
    if is_plain { format!(".{extension}") } else { "other".into() }
}

/// What the `info.json` of each text bundle says.
fn bundles(files: &[File]) -> BTreeMap<Vec<String>, Value> {
    let is_info = |it: &&File| it.bundle().is_some() && it.name == "info" && it.extension == "json";
    files
        .iter()
        .filter(is_info)
        .filter_map(|it| Some((it.folders.clone(), serde_json::from_str(&it.text).ok()?)))
        .collect()
}

/// Exports that hold each note twice: in one JSON document, and as text for people.
struct Copies {
    simplenote: bool,
    standard_notes: bool,
}

impl Copies {
    fn of(files: &[File]) -> Self {
        let has = |folder: Option<&str>, marks: &str| {
            files.iter().any(|it| {
                (folder.is_none() || it.folders.last().map(String::as_str) == folder)
                    && detect_format(&it.text) == DocumentFormat::Json
                    && it.text.contains(marks)
            })
        };
        Self {
            simplenote: has(Some("source"), "\"activeNotes\""),
            standard_notes: has(None, "\"content_type\""),
        }
    }

    fn include(&self, file: &File) -> bool {
        let is_text = file.extension == "txt";
        let in_items = file.folders.iter().any(|it| it == "Items");
        (self.simplenote && is_text && detect_format(&file.text) == DocumentFormat::Markdown)
            || (self.standard_notes && is_text && in_items)
    }
}

/// Adds the notes of one file.
fn add(
    file: &File,
    bundles: &BTreeMap<Vec<String>, Value>,
    unpacked: &mut Unpacked,
    builder: &mut DocumentBuilder,
) -> Result<(), ImportError> {
    let is_json = file.extension == "json";
    if is_json
        || (file.extension.starts_with('t') && detect_format(&file.text) == DocumentFormat::Json)
    {
        let before = builder.notes.len();
        match json::read(&file.text, builder) {
            Err(ImportError::NotJson(problem)) if is_json && builder.notes.len() == before => {
                let path = shown(&file.path(), SHOWN_PATH);
                unpacked.unread.push(format!("“{path}” (no JSON of notes: {problem})"));
                return Ok(());
            }
            Err(ImportError::NotJson(_)) if !is_json => {}
            done => return done,
        }
    }
    text(file, bundles, builder)
}

/// Adds the notes of a file of Markdown or plain text.
fn text(
    file: &File,
    bundles: &BTreeMap<Vec<String>, Value>,
    builder: &mut DocumentBuilder,
) -> Result<(), ImportError> {
    let (title, is_notion) = match file.bundle() {
        Some(bundle) => (bundle.trim_end_matches(".textbundle"), false),
        None => without_notion_id(&file.name),
    };
    let mut notes = markdown::read(&file.text, Some(title))?;
    if notes.is_empty() {
        notes.push(RawNote { title: Some(title.to_owned()), ..RawNote::default() });
    }
    for mut raw in notes {
        if is_notion && !raw.is_native {
            inline::take_properties(&mut raw);
        }
        if let Some(info) = bundles.get(&file.folders) {
            let info = &info["net.shinyfrog.bear"];
            if info["trashed"] == 1 || info["trashed"] == true {
                builder.trashed += 1;
                continue;
            }
            let time = |key: &str| dates::read(&info[key]).ok().flatten();
            raw.created_at = raw.created_at.or_else(|| time("creationDate"));
            raw.updated_at = raw.updated_at.or_else(|| time("modificationDate"));
            raw.add_tags(inline::hashtags(&raw.body));
        }
        builder.add(raw)?;
    }
    Ok(())
}

/// The folders that a person has made, without those that programs put around an export.
fn own_folders(file: &File, copies: &Copies) -> Vec<String> {
    let mut folders = file.folders.as_slice();
    if file.bundle().is_some() {
        folders = &folders[..folders.len() - 1];
    }
    let is_notion = without_notion_id(&file.name).1;
    folders = match folders {
        [takeout, keep, rest @ ..] if takeout == "Takeout" && keep == "Keep" => rest,
        [source] if copies.simplenote && source == "source" => &[],
        [export, rest @ ..] if is_notion && export.starts_with("Export-") => rest,
        folders => folders,
    };
    folders.iter().map(|it| without_notion_id(it).0.to_owned()).collect()
}

/// The name of a page without the 32 hexadecimal digits that Notion puts behind it.
fn without_notion_id(name: &str) -> (&str, bool) {
    let Some((title, id)) = name.rsplit_once(' ') else { return (name, false) };
    let is_id = id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit());
    if is_id && !title.trim().is_empty() { (title.trim(), true) } else { (name, false) }
}
