//! The number of calls of each connected app per day, for its user.
//!
//! An instance counts in memory, which costs a call one look-up in a hash table, and adds its counts
//! to the database every [`INTERVAL`] and when it ends. So a page shows a call a few seconds later,
//! and the counts that an instance has not written are lost when it is killed.

mod counts;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::{
    GrantId,
    oauth_calls::{Column, Entity},
};
use mcp::UserId;
use platform::db::{Failure, dialect};
use sea_orm::{
    ColumnTrait as _, DbBackend, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    QueryTrait as _,
    sea_query::{Expr, ExprTrait as _},
};
use serde_json::{Value, json};
use tokio::time::sleep;

pub use self::counts::CallCounts;
use self::counts::Row;
use crate::server::Server;

/// How many days are shown, including the present one, in UTC.
pub const DAYS: i32 = 30;

/// How long a count is kept, in days: longer than it is shown, so that the clean-up may be late, and
/// so that the clocks of two instances may differ.
const KEPT_DAYS: i32 = DAYS + 1;

/// The pause between two writes.
const INTERVAL: Duration = Duration::from_secs(10);

/// The maximum number of rows that one statement writes.
const BATCH: usize = 1_000;

/// The calls of an app in the last [`DAYS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppCalls {
    /// The number of calls.
    pub calls: u64,
    /// The time of the last one, to [`INTERVAL`]. `None`: there was none.
    pub last_at: Option<DateTime<Utc>>,
}

/// Adds the counts of this instance to the database, on the present day. What cannot be written is
/// kept for the next call.
pub async fn write(server: &Server) -> Result<(), Failure> {
    let rows = server.calls().take();
    let mut batches = rows.chunks(BATCH);
    while let Some(batch) = batches.next() {
        if let Err(error) = write_batch(server, batch).await {
            for unwritten in std::iter::once(batch).chain(batches) {
                server.calls().put_back(unwritten);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Writes some rows with one statement. Users who were deleted meanwhile are left out; if one is
/// deleted during the statement, the foreign key makes it fail, and the next one leaves them out. The
/// condition is a subquery in an expression, so that the planner looks up each user by their key.
async fn write_batch(server: &Server, rows: &[Row]) -> Result<(), Failure> {
    let backend = server.db().get_database_backend();
    let grant = match backend {
        DbBackend::Postgres => "given.grant_id",
        // SQLite stores UUIDs as bytes.
        _ => "unhex(replace(given.grant_id, '-', ''))",
    };
    let columns = [("owner", "text"), ("grant_id", "uuid"), ("more", "bigint")];
    let sql = format!(
        "INSERT INTO oauth_calls (user_sub, grant_id, day, calls, last_at)
        SELECT given.owner, {grant}, $2, given.more, $3
        FROM {} WHERE (SELECT sub FROM users WHERE sub = given.owner) IS NOT NULL
        ORDER BY given.owner, given.grant_id
        ON CONFLICT (user_sub, grant_id, day) DO UPDATE
        SET calls = oauth_calls.calls + excluded.calls, last_at = excluded.last_at",
        dialect::given(backend, &columns)
    );
    let given: Value = rows
        .iter()
        .map(|row| json!({ "owner": row.user, "grant_id": row.grant, "more": row.calls }))
        .collect();
    let now = server.clock().now();
    dialect::written(server.db(), sql, [given.to_string().into(), day(now).into(), now.into()])
        .await?;
    Ok(())
}

/// Writes the counts every [`INTERVAL`], for ever.
pub async fn write_regularly(server: &Server) {
    loop {
        sleep(INTERVAL).await;
        if let Err(error) = write(server).await {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not write the number of calls per app; retrying"
            );
        }
    }
}

/// Returns the written calls of each app of a user.
pub(super) async fn of(
    server: &Server,
    user: &UserId,
) -> Result<HashMap<GrantId, AppCalls>, Failure> {
    let since = day(server.clock().now()) - DAYS;
    let rows: Vec<(GrantId, i64, DateTime<Utc>)> = Entity::owned_by(user.as_str())
        .filter(Column::Day.gt(since))
        .select_only()
        .column(Column::GrantId)
        // A sum has another type than its summands on Postgres.
        .expr(Expr::cust("CAST(sum(calls) AS bigint)"))
        .expr(Column::LastAt.max())
        .group_by(Column::GrantId)
        .into_tuple()
        .all(&server.db_of(user))
        .await?;
    let calls = |(grant, calls, last_at): (_, i64, _)| {
        (grant, AppCalls { calls: calls.unsigned_abs(), last_at: Some(last_at) })
    };
    Ok(rows.into_iter().map(calls).collect())
}

/// Deletes at most [`SWEEP_BATCH`] counts that are no longer shown.
pub async fn sweep(server: &Server) -> Result<u64, Failure> {
    let key = [Column::UserSub, Column::GrantId, Column::Day];
    let old = Entity::find()
        .select_only()
        .columns(key)
        .filter(Column::Day.lte(day(server.clock().now()) - KEPT_DAYS))
        .limit(SWEEP_BATCH)
        .into_query();
    let deleted = Entity::delete_many()
        .filter(Expr::tuple(key.map(Expr::col)).in_subquery(old))
        .exec(server.db())
        .await?;
    Ok(deleted.rows_affected)
}

/// The maximum number of rows that one call of [`sweep`] deletes.
pub const SWEEP_BATCH: u64 = 500;

/// The day of a time in UTC, as the number of days since 1970-01-01.
fn day(time: DateTime<Utc>) -> i32 {
    i32::try_from((time - DateTime::UNIX_EPOCH).num_days()).unwrap_or(i32::MAX)
}
