//! Creates the tables of authorization codes, of the grants that are created when codes are
//! redeemed, and of the refresh tokens of grants.
//!
//! The schema guarantees that every code has a challenge, and that a code creates at most one
//! grant, independently of the program.
//!
//! A grant has no foreign key to its user: it outlives the deletion of the account for as long as
//! its access tokens could be valid, so that every instance learns that they are revoked.

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
CREATE TABLE oauth_codes (
    code_hash {bytes} NOT NULL,
    client_id text NOT NULL,
    user_sub text NOT NULL,
    redirect_uri text NOT NULL,
    redirect_uri_was_sent boolean NOT NULL,
    code_challenge {bytes} NOT NULL,
    scope text NOT NULL,
    resource text NOT NULL,
    auth_time {time} NOT NULL,
    gate_checked_at {time},
    attempts integer NOT NULL,
    created_at {time} NOT NULL,
    expires_at {time} NOT NULL,
    CONSTRAINT oauth_codes_pkey PRIMARY KEY (code_hash),
    CONSTRAINT oauth_codes_hash CHECK (length(code_hash) = 32),
    CONSTRAINT oauth_codes_challenge CHECK (length(code_challenge) = 32),
    CONSTRAINT oauth_codes_user FOREIGN KEY (user_sub) REFERENCES users (sub) ON DELETE CASCADE
);
-- For deleting an account.
CREATE INDEX oauth_codes_user_sub ON oauth_codes (user_sub);
-- For deleting expired codes.
CREATE INDEX oauth_codes_expires_at ON oauth_codes (expires_at);

CREATE TABLE oauth_grants (
    id {uuid} NOT NULL,
    user_sub text NOT NULL,
    client_id text NOT NULL,
    redirect_uri text NOT NULL,
    scope text NOT NULL,
    resource text NOT NULL,
    code_hash {bytes} NOT NULL,
    code_challenge {bytes} NOT NULL,
    auth_time {time} NOT NULL,
    created_at {time} NOT NULL,
    last_used_at {time} NOT NULL,
    ends_at {time} NOT NULL,
    generation integer NOT NULL,
    recovered_at {time},
    revoked_at {time},
    revoked_reason text,
    CONSTRAINT oauth_grants_pkey PRIMARY KEY (id),
    CONSTRAINT oauth_grants_code_hash CHECK (length(code_hash) = 32),
    CONSTRAINT oauth_grants_challenge CHECK (length(code_challenge) = 32),
    CONSTRAINT oauth_grants_revoked CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
-- A code creates at most one grant.
CREATE UNIQUE INDEX oauth_grants_code_hash_unique ON oauth_grants (code_hash);
-- For the list of connected apps, and for revoking all grants of a user.
CREATE INDEX oauth_grants_user_sub ON oauth_grants (user_sub, created_at);
-- For revoking all grants of a client, and for keeping clients that are in use.
CREATE INDEX oauth_grants_client_id ON oauth_grants (client_id);
-- For instances that query recent revocations.
CREATE INDEX oauth_grants_revoked_at ON oauth_grants (revoked_at) WHERE revoked_at IS NOT NULL;
-- For deleting ended grants.
CREATE INDEX oauth_grants_ends_at ON oauth_grants (ends_at);

CREATE TABLE oauth_refresh_tokens (
    token_hash {bytes} NOT NULL,
    grant_id {uuid} NOT NULL,
    generation integer NOT NULL,
    issued_at {time} NOT NULL,
    used_at {time},
    superseded_at {time},
    successor_sealed {bytes},
    CONSTRAINT oauth_refresh_tokens_pkey PRIMARY KEY (token_hash),
    CONSTRAINT oauth_refresh_tokens_hash CHECK (length(token_hash) = 32),
    CONSTRAINT oauth_refresh_tokens_generation UNIQUE (grant_id, generation),
    CONSTRAINT oauth_refresh_tokens_grant FOREIGN KEY (grant_id) REFERENCES oauth_grants (id)
        ON DELETE CASCADE
);
";

const DOWN: &str = "
DROP TABLE oauth_refresh_tokens;
DROP TABLE oauth_grants;
DROP TABLE oauth_codes;
";
