//! Creates the table of service clients: clients of operators that act for themselves (client
//! credentials). Adds a column for the grant type of grants that no code created; `NULL` in grants
//! from a code, and in those of older versions.

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
CREATE TABLE oauth_service_clients (
    id text NOT NULL,
    name text NOT NULL,
    account_sub text NOT NULL,
    scope text NOT NULL,
    secret_hash {bytes},
    jwks {json},
    jwks_uri text,
    created_at {time} NOT NULL,
    last_used_at {time},
    revoked_at {time},
    CONSTRAINT oauth_service_clients_pkey PRIMARY KEY (id),
    CONSTRAINT oauth_service_clients_secret_hash CHECK (length(secret_hash) = 32),
    CONSTRAINT oauth_service_clients_one_method CHECK (
        (CASE WHEN secret_hash IS NULL THEN 0 ELSE 1 END)
        + (CASE WHEN jwks IS NULL THEN 0 ELSE 1 END)
        + (CASE WHEN jwks_uri IS NULL THEN 0 ELSE 1 END) = 1)
);
ALTER TABLE oauth_grants ADD COLUMN grant_type text;
";

const DOWN: &str = "
ALTER TABLE oauth_grants DROP COLUMN grant_type;
DROP TABLE oauth_service_clients;
";
