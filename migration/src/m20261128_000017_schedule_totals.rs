//! Counts the runs and failures of each schedule in the database, because some platforms cannot
//! scrape metrics of a worker.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, DOWN).await
    }
}

const UP: &str = "
ALTER TABLE schedule_runs ADD COLUMN ran bigint NOT NULL DEFAULT 0;
ALTER TABLE schedule_runs ADD COLUMN failed bigint NOT NULL DEFAULT 0;
";

const DOWN: &str = "
ALTER TABLE schedule_runs DROP COLUMN failed;
ALTER TABLE schedule_runs DROP COLUMN ran;
";
