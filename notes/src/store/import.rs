//! Writing the notes of a document, batch by batch, each exactly once however often it is tried.
//!
//! Whoever imports gives each batch a transaction, keeps in the same one how far it is, and goes on
//! from there. The id of a new note follows from the import and the note's place in the document, so
//! that a later batch tells notes of its own import from those that were there before.

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

/// The most notes of one batch: few enough for one statement, on SQLite too (32,766 values).
pub const BATCH_NOTES: usize = 500;

/// What becomes of a note whose title the person already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// The old one stays, the new one is left away.
    Skip,
    /// The old one gets the text, the tags and the time of change of the new one.
    Replace,
    /// Both are kept.
    KeepBoth,
}

/// What makes the ids of one import. The same at every try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportIds {
    /// Unique to the import.
    pub seed: String,
    /// When it began.
    pub begun_at: DateTime<Utc>,
}

impl ImportIds {
    /// The id of the note at this place.
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

/// A whole document on its way into the database.
#[derive(Debug)]
pub struct Import {
    owner: UserId,
    ids: ImportIds,
    notes: Vec<ImportedNote>,
    /// For each note, how many before it have the same title.
    earlier_same_title: Vec<usize>,
}

/// What a batch has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchResult {
    /// Where the next batch begins.
    pub next: usize,
    /// How many notes are new.
    pub created: usize,
    /// Which notes were there, and have changed.
    pub replaced: Vec<NoteId>,
    /// How many were left away.
    pub skipped: usize,
}

/// A note that is already there under some title.
struct ExistingNote {
    id: NoteId,
    created_at: DateTime<Utc>,
}

impl Import {
    /// Nothing is written yet.
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

    /// How many notes there are.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// The title of the note at this place.
    pub fn title(&self, index: usize) -> &str {
        self.notes[index].draft.title.as_str()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// The titles that the person already has, in the order of the document, each once.
    pub async fn conflicts(&self, db: &impl ConnectionTrait) -> Result<Vec<&str>, NotesError> {
        let mut titles: Vec<&str> = Vec::new();
        let mut seen = HashSet::new();
        titles.extend(
            self.notes.iter().map(|it| it.draft.title.as_str()).filter(|it| seen.insert(*it)),
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
        titles.retain(|it| existing.contains(*it));
        Ok(titles)
    }

    /// Writes the batch that begins at `start`, at most so many notes, in the caller's transaction.
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
                // The second note of a title replaces the second of those that are there.
                (Conflict::Replace, Some(old)) if self.earlier_same_title[index] < old.len() => {
                    let old = &old[self.earlier_same_title[index]];
                    written.replaced.push(old.id);
                    rows.push(self.row(note, old.id, old.created_at, now));
                }
                _ => {
                    written.created += 1;
                    let created_at = note.created_at.map_or(now, |it| min(it, now));
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
        let fits = self.notes[start..].iter().take(BATCH_NOTES).take_while(|it| {
            let fits = bytes < BATCH_BYTES;
            bytes += it.draft.body.as_str().len();
            fits
        });
        start + fits.count()
    }

    /// What was there before this import under the titles of some notes, the oldest first, so that
    /// notes which come meanwhile change nobody's place.
    async fn existing(
        &self,
        db: &impl ConnectionTrait,
        range: std::ops::Range<usize>,
    ) -> Result<HashMap<String, Vec<ExistingNote>>, NotesError> {
        let titles: HashSet<&str> =
            self.notes[range.clone()].iter().map(|it| it.draft.title.as_str()).collect();
        let own: HashSet<NoteId> = (0..range.start).map(|it| self.ids.at(it)).collect();
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

    /// A time to come would keep a note at the top of every list, so it counts as now.
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
            updated_at: max(note.updated_at.map_or(now, |it| min(it, now)), created_at),
        }
    }
}

/// A row that is there is changed only if it is the same person's.
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
    fn an_id_depends_on_the_import_and_the_place_alone() {
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
        assert_eq!(large.end_of_batch(0), 11, "one million bytes, and the note that goes beyond");
        assert_eq!(large.end_of_batch(29), 30);
        assert_eq!(large.earlier_same_title[29], 29);
    }
}
