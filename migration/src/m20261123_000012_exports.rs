//! Creates the tables of files for download.
//!
//! The files are in the database, so that any instance can serve what any worker has written, and
//! in chunks, so that neither holds a whole file in memory.

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
CREATE TABLE exports (
    id {uuid} PRIMARY KEY NOT NULL,
    owner_sub text NOT NULL,
    file_name text NOT NULL,
    media_type text NOT NULL,
    bytes bigint NOT NULL,
    chunks integer NOT NULL,
    notes bigint NOT NULL,
    token_hash {bytes},
    created_at {time} NOT NULL,
    expires_at {time} NOT NULL
);
CREATE UNIQUE INDEX exports_token_hash ON exports (token_hash);
CREATE INDEX exports_owner ON exports (owner_sub, created_at);
CREATE INDEX exports_expires_at ON exports (expires_at);

CREATE TABLE export_chunks (
    export_id {uuid} NOT NULL REFERENCES exports (id) ON DELETE CASCADE,
    number integer NOT NULL,
    bytes {bytes} NOT NULL,
    PRIMARY KEY (export_id, number)
);
";

const DOWN: &str = "
DROP TABLE export_chunks;
DROP TABLE exports;
";
