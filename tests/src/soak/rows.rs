//! Lets the rows of past rounds expire, so that what remains in the tables has no retention.

use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use tokio_util::sync::CancellationToken;
use worker::schedules;

use crate::{Idle, processes::Fleet};

/// Makes ended things older than every retention, in the columns by which the schedules choose them. Grants
/// whose token was not revoked end here, as if they had not been used for a month.
const AGE: &[&str] = &[
    "UPDATE jobs SET expires_at = expires_at - interval '1 year' WHERE ended_at IS NOT NULL",
    "UPDATE oauth_codes SET expires_at = expires_at - interval '1 year'",
    "UPDATE oauth_grants SET ends_at = ends_at - interval '1 year'",
    "UPDATE oauth_clients SET expires_at = expires_at - interval '1 year'",
    "UPDATE oauth_audit SET at = at - interval '11 years'",
    "UPDATE oauth_calls SET day = day - 365",
    "UPDATE exports SET expires_at = expires_at - interval '1 year'",
    "UPDATE access_cutoffs SET cutoff_at = cutoff_at - interval '1 year'",
    // The data of users has no retention; this is their deleting it.
    "DELETE FROM items",
];

/// The schedules that delete rows, in an order in which each finds what it deletes.
const SCHEDULES: [&str; 9] = [
    "finished-jobs",
    "expired-codes",
    "expired-exports",
    "expired-tokens",
    "ended-grants",
    "unused-clients",
    "old-cutoffs",
    "old-audit",
    "old-calls",
];

/// Ages the rows of past rounds, and runs the schedules that delete them.
pub(super) async fn expire(fleet: &Fleet) {
    for statement in AGE {
        let aged = fleet.app().db().execute_unprepared(statement).await;
        aged.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    for name in SCHEDULES {
        let schedule = schedules::find(fleet.app().product(), name);
        let schedule = schedule.expect("the base has these schedules");
        let never = CancellationToken::new();
        let ran = schedules::run_now(&schedule, fleet.app(), &Idle, &never).await;
        ran.expect("the database answers");
    }
}

/// The tables of the database, each with its number of rows.
pub(super) async fn count(fleet: &Fleet) -> Vec<(String, f64)> {
    const TABLES: &str = "SELECT tablename::text AS name FROM pg_tables \
                          WHERE schemaname = 'public' ORDER BY 1";
    let db = fleet.app().db();
    let query = |sql: String| Statement::from_string(DbBackend::Postgres, sql);
    let tables = db.query_all_raw(query(TABLES.to_owned())).await.expect("the database answers");
    let mut counts = Vec::new();
    for table in tables {
        let name: String = table.try_get("", "name").expect("the column is selected");
        let sql = format!("SELECT count(*)::float8 AS rows FROM {name}");
        let row = db.query_one_raw(query(sql)).await.expect("the database answers");
        let rows = row.expect("a count has a row").try_get("", "rows");
        counts.push((name, rows.expect("the column is selected")));
    }
    counts
}
