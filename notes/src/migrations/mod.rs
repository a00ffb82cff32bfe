//! The migrations of the product, oldest first. A migration must not change after it has run
//! anywhere.

#![expect(
    elided_lifetimes_in_paths,
    reason = "SeaORM's trait elides them, and an implementation has to be written the same way"
)]

use migration::MigrationTrait;

mod m20261122_000002_notes;
mod m20261123_000011_notes_by_title;
mod m20261128_000015_notes_words;
mod m20261128_000018_note_usage;
mod m20261129_000020_notes_storage;

/// All migrations of the product.
pub(crate) fn all() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m20261122_000002_notes::Migration),
        Box::new(m20261123_000011_notes_by_title::Migration),
        Box::new(m20261128_000015_notes_words::Migration),
        Box::new(m20261128_000018_note_usage::Migration),
        Box::new(m20261129_000020_notes_storage::Migration),
    ]
}
