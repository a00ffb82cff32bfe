//! Replaces the search index by one whose words the service computes.
//!
//! Before, each database split texts with its own parser, so the same query had different results,
//! and languages without spaces between words had none. Now the service splits texts, identically
//! for both databases.
//!
//! **Expand.** On Postgres `search` is not generated any more: an INSERT or UPDATE provides it,
//! together with `search_version`. An instance of the previous version provides neither. For its
//! writes, triggers fill `search` as before and set a `search_version` below 1, by which an
//! instance of this version finds the row and indexes it again. `=<owner>`, `#<tag>` and English
//! words are the same in both forms, so an instance of the previous version finds them in rows that
//! this version wrote. It does not find words with accents, and host names, file names and
//! addresses as a whole, in these rows.
//!
//! On SQLite the service writes the words to `search`, and a trigger moves them to `notes_words`.
//! The old table and its triggers remain for processes of the previous version.
//!
//! **Contract**, when no instance of the previous version runs any more: drop the triggers of
//! Postgres with their functions, dictionary and configuration, and on SQLite `notes_search` with
//! its triggers.
//!
//! Existing rows start with version 0. They are indexed in batches by the worker, and by searches
//! of their owners, not by this migration: the code that splits texts changes, and a migration must
//! not.

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

/// Each write by an old instance sets a different number, so that a row which changes while it is
/// indexed does not count as indexed.
const POSTGRES_UP: &str = "
ALTER TABLE notes ALTER COLUMN search DROP EXPRESSION;
ALTER TABLE notes ADD COLUMN search_version integer NOT NULL DEFAULT 0;
CREATE INDEX notes_unindexed ON notes (owner_sub, search_version) WHERE search_version < 1;

CREATE FUNCTION notes_search_as_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := notes_search(NEW.owner_sub, NEW.title, NEW.tags, NEW.body);
    NEW.search_version := -floor(random() * 2147483647)::integer;
    RETURN NEW;
END
$$;
CREATE TRIGGER notes_inserted_as_before BEFORE INSERT ON notes
    FOR EACH ROW WHEN (NEW.search IS NULL)
    EXECUTE FUNCTION notes_search_as_before();
CREATE TRIGGER notes_updated_as_before BEFORE UPDATE OF title, tags, body ON notes
    FOR EACH ROW WHEN (NEW.search IS NOT DISTINCT FROM OLD.search)
    EXECUTE FUNCTION notes_search_as_before();
";

const POSTGRES_DOWN: &str = "
DROP TRIGGER notes_inserted_as_before ON notes;
DROP TRIGGER notes_updated_as_before ON notes;
DROP FUNCTION notes_search_as_before();
ALTER TABLE notes DROP COLUMN search_version;
ALTER TABLE notes DROP COLUMN search;
ALTER TABLE notes ADD COLUMN search tsvector NOT NULL
    GENERATED ALWAYS AS (notes_search(owner_sub, title, tags, body)) STORED;
CREATE INDEX notes_search_index ON notes USING gin (search);
";

/// The words are separated by spaces, so the simplest tokenizer suffices. The table stores the
/// words in addition to indexing them: a table without content (`contentless_delete`) still found a
/// row by a word that had been replaced.
const SQLITE_UP: &str = "
ALTER TABLE notes ADD COLUMN search text;
ALTER TABLE notes ADD COLUMN search_version integer NOT NULL DEFAULT 0;
CREATE INDEX notes_unindexed ON notes (owner_sub, search_version) WHERE search_version < 1;

CREATE VIRTUAL TABLE notes_words USING fts5(
    owner, title, tags, body, tokenize = 'ascii'
);
CREATE TRIGGER notes_words_insert AFTER INSERT ON notes WHEN new.search IS NOT NULL BEGIN
    INSERT INTO notes_words (rowid, owner, title, tags, body) VALUES (
        new.row, hex(new.owner_sub), json_extract(new.search, '$[0]'),
        json_extract(new.search, '$[1]'), json_extract(new.search, '$[2]'));
    UPDATE notes SET search = NULL WHERE row = new.row;
END;
CREATE TRIGGER notes_words_update AFTER UPDATE OF search ON notes WHEN new.search IS NOT NULL BEGIN
    DELETE FROM notes_words WHERE rowid = new.row;
    INSERT INTO notes_words (rowid, owner, title, tags, body) VALUES (
        new.row, hex(new.owner_sub), json_extract(new.search, '$[0]'),
        json_extract(new.search, '$[1]'), json_extract(new.search, '$[2]'));
    UPDATE notes SET search = NULL WHERE row = new.row;
END;
CREATE TRIGGER notes_words_delete AFTER DELETE ON notes BEGIN
    DELETE FROM notes_words WHERE rowid = old.row;
END;
CREATE TRIGGER notes_updated_as_before AFTER UPDATE OF title, tags, body ON notes
WHEN new.search IS NULL BEGIN
    UPDATE notes SET search_version = -abs(random() % 2147483647) WHERE row = new.row;
END;

-- Not for each change of the row, of which there are more now.
DROP TRIGGER notes_search_update;
CREATE TRIGGER notes_search_update AFTER UPDATE OF title, tags, body ON notes BEGIN
    INSERT INTO notes_search (notes_search, rowid, title, tags, body)
        VALUES ('delete', old.row, old.title, old.tags, old.body);
    INSERT INTO notes_search (rowid, title, tags, body)
        VALUES (new.row, new.title, new.tags, new.body);
END;
";

const SQLITE_DOWN: &str = "
DROP TRIGGER notes_words_insert;
DROP TRIGGER notes_words_update;
DROP TRIGGER notes_words_delete;
DROP TRIGGER notes_updated_as_before;
DROP TRIGGER notes_search_update;
DROP TABLE notes_words;
DROP INDEX notes_unindexed;
ALTER TABLE notes DROP COLUMN search_version;
ALTER TABLE notes DROP COLUMN search;
CREATE TRIGGER notes_search_update AFTER UPDATE ON notes BEGIN
    INSERT INTO notes_search (notes_search, rowid, title, tags, body)
        VALUES ('delete', old.row, old.title, old.tags, old.body);
    INSERT INTO notes_search (rowid, title, tags, body)
        VALUES (new.row, new.title, new.tags, new.body);
END;
";
