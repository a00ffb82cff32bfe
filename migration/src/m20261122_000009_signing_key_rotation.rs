//! Adds the time at which a signing key is to be replaced.
//!
//! A request for a replacement only sets this time. The successor is created by an instance that
//! signs tokens, which has the secret to encrypt the private key. If several do so at once, the
//! unique index accepts one key, as for the first key.

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
