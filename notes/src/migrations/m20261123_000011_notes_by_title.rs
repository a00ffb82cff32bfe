//! Creates an index to find the notes of an owner by exact title. An import looks up hundreds of
//! titles at once.

use migration::dialect;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "CREATE INDEX notes_by_title ON notes (owner_sub, title);").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "DROP INDEX notes_by_title;").await
    }
}
