//! Finding a person's notes by their exact titles, as an import does for hundreds at once.

use sea_orm_migration::prelude::*;

use migration::dialect;

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
