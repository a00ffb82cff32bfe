//! Stores what the access of jobs, exports and users depends on, so that revocation reaches them.
//!
//! A job and an export have the grant and the signing key of the access token that created them.
//! `access_cutoffs` invalidates everything that was issued to a user up to a time. It has no
//! foreign key to the user, because it outlives the deletion of the account.

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
CREATE TABLE access_cutoffs (
    user_sub text NOT NULL,
    cutoff_at {time} NOT NULL,
    reason text NOT NULL,
    CONSTRAINT access_cutoffs_pkey PRIMARY KEY (user_sub)
);
-- For instances that query recent changes, and for deleting old rows.
CREATE INDEX access_cutoffs_cutoff_at ON access_cutoffs (cutoff_at);

ALTER TABLE jobs ADD COLUMN grant_id {uuid};
ALTER TABLE jobs ADD COLUMN key_id text;
ALTER TABLE exports ADD COLUMN grant_id {uuid};
ALTER TABLE exports ADD COLUMN key_id text;
ALTER TABLE users ADD COLUMN gate_org text;

-- For deleting the codes of a client when it is revoked.
CREATE INDEX oauth_codes_client_id ON oauth_codes (client_id);
";

const DOWN: &str = "
DROP INDEX oauth_codes_client_id;
ALTER TABLE users DROP COLUMN gate_org;
ALTER TABLE exports DROP COLUMN key_id;
ALTER TABLE exports DROP COLUMN grant_id;
ALTER TABLE jobs DROP COLUMN key_id;
ALTER TABLE jobs DROP COLUMN grant_id;
DROP TABLE access_cutoffs;
";
