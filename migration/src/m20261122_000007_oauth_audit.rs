//! Creates the table of the audit log. Rows are only inserted, and deleted by age. They contain no
//! secrets.
//!
//! It has no foreign keys: an entry remains when its user, client or grant is deleted.

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
        dialect::run(manager, "DROP TABLE oauth_audit;").await
    }
}

const UP: &str = "
CREATE TABLE oauth_audit (
    id {uuid} NOT NULL,
    at {time} NOT NULL,
    event text NOT NULL,
    user_sub text,
    client_id text,
    grant_id {uuid},
    detail text,
    request_id text,
    ip text,
    user_agent_hash {bytes},
    CONSTRAINT oauth_audit_pkey PRIMARY KEY (id)
);
-- For deleting old entries, and for listing them.
CREATE INDEX oauth_audit_at ON oauth_audit (at);
";
