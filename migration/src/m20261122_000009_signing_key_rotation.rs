//! When a signing key is to be replaced.
//!
//! Whoever decides that only writes it down. The successor is made by an instance that signs, since
//! that one has the secret to seal it with. Several may do so at once; the unique index lets one of
//! them in, as for the first key.

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
ALTER TABLE oauth_signing_keys ADD COLUMN replace_at {time};
CREATE UNIQUE INDEX oauth_signing_keys_one_pending
    ON oauth_signing_keys (kek_id) WHERE state = 'pending';
";

const DOWN: &str = "
DROP INDEX oauth_signing_keys_one_pending;
ALTER TABLE oauth_signing_keys DROP COLUMN replace_at;
";
