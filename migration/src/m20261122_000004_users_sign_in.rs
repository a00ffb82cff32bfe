//! Adds the columns for sign-in with GitHub, and the table that pins logins to accounts.
//!
//! An entry of the allow list may be a login, but GitHub lets users change their logins and
//! reassigns them. Therefore the first sign-in with a login pins it to the numeric id of the
//! account.

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

// One column per statement: SQLite cannot add several at once.
const UP: &str = "
ALTER TABLE users ADD COLUMN github_id bigint;
ALTER TABLE users ADD COLUMN blocked_at {time};
ALTER TABLE users ADD COLUMN gate_checked_at {time};
ALTER TABLE users ADD COLUMN gate_asked_at {time};
UPDATE users SET github_id = CAST(substr(sub, 8) AS bigint) WHERE sub LIKE 'github:%';
CREATE UNIQUE INDEX users_github_id_unique ON users (github_id);

CREATE TABLE login_pins (
    login text NOT NULL,
    github_id bigint NOT NULL,
    pinned_at {time} NOT NULL,
    CONSTRAINT login_pins_pkey PRIMARY KEY (login)
);
-- For the pins of a user, who is looked up by number.
CREATE INDEX login_pins_github_id ON login_pins (github_id);
";

const DOWN: &str = "
DROP TABLE login_pins;
DROP INDEX users_github_id_unique;
ALTER TABLE users DROP COLUMN gate_asked_at;
ALTER TABLE users DROP COLUMN gate_checked_at;
ALTER TABLE users DROP COLUMN blocked_at;
ALTER TABLE users DROP COLUMN github_id;
";
