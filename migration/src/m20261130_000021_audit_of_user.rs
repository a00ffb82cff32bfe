//! Adds an index of the audit log by user, for the account page.
//!
//! The index leaves out refreshed tokens. They are most of the log, are not shown, and this way do
//! not have to maintain the index.

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
        dialect::run(manager, "DROP INDEX oauth_audit_user;").await
    }
}

const UP: &str = "
CREATE INDEX oauth_audit_user ON oauth_audit (user_sub, id) WHERE event <> 'token_refreshed';
";
