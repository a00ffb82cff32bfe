//! The schema.

#![expect(
    elided_lifetimes_in_paths,
    reason = "SeaORM's trait elides them, and an implementation has to be written the same way"
)]

use migration::{MigrationTrait, dialect};
use sea_orm_migration::prelude::*;

/// All migrations of the product.
pub(crate) fn all() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(CreateBookmarks)]
}

struct CreateBookmarks;

impl MigrationName for CreateBookmarks {
    fn name(&self) -> &'static str {
        "m20261129_000001_bookmarks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateBookmarks {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(
            manager,
            "CREATE TABLE bookmarks (
                id {uuid} PRIMARY KEY,
                owner_sub text NOT NULL,
                url text NOT NULL,
                title text NOT NULL,
                tags {json} NOT NULL,
                created_at {time} NOT NULL,
                checked_at {time},
                problem text,
                UNIQUE (owner_sub, url)
            );
            CREATE INDEX bookmarks_recent ON bookmarks (owner_sub, created_at DESC, id DESC);",
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "DROP TABLE bookmarks;").await
    }
}
