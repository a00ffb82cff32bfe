//! Adds a column for the last attempt of a job whose worker was lost, so that the next attempt can
//! inform the client. Empty in rows that an older version writes: then the client is not informed.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "ALTER TABLE jobs ADD COLUMN lost_attempt integer;").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "ALTER TABLE jobs DROP COLUMN lost_attempt;").await
    }
}
