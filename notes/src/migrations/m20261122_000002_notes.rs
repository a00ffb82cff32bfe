//! Creates the table of notes with its indexes for listing and search.
//!
//! **Order.** `notes_recent` has the order of the list: the notes of an owner, newest first. A page
//! is one index scan, wherever it begins.
//!
//! **Search on Postgres.** Every search is for the notes of one owner *and* for words. A GIN index
//! over the words alone would read the notes of all users that contain a common word, and a GIN
//! index that includes the owner requires an extension (`btree_gin`) that a managed database may
//! not offer. Therefore the owner is indexed as a word: the vector contains the lexeme `=<owner>`,
//! and each tag as the lexeme `#<tag>`. The text parser never produces a lexeme that begins with
//! `=` or `#`, so no text can imitate an owner or a tag. One index answers owner, tag and words
//! together, and since each query contains an owner, even `-word` alone never reads the whole index
//! or the table.
//!
//! Words are stemmed as English, without stop words: a note called “To be or not to be” is found by
//! its title. Stemming words of other languages does no harm, because notes and queries are stemmed
//! alike. The column is generated, so every writer maintains it.
//!
//! **Search on SQLite.** An FTS5 table over the same columns with the same stemming, maintained by
//! triggers. It refers to rows by number, and SQLite may renumber the rows of a table without an
//! integer key when it compacts the file; hence the column `row`.

use migration::dialect;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run_either(manager, POSTGRES_UP, SQLITE_UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run_either(manager, POSTGRES_DOWN, SQLITE_DOWN).await
    }
}

const POSTGRES_UP: &str = "
CREATE TEXT SEARCH DICTIONARY notes_stem (TEMPLATE = pg_catalog.snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION notes_words (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION notes_words ALTER MAPPING REPLACE english_stem WITH notes_stem;

-- The body of the function is parsed here and now, so it depends on no search_path later on.
CREATE FUNCTION notes_search(owner_sub text, title text, tags jsonb, body text)
    RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN array_to_tsvector(
            ARRAY['=' || owner_sub]
            || ARRAY(SELECT '#' || tag FROM jsonb_array_elements_text(tags) AS tag))
        || setweight(to_tsvector('notes_words', title), 'A')
        || setweight(jsonb_to_tsvector('notes_words', tags, '[\"string\"]'), 'B')
        || setweight(to_tsvector('notes_words', body), 'D');

CREATE TABLE notes (
    id uuid PRIMARY KEY,
    owner_sub text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    tags jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    search tsvector NOT NULL
        GENERATED ALWAYS AS (notes_search(owner_sub, title, tags, body)) STORED
);
CREATE INDEX notes_recent ON notes (owner_sub, created_at DESC, id DESC);
CREATE INDEX notes_search_index ON notes USING gin (search);
";

const POSTGRES_DOWN: &str = "
DROP TABLE notes;
DROP FUNCTION notes_search(text, text, jsonb, text);
DROP TEXT SEARCH CONFIGURATION notes_words;
DROP TEXT SEARCH DICTIONARY notes_stem;
";

const SQLITE_UP: &str = "
CREATE TABLE notes (
    row integer PRIMARY KEY,
    id blob NOT NULL UNIQUE,
    owner_sub text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    tags text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL
);
CREATE INDEX notes_recent ON notes (owner_sub, created_at DESC, id DESC);

CREATE VIRTUAL TABLE notes_search USING fts5(
    title, tags, body,
    content = 'notes', content_rowid = 'row', tokenize = 'porter unicode61 remove_diacritics 0'
);
CREATE TRIGGER notes_search_insert AFTER INSERT ON notes BEGIN
    INSERT INTO notes_search (rowid, title, tags, body)
        VALUES (new.row, new.title, new.tags, new.body);
END;
CREATE TRIGGER notes_search_delete AFTER DELETE ON notes BEGIN
    INSERT INTO notes_search (notes_search, rowid, title, tags, body)
        VALUES ('delete', old.row, old.title, old.tags, old.body);
END;
CREATE TRIGGER notes_search_update AFTER UPDATE ON notes BEGIN
    INSERT INTO notes_search (notes_search, rowid, title, tags, body)
        VALUES ('delete', old.row, old.title, old.tags, old.body);
    INSERT INTO notes_search (rowid, title, tags, body)
        VALUES (new.row, new.title, new.tags, new.body);
END;
";

const SQLITE_DOWN: &str = "
DROP TABLE notes_search;
DROP TABLE notes;
";
