//! `notes_import` of ZIP archives: what other programs export (`tests/data/import`, written after
//! their documented formats), and archives that are no good.

use std::{
    fs,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Database, Setup},
    documents::{DocumentHost, Reply},
};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{alone, titles};

on_both_databases!(exports_of_other_programs_are_imported, an_archive_that_is_no_good_is_refused);

const ADDRESS: &str = "https://files.example.com/export.zip";

fn zip_of<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The folder of a program as it would be downloaded.
fn archive(program: &Path) -> Vec<u8> {
    let mut files = Vec::new();
    let mut folders = vec![program.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let name = |it: &PathBuf| it.strip_prefix(program).unwrap().to_str().unwrap().to_owned();
    let names: Vec<_> = files.iter().map(name).collect();
    zip_of(names.iter().map(String::as_str).zip(files.iter().map(|it| fs::read(it).unwrap())))
}

/// All times in the fixtures are before this year; later ones are those of the import.
const THIS_YEAR: &str = "2026";

/// All that a person has, sorted by title. Times that the import has chosen are not shown.
async fn notes(client: &Modern) -> Vec<Value> {
    let page = client.tool("notes_list", json!({ "limit": 100 })).await;
    let mut notes = Vec::new();
    for note in page.output()["notes"].as_array().unwrap() {
        let mut note = client.tool("notes_get", json!({ "id": note["id"] })).await.output().clone();
        let fields = note.as_object_mut().unwrap();
        fields.remove("id");
        fields.retain(|key, it| {
            !key.ends_with("_at") || it.as_str().is_some_and(|it| it < THIS_YEAR)
        });
        notes.push(note);
    }
    notes.sort_by_key(|it| it["title"].as_str().unwrap().to_owned());
    notes
}

async fn exports_of_other_programs_are_imported(database: Database) {
    let host = DocumentHost::start().await;
    let cluster = Setup::new(database)
        .product(notes::product)
        .workers(1)
        .with_documents(&host)
        .real_time()
        .start()
        .await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/import");
    let mut programs: Vec<_> = fs::read_dir(root).unwrap().map(|it| it.unwrap().path()).collect();
    programs.retain(|it| it.is_dir());
    assert!(programs.len() >= 12, "{programs:?}");
    for program in programs {
        let name = program.file_name().unwrap().to_str().unwrap();
        host.serves(Reply::Bytes(archive(&program)));
        let person = alone(&cluster.web(0).modern(cluster.token(name).await));
        let imported = person.tool("notes_import", json!({ "url": ADDRESS })).await;
        let imported = imported.output();
        let found = json!({ "result": imported, "notes": notes(&person).await });
        assert_eq!(imported["created"], found["notes"].as_array().unwrap().len(), "{name}");
        insta::assert_json_snapshot!(name, found);
    }
}

async fn an_archive_that_is_no_good_is_refused(database: Database) {
    let host = DocumentHost::start().await;
    let cluster = Setup::new(database)
        .product(notes::product)
        .workers(1)
        .with_documents(&host)
        .real_time()
        .start()
        .await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    for (archive, format, sentence) in [
        (zip_of([("a.png", b"x".to_vec())]), None, "holds no note; left out of the archive"),
        (zip_of([("bomb.md", vec![b'x'; 3 << 20])]), None, "compression ratio"),
        (b"PK\x03\x04 and no more".to_vec(), None, "the ZIP archive cannot be read"),
        (b"# Tea".to_vec(), Some("zip"), "is not a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec(), None, "is not text, JSON or a ZIP archive"),
    ] {
        host.serves(Reply::Bytes(archive));
        let mut import = json!({ "url": ADDRESS });
        if let Some(format) = format {
            import["format"] = format.into();
        }
        let refused = ada.tool("notes_import", import).await;
        assert!(refused.tool_error().contains(sentence), "{}", refused.tool_error());
    }
    assert_eq!(titles(&ada).await, [] as [&str; 0]);
}
