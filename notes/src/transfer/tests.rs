//! Tests of whole documents: exports are read back unchanged, and no content of other documents is
//! lost.

use std::io::{Cursor, Write as _};

use crate::note_id::NoteId;
use chrono::DateTime;
use proptest::{collection::vec, prelude::*};
use uuid::Uuid;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::*;
use crate::store::{MAX_BODY, Note, Tag, Tags, Title};

fn read_text(text: &str) -> Document {
    read(text.as_bytes(), None).unwrap()
}

fn titles(document: &Document) -> Vec<&str> {
    document.notes.iter().map(|note| note.draft.title.as_str()).collect()
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn the_format_is_detected_from_the_beginning() {
    for (text, format) in [
        ("[{\"title\": \"a\"}]", DocumentFormat::Json),
        (" [\n {", DocumentFormat::Json),
        ("[]", DocumentFormat::Json),
        ("{\"notes\": []}", DocumentFormat::Json),
        ("{}", DocumentFormat::Json),
        ("[link](https://example.com)", DocumentFormat::Markdown),
        ("[x] done", DocumentFormat::Markdown),
        ("{curly}", DocumentFormat::Markdown),
        ("---\ntitle: a\n---\n", DocumentFormat::Markdown),
        ("", DocumentFormat::Markdown),
    ] {
        assert_eq!(detect_format(text), format, "{text}");
    }
    let document = read_text("\u{feff}[{\"title\": \"a\"}]");
    assert_eq!(titles(&document), ["a"], "a byte order mark is not part of the text");
}

#[test]
fn invalid_metadata_never_rejects_a_note() {
    let document = read_text(
        r##"[{"title":"fine"},{"title":""},{"title":"Long","body":"x","tags":["","#a"]},
        {"title":"When","created_at":"yesterday"},{"text":"only text"},"just text",
        {"title":7,"created":1619887200000,"folder":"Work","author":"Ada","labels":[{"name":"L"}]},
        {"name":"N","content":"a\r\nb","Tags":"x, y","text":"second"}]"##,
    );
    let notes = &document.notes;
    assert_eq!(
        titles(&document),
        ["fine", "Untitled", "Long", "When", "only text", "just text", "7", "N"]
    );
    assert_eq!(notes[3].draft.body.as_str(), "---\ncreated_at: \"yesterday\"\n---\n\n");
    let work = &notes[6];
    let tags: Vec<_> = work.draft.tags.iter().map(Tag::as_str).collect();
    assert_eq!(tags, ["Work", "L"]);
    assert_eq!(work.draft.body.as_str(), "---\nauthor: \"Ada\"\n---\n\n");
    assert_eq!(work.created_at, DateTime::from_timestamp_secs(1_619_887_200));
    assert_eq!(notes[7].draft.body.as_str(), "---\ntext: \"second\"\n---\n\na\nb");
    let warnings = document.warnings.join("\n");
    for expected in [
        "note 2 (“Untitled”): it has no title",
        "note 4 (“When”): `created_at` is not a supported date (“yesterday”)",
        "note 7 (“7”): its folder “Work” became a tag",
        "note 7 (“7”): kept in its text, because a note has no field for it: `author`",
        "note 8 (“N”): kept in its text, because a note has no field for it: `text`",
    ] {
        assert!(warnings.contains(expected), "{expected}: {warnings}");
    }

    let many = format!("[{}]", vec![r#"{"title":"a","x":1}"#; 150].join(","));
    let document = read_text(&many);
    assert_eq!((document.warnings.len(), document.more_warnings), (MAX_WARNINGS, 50));
}

#[test]
fn limits_of_the_document_are_enforced() {
    let error = |text: &str| read(text.as_bytes(), None).unwrap_err();
    assert_eq!(error(&" ".repeat(MAX_BYTES + 1)), ImportError::TooLarge(MAX_BYTES + 1));
    assert_eq!(error(&format!("[{}{{}}]", "{},".repeat(MAX_NOTES))), ImportError::TooMany);
    let many = format!("a\n{SEPARATOR}\n").repeat(MAX_NOTES + 1);
    assert_eq!(error(&many), ImportError::TooMany);
    for empty in ["", " \n", "[]", r#"{"notes":[]}"#] {
        assert_eq!(error(empty), ImportError::Empty(Vec::new()), "{empty}");
    }
    for binary in [&b"\x89PNG\r\n\x1a\n\0\0"[..], b"%PDF-1.7\n\x01\xff"] {
        assert_eq!(read(binary, None), Err(ImportError::NotText));
    }
    assert_eq!(read(b"# Tea", Some(DocumentFormat::Zip)), Err(ImportError::NotZip));
}

#[test]
fn other_encodings_are_decoded() {
    let text = "# Tée\n\nGrün – für später, weißt du?\n";
    let utf_16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let document = read(&utf_16, None).unwrap();
    assert_eq!((titles(&document), document.warnings.len()), (vec!["Tée"], 0));
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(text);
    let document = read(&latin, None).unwrap();
    assert_eq!(titles(&document), ["Tée"]);
    assert_eq!(document.notes[0].draft.body.as_str(), "Grün – für später, weißt du?");
    assert!(document.warnings[0].contains("windows-1252"), "{:?}", document.warnings);
}

#[test]
fn an_export_of_control_characters_is_imported() {
    let body = "\u{17}".repeat(500);
    let document = read_text(&format!("# Controls\n\n{body}"));
    assert_eq!(document.notes[0].draft.body.as_str(), body);
    assert_eq!(read(b"PK\0\x01\x02\x17\x17", None), Err(ImportError::NotText));
}

#[test]
fn an_archive_becomes_notes() {
    let latin = encoding_rs::WINDOWS_1252.encode("Grün – für später, weißt du?").0.into_owned();
    let inner = zip_of(&[("deep/inner.md", b"inside"), ("again.zip", b"x")]);
    let document = read(
        &zip_of(&[
            ("../../etc/passwd.md", b"root"),
            ("C:\\Users\\ada\\win.md", b"windows"),
            ("/abs/olute.txt", b"absolute"),
            ("empty.md", b""),
            ("a/very/long/path/that/goes/on/and/on/for/more/than/a/tag/can/hold/x.md", b"deep"),
            ("latin.txt", &latin),
            ("binary.md", b"\0\x01\x02"),
            ("picture.png", b"png"),
            (".hidden/x.md", b"hidden"),
            ("__MACOSX/._x.md", b"mac"),
            ("settings.json", b"{\"theme\": \"dark\"}"),
            ("part.zip", &inner),
            ("broken.zip", b"PK\x03\x04"),
        ]),
        None,
    )
    .unwrap();
    assert_eq!(
        titles(&document),
        ["passwd", "win", "olute", "empty", "x", "latin", "inner"],
        "{:?}",
        document.warnings
    );
    let tags =
        |at: usize| -> Vec<_> { document.notes[at].draft.tags.iter().map(Tag::as_str).collect() };
    assert_eq!((tags(0), tags(1), tags(2)), (vec!["etc"], vec!["C:/Users/ada"], vec!["abs"]));
    assert_eq!(tags(4), ["on/and/on/for/more/than/a/tag/can/hold"]);
    let body = document.notes[4].draft.body.as_str();
    assert!(
        body.starts_with("---\nfolder: \"a/very/long/") && body.ends_with("\n\ndeep"),
        "{body}"
    );
    let warnings = document.warnings.join("\n");
    for expected in [
        "only Markdown, text and JSON are notes: 3 files (2 hidden, 1 .png)",
        "“binary.md” (it is not text)",
        "“again.zip” (archives are nested too deeply)",
        "“broken.zip” (",
        "“settings.json” (no JSON of notes",
        "guessed the encoding of “latin.txt” (windows-1252)",
        "the folder became a tag for 5 notes: ",
    ] {
        assert!(warnings.contains(expected), "{expected}: {warnings}");
    }
}

#[test]
fn limits_of_archives_are_enforced() {
    let bomb = zip_of(&[("bomb.md", &vec![b'x'; 3 << 20])]);
    assert_eq!(read(&bomb, None), Err(ImportError::Bomb("bomb.md".into())));
    let nested = zip_of(&[("a.zip", &bomb)]);
    assert_eq!(read(&nested, None), Err(ImportError::Bomb("bomb.md".into())));
    // A note of one repeated character is accepted.
    let body = vec![b'x'; MAX_BODY];
    let document = read(&zip_of(&[("x.md", &body)]), None).unwrap();
    assert_eq!(document.notes[0].draft.body.as_str().len(), MAX_BODY);

    let page = vec![b'x'; 1 << 20];
    let names: Vec<_> = (0..40).map(|number| format!("{number}.md")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), page.as_slice())).collect();
    assert_eq!(read(&zip_of(&files), None), Err(ImportError::Unpacked));

    let names: Vec<_> = (0..=document::MAX_ENTRIES).map(|number| number.to_string()).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(read(&zip_of(&files), None), Err(ImportError::TooManyFiles));

    let empty = read(&zip_of(&[("a.png", b"x")]), None).unwrap_err().to_string();
    assert!(
        empty.contains("holds no note; left out of the archive")
            && empty.contains("1 file (1 .png)"),
        "{empty}"
    );
    let whole = zip_of(&[("a.md", b"some text"), ("b.md", b"more")]);
    for cut in [4, 40, whole.len() - 10] {
        let error = read(&whole[..cut], None).unwrap_err();
        assert!(matches!(error, ImportError::Archive(_)), "{error:?}");
    }
    let mut changed = whole;
    changed[35] ^= 0xff;
    let document = read(&changed, None).unwrap();
    assert_eq!((titles(&document), document.warnings.len()), (vec!["b"], 1));
}

/// Generates any note that can be stored.
pub(super) fn any_note() -> impl Strategy<Value = Note> {
    // Any character except control characters, with a preference for those that have a meaning in a
    // format.
    let word =
        "([^\\pC]|[\\p{Cf}\\p{Co}]|[-#:'\"\\[\\]{},&*!|>%@`~\\\\]|null|---|[א-ת]|🎉|é){1,20}";
    let title = word.prop_filter_map("a title", |text| Title::parse(&text).ok());
    let tags = vec(word.prop_filter_map("a tag", |text| Tag::parse(&text).ok()), 0..4);
    let piece = "([^\\x00\n]|[\\x01-\\x1f]|\u{feff}|\n|\r\n|\r|---\n|\\+\\+\\+\n|\\.\\.\\.\n|title: \
                 |tags: \\[a\\]\n|created_at: 2020-01-01\n|```\n|# |\\{\"notes\": \\[|\\\\|\t|PK\x03\x04\
                 |<!-- notes-mcp: next note -->\n?|\u{2028}|\u{85}|[\\p{Arabic}]|👩‍👩‍👧){0,12}";
    let long = "[a-z ]{3}".prop_map(|text| text.repeat(MAX_BODY / 3));
    let body = prop_oneof![20 => piece.prop_map(String::from), 1 => long];
    let times = (0_i64..4_000_000_000_000_000, 0_i64..4_000_000_000_000_000);
    (any::<[u8; 16]>(), title, body, tags, times).prop_map(|(id, title, body, tags, times)| {
        let time = |micros| {
            DateTime::from_timestamp_micros(micros).expect("the time is before the year 9999")
        };
        let tags = Tags::parse(tags).expect("the number of tags is below the limit");
        Note {
            id: NoteId(Uuid::from_bytes(id)),
            title: title.into_string(),
            body,
            tags: tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            created_at: time(times.0),
            updated_at: time(times.1),
        }
    })
}

fn same(notes: &[Note], document: &Document) -> Result<(), TestCaseError> {
    prop_assert_eq!(notes.len(), document.notes.len());
    prop_assert_eq!(&document.warnings, &[] as &[String; 0]);
    for (note, read) in notes.iter().zip(&document.notes) {
        prop_assert_eq!(&note.title, read.draft.title.as_str());
        prop_assert_eq!(&note.body, read.draft.body.as_str());
        let tags: Vec<_> = read.draft.tags.iter().map(Tag::as_str).collect();
        prop_assert_eq!(&note.tags, &tags);
        prop_assert_eq!(Some(note.created_at), read.created_at);
        prop_assert_eq!(Some(note.updated_at), read.updated_at);
    }
    Ok(())
}

proptest! {
    #[test]
    fn exported_markdown_is_imported_unchanged(notes in vec(any_note(), 1..4)) {
        let texts: Vec<_> = notes.iter().map(write_markdown).collect();
        let text = texts.join(&format!("{SEPARATOR}\n"));
        same(&notes, &read_text(&text))?;
    }

    #[test]
    fn exported_json_is_imported_unchanged(notes in vec(any_note(), 1..4)) {
        let mut writer = JsonWriter::new(DateTime::UNIX_EPOCH);
        for note in &notes {
            writer.push(note);
        }
        let bytes = [writer.take(), writer.finish()].concat();
        same(&notes, &read(&bytes, None).unwrap())?;
    }

    /// Every word of an arbitrary document is in the text, the title, the tags, the times or a
    /// warning.
    #[test]
    fn no_word_is_lost(
        lines in vec("(title|Title|tags|date|source|x y|# |- |---|\\+\\+\\+|#|\\[|\\]|: |, |'|\"|[a-z]{2,5}|[0-9]{1,4}| ){0,6}", 0..8),
        fence in prop_oneof![Just(""), Just("---\n"), Just("+++\n"), Just("\n---\r\n"), Just("# ")],
    ) {
        let text = format!("{fence}{}", lines.join("\n"));
        let Ok(document) = read(text.as_bytes(), Some(DocumentFormat::Markdown)) else { return Ok(()) };
        let found = format!("{document:?}").replace("\\n", " ").replace("\\\"", "\"");
        for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| word.len() > 1) {
            let is_key = ["title", "Title", "tags", "date"].contains(&word);
            let is_number = word.chars().all(|character| character.is_ascii_digit());
            prop_assert!(is_key || is_number || found.contains(word), "{word:?} of {text:?} is lost: {found}");
        }
    }

    #[test]
    fn no_text_causes_a_panic(text in "(\\PC|\n|---\n|title: |tags: |\0|[\\[\\]{}\":,]){0,60}") {
        drop(read(text.as_bytes(), None));
        drop(read(text.as_bytes(), Some(DocumentFormat::Json)));
        drop(read(text.as_bytes(), Some(DocumentFormat::Markdown)));
    }

    #[test]
    fn no_archive_causes_a_panic(
        at in 0_usize..400, to in any::<u8>(), text in "\\PC{0,40}",
    ) {
        let mut bytes = zip_of(&[("a/b.md", text.as_bytes()), ("c.json", b"{\"title\": \"t\"}")]);
        let at = at % bytes.len();
        bytes[at] = to;
        drop(read(&bytes, None));
    }
}
