//! Creates the table of the number of calls of each connected app per day, for the account page.
//!
//! A day is the number of days since 1970-01-01 in UTC. The foreign key decides the race between an
//! instance that writes its counts and the deletion of the account.

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
        dialect::run(manager, "DROP TABLE oauth_calls;").await
    }
}

const UP: &str = "
CREATE TABLE oauth_calls (
    user_sub text NOT NULL,
    grant_id {uuid} NOT NULL,
    day integer NOT NULL,
    calls bigint NOT NULL,
    last_at {time} NOT NULL,
    CONSTRAINT oauth_calls_pkey PRIMARY KEY (user_sub, grant_id, day),
    CONSTRAINT oauth_calls_user FOREIGN KEY (user_sub) REFERENCES users (sub) ON DELETE CASCADE
);
-- For deleting old counts.
CREATE INDEX oauth_calls_day ON oauth_calls (day);
";
