//! Creates the tables of jobs and of the last run of each schedule.
//!
//! A row of `jobs` is written several times in its short life, and most queries concern a small
//! part of the table: queued jobs, running jobs, jobs whose client has not been notified. Each of
//! them has a partial index, so that finished jobs, which are nearly all rows, cost nothing. JSON
//! is stored as text: no SQL reads it, and `jsonb` rejects texts that clients may send, such as
//! `\u0000`.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, UP).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            dialect::run(manager, POSTGRES).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, DOWN).await
    }
}

const UP: &str = "
CREATE TABLE jobs (
    id text NOT NULL,
    owner_sub text NOT NULL,
    client_id text NOT NULL,
    tool text NOT NULL,
    call text NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL,
    max_attempts integer NOT NULL,
    timeout_ms bigint NOT NULL,
    run_at {time} NOT NULL,
    lease_until {time},
    worker text,
    parent_id text,
    parent_key text,
    pending integer NOT NULL,
    progress double precision,
    total double precision,
    message text,
    checkpoint text,
    questions text,
    answers text,
    outcome text,
    error text,
    announced boolean NOT NULL,
    keep_ms bigint NOT NULL,
    created_at {time} NOT NULL,
    updated_at {time} NOT NULL,
    ended_at {time},
    expires_at {time},
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_status CHECK (status IN ('queued', 'running', 'waiting', 'input_required',
        'completed', 'failed', 'cancelled')),
    CONSTRAINT jobs_ended CHECK
        ((ended_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT jobs_leased CHECK (status <> 'running' OR lease_until IS NOT NULL),
    CONSTRAINT jobs_parent FOREIGN KEY (parent_id) REFERENCES jobs (id) ON DELETE CASCADE
);
-- For claiming: owner by owner, the oldest job of each first.
CREATE INDEX jobs_queued ON jobs (owner_sub, run_at, id) WHERE status = 'queued';
-- For finding expired leases and unanswered questions.
CREATE INDEX jobs_lease_until ON jobs (lease_until) WHERE lease_until IS NOT NULL;
-- For counting the unfinished jobs of a user.
CREATE INDEX jobs_unfinished ON jobs (owner_sub, status) WHERE ended_at IS NULL;
-- For listing the jobs of a user, newest first.
CREATE INDEX jobs_listed ON jobs (owner_sub, created_at DESC, id DESC) WHERE parent_id IS NULL;
-- Each key of a parent has at most one job.
CREATE UNIQUE INDEX jobs_children ON jobs (parent_id, parent_key) WHERE parent_id IS NOT NULL;
-- For notifications that a worker could not send because it died.
CREATE INDEX jobs_unannounced ON jobs (updated_at) WHERE NOT announced;
-- For deleting expired jobs.
CREATE INDEX jobs_expires_at ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE schedule_runs (
    name text NOT NULL,
    ran_at {time} NOT NULL,
    CONSTRAINT schedule_runs_pkey PRIMARY KEY (name)
);
";

/// Leaves room in each page for the next version of a row, and lets autovacuum keep up with the
/// queue.
const POSTGRES: &str = "
ALTER TABLE jobs SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02);
";

const DOWN: &str = "
DROP TABLE schedule_runs;
DROP TABLE jobs;
";
