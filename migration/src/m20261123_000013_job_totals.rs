//! Creates the table of job totals. They are in the database because metrics of some processes that
//! run jobs cannot be scraped.

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
CREATE TABLE job_totals (
    what text NOT NULL,
    tool text NOT NULL,
    how text NOT NULL,
    total bigint NOT NULL,
    CONSTRAINT job_totals_pkey PRIMARY KEY (what, tool, how),
    CONSTRAINT job_totals_what CHECK (what IN ('attempt', 'job'))
);
";

const DOWN: &str = "DROP TABLE job_totals;";
