//! Users and pinned logins of any identity provider, where there was only GitHub.
//!
//! This only adds, so that the earlier version works beside the new one, and both see what the other
//! writes:
//!
//! - `users.provider` and `users.provider_subject` are generated from `sub`, so that they are right
//!   in every row, whichever version writes it. `users.github_id` stays, and is still written.
//! - `login_pins` keeps its name and its key: a pin that one version did not see would let another
//!   account take over a login. The default of `provider` describes the rows that the earlier version
//!   writes; in those `provider_subject` is NULL, and is `github_id`. The key of a pin of any other
//!   provider is `<provider>:<login>`, which is no login at GitHub.
//! - `github_tokens` keeps its name, because a table cannot be renamed by adding. It needs no column
//!   for the provider, which is part of `user_sub`.
//!
//! On SQLite a column cannot become nullable, so the table is made anew; nothing runs beside it.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run_either(manager, POSTGRES_UP, SQLITE_UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run_either(manager, POSTGRES_DOWN, SQLITE_DOWN).await
    }
}

/// A stored column rewrites the table once; a row of `users` has a few hundred bytes.
const POSTGRES_UP: &str = "
ALTER TABLE users
    ADD COLUMN provider text GENERATED ALWAYS AS (split_part(sub, ':', 1)) STORED,
    ADD COLUMN provider_subject text
        GENERATED ALWAYS AS (substr(sub, strpos(sub, ':') + 1)) STORED;

ALTER TABLE login_pins
    ADD COLUMN provider text NOT NULL DEFAULT 'github',
    ADD COLUMN provider_subject text,
    ALTER COLUMN github_id DROP NOT NULL;
UPDATE login_pins SET provider_subject = github_id::text;
CREATE INDEX login_pins_subject ON login_pins (provider, provider_subject);
";

/// Without the pins of other providers, for which the earlier schema has no room.
const POSTGRES_DOWN: &str = "
DELETE FROM login_pins WHERE github_id IS NULL;
DROP INDEX login_pins_subject;
ALTER TABLE login_pins
    ALTER COLUMN github_id SET NOT NULL,
    DROP COLUMN provider_subject,
    DROP COLUMN provider;

ALTER TABLE users DROP COLUMN provider_subject, DROP COLUMN provider;
";

const SQLITE_UP: &str = "
ALTER TABLE users ADD COLUMN provider text
    GENERATED ALWAYS AS (substr(sub, 1, instr(sub, ':') - 1)) VIRTUAL;
ALTER TABLE users ADD COLUMN provider_subject text
    GENERATED ALWAYS AS (substr(sub, instr(sub, ':') + 1)) VIRTUAL;

CREATE TABLE login_pins_of_any_provider (
    login text NOT NULL,
    github_id bigint,
    pinned_at text NOT NULL,
    provider text NOT NULL DEFAULT 'github',
    provider_subject text,
    CONSTRAINT login_pins_pkey PRIMARY KEY (login)
);
INSERT INTO login_pins_of_any_provider (login, github_id, pinned_at, provider_subject)
    SELECT login, github_id, pinned_at, CAST(github_id AS text) FROM login_pins;
DROP TABLE login_pins;
ALTER TABLE login_pins_of_any_provider RENAME TO login_pins;
CREATE INDEX login_pins_github_id ON login_pins (github_id);
CREATE INDEX login_pins_subject ON login_pins (provider, provider_subject);
";

const SQLITE_DOWN: &str = "
CREATE TABLE login_pins_of_github (
    login text NOT NULL,
    github_id bigint NOT NULL,
    pinned_at text NOT NULL,
    CONSTRAINT login_pins_pkey PRIMARY KEY (login)
);
INSERT INTO login_pins_of_github (login, github_id, pinned_at)
    SELECT login, github_id, pinned_at FROM login_pins WHERE github_id IS NOT NULL;
DROP TABLE login_pins;
ALTER TABLE login_pins_of_github RENAME TO login_pins;
CREATE INDEX login_pins_github_id ON login_pins (github_id);

ALTER TABLE users DROP COLUMN provider_subject;
ALTER TABLE users DROP COLUMN provider;
";
