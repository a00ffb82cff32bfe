//! Creates the table of encrypted GitHub tokens of users. They are stored only while the access
//! policy requires membership in an organization, to check the membership again later.

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
        dialect::run(manager, "DROP TABLE github_tokens;").await
    }
}

const UP: &str = "
CREATE TABLE github_tokens (
    user_sub text NOT NULL,
    sealed {bytes} NOT NULL,
    updated_at {time} NOT NULL,
    CONSTRAINT github_tokens_pkey PRIMARY KEY (user_sub),
    CONSTRAINT github_tokens_user FOREIGN KEY (user_sub) REFERENCES users (sub) ON DELETE CASCADE
);
";
