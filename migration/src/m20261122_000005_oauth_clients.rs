//! Creates the table of OAuth clients, which registered themselves or are identified by the URL of
//! their metadata document.

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
        dialect::run(manager, "DROP TABLE oauth_clients;").await
    }
}

const UP: &str = "
CREATE TABLE oauth_clients (
    id text NOT NULL,
    kind text NOT NULL,
    metadata {json} NOT NULL,
    metadata_hash {bytes} NOT NULL,
    secret_hash {bytes},
    created_at {time} NOT NULL,
    fetched_at {time},
    last_used_at {time},
    expires_at {time},
    disabled_at {time},
    CONSTRAINT oauth_clients_pkey PRIMARY KEY (id),
    CONSTRAINT oauth_clients_kind CHECK (kind IN ('preregistered', 'dynamic', 'metadata_document')),
    CONSTRAINT oauth_clients_metadata_hash CHECK (length(metadata_hash) = 32),
    CONSTRAINT oauth_clients_secret_hash CHECK (length(secret_hash) = 32)
);
-- For deleting expired clients.
CREATE INDEX oauth_clients_expires_at ON oauth_clients (expires_at) WHERE expires_at IS NOT NULL;
";
