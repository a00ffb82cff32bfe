//! What happened to whom, when and from where, without a secret. Rows are only ever added, and
//! removed by age.
//!
//! Nothing refers to another table: what happened has happened, also when the person, the client or
//! the grant is gone.

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
-- For the clean-up, and for whoever looks into it.
CREATE INDEX oauth_audit_at ON oauth_audit (at);
";
