//! Reads ZIP archives: the export of this server, with one file per note, or of another program.
//! Nothing is written to disk; file names only become titles and tags.

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

/// The signature of an entry in the central directory of an archive.
const ENTRY_MARK: &[u8] = b"PK\x01\x02";

/// The maximum compression ratio of a file. Text typically has a ratio of 3.
const MAX_RATIO: u64 = 100;

/// The size, in bytes, up to which any compression ratio is accepted: a note of one repeated
/// character is not an attack.
const RATIO_FREE: u64 = 1024 * 1024;

/// The maximum nesting of archives. Notion puts the parts of a large export into one archive.
const MAX_DEPTH: usize = 2;

/// The maximum number of files and file types in a warning.
const SHOWN: usize = 10;

/// The maximum length of a path in a warning, in characters.
const SHOWN_PATH: usize = 80;

const TEXT_EXTENSIONS: [&str; 7] = ["md", "markdown", "mdown", "mkd", "mkdn", "txt", "text"];

/// Returns whether a document is a ZIP archive.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// Reads all notes of an archive into `builder`.
pub(super) fn read(bytes: &[u8], builder: &mut DocumentBuilder) -> Result<(), ImportError> {
    let mut unpacked = Unpacked::default();
    unpacked.unpack(bytes, 1)?;
    let files = std::mem::take(&mut unpacked.files);
    let bundles = bundles(&files);
    let copies = Copies::of(&files);
    for file in files {
        if copies.contains(&file) {
            unpacked.copies += 1;
        } else if !file.is_metadata() {
            builder.path = Some(shown(&file.path(), SHOWN_PATH));
            builder.folders = own_folders(&file, &copies);
            add(&file, &bundles, &mut unpacked, builder)?;
        }
    }
    (builder.path, builder.folders) = (None, Vec::new());
    unpacked.warn(builder);
    Ok(())
}

/// The content of an archive, and of the archives in it.
#[derive(Default)]
struct Unpacked {
    files: Vec<File>,
    /// The number of all entries.
    entries: usize,
    /// The size of all decompressed files.
    bytes: usize,
    /// The number of ignored files by type.
    others: BTreeMap<String, usize>,
    /// Files that could not be read, with the reason.
    unread: Vec<String>,
    /// Files that are not in UTF-8, with the detected encoding.
    guessed: Vec<String>,
    /// The number of files that duplicate notes.
    copies: usize,
}

/// The metadata of an entry.
struct Entry {
    name: String,
    is_dir: bool,
    is_symlink: bool,
    is_encrypted: bool,
    /// The compressed size in bytes.
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

/// A text or JSON file that may contain notes.
struct File {
    folders: Vec<String>,
    /// The name without its extension.
    name: String,
    extension: String,
    text: String,
}

impl Unpacked {
    /// Adds the files of an archive, recursively.
    fn unpack(&mut self, bytes: &[u8], depth: usize) -> Result<(), ImportError> {
        let broken = |error: ZipError| ImportError::Archive(error.to_string());
        // Counts the entries before the directory is read into memory.
        let entries =
            bytes.windows(ENTRY_MARK.len()).filter(|window| *window == ENTRY_MARK).count();
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

    /// Adds a file if it may contain notes.
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
        let is_hidden = path.iter().any(|part| part.starts_with('.') || part == "__MACOSX");
        let is_archive = matches!(extension.as_str(), "zip" | "textpack");
        let is_text = TEXT_EXTENSIONS.contains(&extension.as_str()) || extension == "json";
        if is_hidden || entry.is_symlink || !(is_text || is_archive) {
            let kind = if is_hidden { "hidden".into() } else { kind(&extension) };
            *self.others.entry(kind).or_default() += 1;
            return Ok(());
        }
        let shown = shown(&path.join("/"), SHOWN_PATH);
        if is_archive && depth >= MAX_DEPTH {
            self.unread.push(format!("“{shown}” (archives are nested too deeply)"));
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

    /// Decompresses a file. `None`: it cannot be read.
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
            // Reading one byte beyond the limit detects larger files, whatever size the entry
            // declares.
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

    /// Adds warnings about files that were left out.
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

    /// Returns the folder of the text bundle (Bear, Ulysses) that contains the file, if any.
    fn bundle(&self) -> Option<&str> {
        self.folders.last().map(String::as_str).filter(|folder| folder.ends_with(".textbundle"))
    }

    /// Returns whether the file is metadata of other files rather than a note.
    fn is_metadata(&self) -> bool {
        let is_labels =
            self.name == "Labels" && self.folders.last().is_some_and(|folder| folder == "Keep");
        is_labels || (self.bundle().is_some() && self.extension == "json")
    }
}

/// Splits a path into its components, without `.`, `..` and control characters.
fn components(name: &str) -> Vec<String> {
    name.split(['/', '\\'])
        .map(|part| {
            let printable: String =
                part.chars().filter(|character| !character.is_control()).collect();
            printable.trim().to_owned()
        })
        .filter(|part| !part.is_empty() && part != "." && part != "..")
        .collect()
}

/// Returns the type of a file for a warning.
fn kind(extension: &str) -> String {
    let is_plain = (1..=8).contains(&extension.len())
        && extension.chars().all(|character| character.is_ascii_alphanumeric());
    if is_plain { format!(".{extension}") } else { "other".into() }
}

/// Parses the `info.json` of each text bundle.
fn bundles(files: &[File]) -> BTreeMap<Vec<String>, Value> {
    let is_info =
        |file: &&File| file.bundle().is_some() && file.name == "info" && file.extension == "json";
    files
        .iter()
        .filter(is_info)
        .filter_map(|file| Some((file.folders.clone(), serde_json::from_str(&file.text).ok()?)))
        .collect()
}

/// Which exports contain each note twice: in a JSON document, and as text for people.
struct Copies {
    simplenote: bool,
    standard_notes: bool,
}

impl Copies {
    fn of(files: &[File]) -> Self {
        let has = |folder: Option<&str>, marker: &str| {
            files.iter().any(|file| {
                (folder.is_none() || file.folders.last().map(String::as_str) == folder)
                    && detect_format(&file.text) == DocumentFormat::Json
                    && file.text.contains(marker)
            })
        };
        Self {
            simplenote: has(Some("source"), "\"activeNotes\""),
            standard_notes: has(None, "\"content_type\""),
        }
    }

    fn contains(&self, file: &File) -> bool {
        let is_text = file.extension == "txt";
        let in_items = file.folders.iter().any(|folder| folder == "Items");
        (self.simplenote && is_text && detect_format(&file.text) == DocumentFormat::Markdown)
            || (self.standard_notes && is_text && in_items)
    }
}

/// Adds the notes of a file.
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

/// Adds the notes of a Markdown or plain text file.
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

/// Returns the folders that the user has created, without those that programs add to an export.
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
    folders.iter().map(|folder| without_notion_id(folder).0.to_owned()).collect()
}

/// Removes the 32 hexadecimal digits that Notion appends to the name of a page, and returns whether
/// there were any.
fn without_notion_id(name: &str) -> (&str, bool) {
    let Some((title, id)) = name.rsplit_once(' ') else { return (name, false) };
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && !title.trim().is_empty() { (title.trim(), true) } else { (name, false) }
}
