//! Changes how Postgres stores notes, so that common statements read fewer pages.
//!
//! **Completion** reads the titles, times and ids of all notes of a user. `notes_by_title` contains
//! all three now, so it reads a few pages of this index instead of one page of the table per note.
//!
//! **Rows** of up to 4 kB stay in the table as a whole. With the default of 2 kB, the words of a note
//! of 600 characters were compressed and moved to the TOAST table: four more pages for each note that
//! a search ranks, and more work for each note that is created. Existing rows change when they are
//! next written.
//!
//! **The index of words** collects new entries in a list, which every search reads from end to end, and
//! moves them to their places when the list is full. It has at most 256 kB (32 pages) now instead of
//! 4 MB: a full list took a search 2 ms, and let the planner read small tables as a whole.
//!
//! **`note_usage`** is updated with each note. Free space in its pages lets Postgres write the new
//! version of a row beside the old one, without a new index entry.
//!
//! SQLite needs none of these.

use migration::dialect;
use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        dialect::run(manager, sql).await?;
    }
    Ok(())
}

const UP: &str = "
CREATE INDEX notes_titles ON notes (owner_sub, title) INCLUDE (created_at, id);
DROP INDEX notes_by_title;
ALTER INDEX notes_titles RENAME TO notes_by_title;
ALTER INDEX notes_search_index SET (gin_pending_list_limit = 256);
ALTER TABLE notes SET (toast_tuple_target = 4080);
ALTER TABLE note_usage SET (fillfactor = 70);
";

const DOWN: &str = "
ALTER TABLE note_usage RESET (fillfactor);
ALTER TABLE notes RESET (toast_tuple_target);
ALTER INDEX notes_search_index RESET (gin_pending_list_limit);
DROP INDEX notes_by_title;
CREATE INDEX notes_by_title ON notes (owner_sub, title);
";
