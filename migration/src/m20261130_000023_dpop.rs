//! Adds columns for the key that a code or the tokens of a grant are bound to (DPoP, RFC 9449). Empty in
//! rows that an older version writes: then they are bound to no key.

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
ALTER TABLE oauth_codes ADD COLUMN dpop_jkt text;
ALTER TABLE oauth_grants ADD COLUMN dpop_jkt text;
ALTER TABLE oauth_grants ADD COLUMN dpop_since integer;
";

const DOWN: &str = "
ALTER TABLE oauth_grants DROP COLUMN dpop_since;
ALTER TABLE oauth_grants DROP COLUMN dpop_jkt;
ALTER TABLE oauth_codes DROP COLUMN dpop_jkt;
";
