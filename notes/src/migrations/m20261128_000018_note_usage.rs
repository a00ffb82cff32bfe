//! Creates a table with the number and size of the notes of each user.
//!
//! Triggers of the database maintain it, whichever version of the service writes: each statement on
//! `notes` updates the row of its owner in the same transaction, so the row is exact, and locked
//! until the commit. A user without notes has no row.

use migration::dialect;
use sea_orm_migration::prelude::*;

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

/// Creates the triggers first: from then on writers wait for the end of the migration, so the
/// initial count misses nothing. Neither reads the texts themselves, only their lengths.
const POSTGRES_UP: &str = "
CREATE TABLE note_usage (
    owner_sub text NOT NULL,
    notes bigint NOT NULL,
    bytes bigint NOT NULL,
    CONSTRAINT note_usage_pkey PRIMARY KEY (owner_sub)
);

CREATE FUNCTION note_bytes(title text, tags jsonb, body text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (octet_length(title) + octet_length(tags::text) + octet_length(body))::bigint;

CREATE FUNCTION note_usage_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO note_usage AS used (owner_sub, notes, bytes)
        SELECT owner_sub, count(*), sum(note_bytes(title, tags, body))
        FROM added GROUP BY owner_sub ORDER BY owner_sub
    ON CONFLICT (owner_sub) DO UPDATE
        SET notes = used.notes + excluded.notes, bytes = used.bytes + excluded.bytes;
    RETURN NULL;
END
$$;
CREATE FUNCTION note_usage_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE note_usage AS used SET bytes = used.bytes + change.bytes
    FROM (
        SELECT owner_sub, sum(bytes) AS bytes FROM (
            SELECT owner_sub, note_bytes(title, tags, body) AS bytes FROM added
            UNION ALL
            SELECT owner_sub, -note_bytes(title, tags, body) FROM removed
        ) AS changes GROUP BY owner_sub HAVING sum(bytes) <> 0
    ) AS change WHERE used.owner_sub = change.owner_sub;
    RETURN NULL;
END
$$;
CREATE FUNCTION note_usage_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE note_usage AS used
    SET notes = used.notes - change.notes, bytes = used.bytes - change.bytes
    FROM (
        SELECT owner_sub, count(*) AS notes, sum(note_bytes(title, tags, body)) AS bytes
        FROM removed GROUP BY owner_sub
    ) AS change WHERE used.owner_sub = change.owner_sub;
    DELETE FROM note_usage
    WHERE notes <= 0 AND owner_sub IN (SELECT owner_sub FROM removed);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_usage_insert AFTER INSERT ON notes
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION note_usage_insert();
CREATE TRIGGER note_usage_update AFTER UPDATE ON notes
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION note_usage_update();
CREATE TRIGGER note_usage_delete AFTER DELETE ON notes
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION note_usage_delete();

INSERT INTO note_usage (owner_sub, notes, bytes)
    SELECT owner_sub, count(*), sum(note_bytes(title, tags, body)) FROM notes GROUP BY owner_sub;
";

const POSTGRES_DOWN: &str = "
DROP TRIGGER note_usage_insert ON notes;
DROP TRIGGER note_usage_update ON notes;
DROP TRIGGER note_usage_delete ON notes;
DROP FUNCTION note_usage_insert();
DROP FUNCTION note_usage_update();
DROP FUNCTION note_usage_delete();
DROP FUNCTION note_bytes(text, jsonb, text);
DROP TABLE note_usage;
";

const SQLITE_UP: &str = "
CREATE TABLE note_usage (
    owner_sub text NOT NULL,
    notes bigint NOT NULL,
    bytes bigint NOT NULL,
    CONSTRAINT note_usage_pkey PRIMARY KEY (owner_sub)
);
CREATE TRIGGER note_usage_insert AFTER INSERT ON notes BEGIN
    INSERT INTO note_usage (owner_sub, notes, bytes) VALUES (new.owner_sub, 1,
        octet_length(new.title) + octet_length(new.tags) + octet_length(new.body))
    ON CONFLICT (owner_sub) DO UPDATE SET
        notes = note_usage.notes + excluded.notes, bytes = note_usage.bytes + excluded.bytes;
END;
CREATE TRIGGER note_usage_update AFTER UPDATE OF title, tags, body ON notes BEGIN
    UPDATE note_usage SET bytes = bytes
        + octet_length(new.title) + octet_length(new.tags) + octet_length(new.body)
        - octet_length(old.title) - octet_length(old.tags) - octet_length(old.body)
    WHERE owner_sub = new.owner_sub;
END;
CREATE TRIGGER note_usage_delete AFTER DELETE ON notes BEGIN
    UPDATE note_usage SET notes = notes - 1, bytes = bytes
        - octet_length(old.title) - octet_length(old.tags) - octet_length(old.body)
    WHERE owner_sub = old.owner_sub;
    DELETE FROM note_usage WHERE owner_sub = old.owner_sub AND notes <= 0;
END;
INSERT INTO note_usage (owner_sub, notes, bytes)
    SELECT owner_sub, count(*),
        sum(octet_length(title) + octet_length(tags) + octet_length(body))
    FROM notes GROUP BY owner_sub;
";

const SQLITE_DOWN: &str = "
DROP TRIGGER note_usage_insert;
DROP TRIGGER note_usage_update;
DROP TRIGGER note_usage_delete;
DROP TABLE note_usage;
";
