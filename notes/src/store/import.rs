//! Writes the notes of a document in batches, each note exactly once however often an attempt is
//! repeated.
//!
//! The caller gives each batch a transaction, stores the position in the document in the same
//! transaction, and resumes there. The id of a new note is derived from the import and the index of
//! the note in the document, so that a later batch can distinguish notes of the same import from
//! notes that existed before.

use std::{
    cmp::{max, min},
    collections::{HashMap, HashSet},
};

use chrono::{DateTime, Utc};
use mcp::UserId;
use sea_orm::{
    ConnectionTrait, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Builder;

use super::{
    NotesError,
    index::{self, BATCH_BYTES},
};
use crate::{
    entity::{Column, Entity, Model},
    note_id::NoteId,
    transfer::ImportedNote,
};

/// The maximum number of notes in a batch, small enough for one statement on SQLite (32,766
/// parameters).
pub const BATCH_NOTES: usize = 500;

/// How to handle a note whose title the user already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// Keep the existing note and skip the new one.
    Skip,
    /// Replace text, tags and modification time of the existing note.
    Replace,
    /// Keep both notes.
    KeepBoth,
}

/// The input from which the ids of an import are derived. It must be the same in every attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportIds {
    /// A text that is unique to the import.
    pub seed: String,
    /// When the import began.
    pub begun_at: DateTime<Utc>,
}

impl ImportIds {
    /// Returns the id of the note at this index of the document.
    pub fn at(&self, index: usize) -> NoteId {
        let hash = Sha256::new()
            .chain_update("note of an import\0")
            .chain_update(&self.seed)
            .chain_update([0])
            .chain_update((index as u64).to_be_bytes())
            .finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        let millis = self.begun_at.timestamp_millis().try_into().unwrap_or_default();
        NoteId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

/// The notes of a document that are to be written.
#[derive(Debug)]
pub struct Import {
    owner: UserId,
    ids: ImportIds,
    notes: Vec<ImportedNote>,
    /// For each note, how many earlier notes of the document have the same title.
    earlier_same_title: Vec<usize>,
}

/// The result of writing a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchResult {
    /// The index at which the next batch begins.
    pub next: usize,
    /// The number of created notes.
    pub created: usize,
    /// The ids of existing notes that were replaced.
    pub replaced: Vec<NoteId>,
    /// The number of skipped notes.
    pub skipped: usize,
}

/// A note that existed before the import.
struct ExistingNote {
    id: NoteId,
    created_at: DateTime<Utc>,
}

impl Import {
    /// Creates an import without writing anything.
    pub fn new(owner: UserId, ids: ImportIds, notes: Vec<ImportedNote>) -> Self {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut earlier_same_title = Vec::with_capacity(notes.len());
        for note in &notes {
            let count = seen.entry(note.draft.title.as_str()).or_default();
            earlier_same_title.push(*count);
            *count += 1;
        }
        Self { owner, ids, notes, earlier_same_title }
    }

    /// Returns the number of notes in the document.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Returns the title of the note at this index.
    pub fn title(&self, index: usize) -> &str {
        self.notes[index].draft.title.as_str()
    }

    /// Returns whether the document has no notes.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Returns the titles that the user already has, without duplicates, in the order of the
    /// document.
    pub async fn conflicts(&self, db: &impl ConnectionTrait) -> Result<Vec<&str>, NotesError> {
        let mut titles: Vec<&str> = Vec::new();
        let mut seen = HashSet::new();
        titles.extend(
            self.notes
                .iter()
                .map(|note| note.draft.title.as_str())
                .filter(|title| seen.insert(*title)),
        );
        let mut existing: HashSet<String> = HashSet::new();
        for chunk in titles.chunks(BATCH_NOTES) {
            let found: Vec<String> = Entity::owned_by(self.owner.as_str())
                .filter(Expr::col(Column::Title).is_in(chunk.iter().copied()))
                .select_only()
                .column(Column::Title)
                .distinct()
                .into_tuple()
                .all(db)
                .await?;
            existing.extend(found);
        }
        titles.retain(|title| existing.contains(*title));
        Ok(titles)
    }

    /// Writes the batch that begins at `start`, at most `limit` notes, in the transaction of the
    /// caller.
    pub async fn write(
        &self,
        db: &impl ConnectionTrait,
        now: DateTime<Utc>,
        start: usize,
        limit: usize,
        conflict: Conflict,
    ) -> Result<BatchResult, NotesError> {
        let end = self.end_of_batch(start).min(start.saturating_add(limit));
        let existing = match conflict {
            Conflict::KeepBoth => HashMap::new(),
            Conflict::Skip | Conflict::Replace => self.existing(db, start..end).await?,
        };
        let mut written = BatchResult { next: end, ..BatchResult::default() };
        let mut rows = Vec::with_capacity(end - start);
        for index in start..end {
            let note = &self.notes[index];
            let old = existing.get(note.draft.title.as_str());
            match (conflict, old) {
                (Conflict::Skip, Some(_)) => written.skipped += 1,
                // The n-th note with a title replaces the n-th existing note with it.
                (Conflict::Replace, Some(old)) if self.earlier_same_title[index] < old.len() => {
                    let old = &old[self.earlier_same_title[index]];
                    written.replaced.push(old.id);
                    rows.push(self.row(note, old.id, old.created_at, now));
                }
                _ => {
                    written.created += 1;
                    let created_at = note.created_at.map_or(now, |time| min(time, now));
                    rows.push(self.row(note, self.ids.at(index), created_at, now));
                }
            }
        }
        if !rows.is_empty() {
            let mut insert = index::insert(db.get_database_backend(), rows);
            db.execute(insert.on_conflict(only_if_owned())).await?;
        }
        Ok(written)
    }

    fn end_of_batch(&self, start: usize) -> usize {
        let mut bytes = 0;
        let fits = self.notes[start..].iter().take(BATCH_NOTES).take_while(|note| {
            let fits = bytes < BATCH_BYTES;
            bytes += note.draft.body.as_str().len();
            fits
        });
        start + fits.count()
    }

    /// Returns the notes with the titles of a range that existed before this import, oldest first,
    /// so that notes which are created concurrently do not change the order of the existing ones.
    async fn existing(
        &self,
        db: &impl ConnectionTrait,
        range: std::ops::Range<usize>,
    ) -> Result<HashMap<String, Vec<ExistingNote>>, NotesError> {
        let titles: HashSet<&str> =
            self.notes[range.clone()].iter().map(|note| note.draft.title.as_str()).collect();
        let own: HashSet<NoteId> = (0..range.start).map(|index| self.ids.at(index)).collect();
        let rows: Vec<(NoteId, String, DateTime<Utc>)> = Entity::owned_by(self.owner.as_str())
            .filter(Expr::col(Column::Title).is_in(titles))
            .select_only()
            .columns([Column::Id, Column::Title, Column::CreatedAt])
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .into_tuple()
            .all(db)
            .await?;
        let mut existing: HashMap<String, Vec<ExistingNote>> = HashMap::new();
        for (id, title, created_at) in rows {
            if !own.contains(&id) {
                existing.entry(title).or_default().push(ExistingNote { id, created_at });
            }
        }
        Ok(existing)
    }

    /// Creates the row of a note. Times in the future are replaced by `now`: they would keep the
    /// note at the top of every list.
    fn row(
        &self,
        note: &ImportedNote,
        id: NoteId,
        created_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Model {
        let draft = note.draft.clone();
        Model {
            id,
            owner_sub: self.owner.as_str().to_owned(),
            title: draft.title.into_string(),
            body: draft.body.into_string(),
            tags: draft.tags.into_list(),
            created_at,
            updated_at: max(note.updated_at.map_or(now, |time| min(time, now)), created_at),
        }
    }
}

/// Updates an existing row only if it has the same owner.
fn only_if_owned() -> OnConflict {
    OnConflict::column(Column::Id)
        .update_columns([Column::Title, Column::Body, Column::Tags, Column::UpdatedAt])
        .update_columns([index::search_column(), index::version_column()])
        .action_and_where(
            Expr::col((Entity, Column::OwnerSub)).eq(Expr::cust("excluded.owner_sub")),
        )
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer;

    fn import(text: &str) -> Import {
        let ids = ImportIds { seed: "job".into(), begun_at: DateTime::UNIX_EPOCH };
        let document = transfer::read(text.as_bytes(), None).unwrap();
        Import::new(UserId::new("dev:ada"), ids, document.notes)
    }

    #[test]
    fn an_id_depends_only_on_the_import_and_the_index() {
        let ids = ImportIds { seed: "job".into(), begun_at: DateTime::UNIX_EPOCH };
        assert_eq!(ids.at(7), ids.clone().at(7));
        assert_ne!(ids.at(7), ids.at(8));
        assert_ne!(ids.at(7), ImportIds { seed: "other".into(), ..ids.clone() }.at(7));
        assert_eq!(ids.at(7).0.get_version_num(), 7);
    }

    #[test]
    fn a_batch_ends_after_enough_notes_or_bytes() {
        let small = import(&format!("[{}]", vec![r#"{"title":"a"}"#; 1_200].join(",")));
        assert_eq!(small.end_of_batch(0), 500);
        assert_eq!(small.end_of_batch(1_000), 1_200);
        let large = format!(r#"{{"title":"a","body":"{}"}}"#, "x".repeat(100_000));
        let large = import(&format!("[{}]", vec![large; 30].join(",")));
        assert_eq!(large.end_of_batch(0), 11, "the batch ends with the note that exceeds 1 MiB");
        assert_eq!(large.end_of_batch(29), 30);
        assert_eq!(large.earlier_same_title[29], 29);
    }
}
