//! Fills the tables of users, sign-ins and jobs.

use app::App;
use sea_orm::ConnectionTrait as _;

use super::{Size, fill, patient, person};
use crate::bench_jobs::new_job;

/// Users with two grants each, of which one in ten was revoked, with three refresh tokens each.
const SIGN_INS: &str = "
INSERT INTO users (sub, login, created_at, last_seen_at, gate_checked_at)
SELECT 'dev:p' || n, 'p' || n, now(), now(), now() FROM generate_series(0, {people} - 1) AS n;
INSERT INTO oauth_clients (id, kind, metadata, metadata_hash, created_at, expires_at)
SELECT 'c' || n, 'dynamic', '{}', sha256(('m' || n)::bytea), now(), now() + n * interval '1 hour'
FROM generate_series(1, {people} / 10) AS n;
INSERT INTO oauth_grants (id, user_sub, client_id, redirect_uri, scope, resource, code_hash,
    code_challenge, auth_time, created_at, last_used_at, ends_at, generation, revoked_at, revoked_reason)
SELECT gen_random_uuid(), 'dev:p' || n % {people}, 'c' || n % ({people} / 10), '', '', '',
    sha256(('g' || n)::bytea), sha256(('x' || n)::bytea), now(), now(), now(),
    now() + n * interval '1 minute', 3, CASE WHEN n % 10 = 0 THEN now() - n * interval '1 minute' END,
    CASE WHEN n % 10 = 0 THEN 'client' END
FROM generate_series(1, 2 * {people}) AS n;
INSERT INTO oauth_refresh_tokens (token_hash, grant_id, generation, issued_at)
SELECT sha256((id::text || n)::bytea), id, n, now() FROM oauth_grants, generate_series(1, 3) AS n;
INSERT INTO oauth_codes (code_hash, client_id, user_sub, redirect_uri, redirect_uri_was_sent,
    code_challenge, scope, resource, auth_time, attempts, created_at, expires_at)
SELECT sha256(('c' || n)::bytea), 'c' || n % ({people} / 10), 'dev:p' || n, '', true,
    sha256(('x' || n)::bytea), '', '', now(), 0, now(), now() + n * interval '1 minute'
FROM generate_series(1, {people} / 10) AS n;
INSERT INTO oauth_audit (id, at, event)
SELECT gen_random_uuid(), now() - n * interval '60 seconds', 'token_issued'
FROM generate_series(1, 10 * {people}) AS n;
VACUUM ANALYZE";

/// As many finished jobs as people have in a week, and ten thousand that are queued, nine thousand of them by one
/// person.
const JOBS: &str = "
INSERT INTO jobs (id, owner_sub, client_id, tool, call, arguments, status, attempt, failures, max_attempts,
    timeout_ms, run_at, pending, announced, keep_ms, created_at, updated_at, ended_at, expires_at)
SELECT substr(translate(encode(sha256(('j' || n)::bytea), 'base64'), '+/=', '-_'), 1, 22),
    'dev:p' || n % {people}, 'c1', 'a_tool', repeat('x', 300), NULL, 'completed', 1, 0, 3, 60000, created, 0,
    true, 3600000, created, created, created, created + interval '7 days'
FROM (SELECT n, now() - n * interval '2 seconds' AS created
    FROM generate_series(1, 3 * {people}::bigint) AS n) AS done;
INSERT INTO jobs (id, owner_sub, client_id, tool, call, arguments, status, attempt, failures, max_attempts,
    timeout_ms, run_at, pending, announced, keep_ms, created_at, updated_at)
SELECT substr(translate(encode(sha256(('q' || n)::bytea), 'base64'), '+/=', '-_'), 1, 22),
    CASE WHEN n % 10 = 0 THEN 'dev:p' || n % {people} ELSE 'dev:large' END,
    template.client_id, 'a_tool', template.call, '{}', 'queued', 0, 0, 3, 60000, now(), 0,
    true, 3600000, now(), now()
FROM generate_series(1, 10000) AS n, (SELECT * FROM jobs WHERE tool = 'template') AS template;
DELETE FROM jobs WHERE tool = 'template';
VACUUM ANALYZE jobs";

/// Fills the tables, unless there are users. The queued jobs are copies of one that the service enqueues,
/// without its arguments, which are encrypted for that one.
pub(super) async fn fill(app: &App, url: &str, size: Size) -> anyhow::Result<()> {
    if fill::is_filled(&patient(url).await?, "users").await? {
        return Ok(());
    }
    run(url, SIGN_INS, size).await?;
    let mut template = new_job(person(0, size));
    "template".clone_into(&mut template.call.tool);
    jobs::enqueue(app.jobs(), template).await?;
    run(url, JOBS, size).await
}

async fn run(url: &str, sql: &str, size: Size) -> anyhow::Result<()> {
    let db = patient(url).await?;
    for statement in sql.replace("{people}", &size.people.to_string()).split(';') {
        db.execute_unprepared(statement).await?;
    }
    Ok(())
}
