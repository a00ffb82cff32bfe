//! The arguments of a job apart from the rest of its call: they may be large, few who look at a job
//! need them, and nobody does once it has ended.

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
