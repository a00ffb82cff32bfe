//! Supports users and pinned logins of any identity provider; before, there was only GitHub.
//!
//! The migration only extends the schema, so that the previous version works beside the new one, and both
//! see what the other writes:
//!
//! - `users.provider` and `users.provider_subject` are generated from `sub`, so that they are
//!   correct in every row, whichever version writes it. `users.github_id` remains, and is still
//!   written.
//! - `login_pins` keeps its name and its key: if one version did not see a pin of the other,
//!   another account could take over the login. The default of `provider` applies to rows that the
//!   previous version writes. In those rows `provider_subject` is NULL, and `github_id` is the
//!   subject. The key of a pin of any other provider is `<provider>:<login>`, which is not a valid
//!   login at GitHub.
//! - `github_tokens` keeps its name, because renaming a table is not an addition. It needs no
//!   column for the provider, which is part of `user_sub`.
//!
//! SQLite cannot make a column nullable, so the table is created again; no other version runs
//! beside this one there.

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

/// A stored generated column rewrites the table once; a row of `users` has a few hundred bytes.
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

/// Deletes the pins of other providers, which the previous schema cannot hold.
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
