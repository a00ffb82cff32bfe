//! Adds a separate column for the arguments of a job. They may be large, most queries do not need
//! them, and they are deleted when the job ends.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "ALTER TABLE jobs ADD COLUMN arguments text;").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, "ALTER TABLE jobs DROP COLUMN arguments;").await
    }
}
