//! Elects the worker that runs a schedule, and counts how often each schedule ran and failed.
//!
//! The totals are kept in the database, where every process can read them: on some platforms a
//! worker cannot be scraped.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use entity::schedule_runs::{COLUMN, Column, Entity};
use platform::db::Failure;
use sea_orm::{
    ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, Statement,
};

pub use crate::counts::Runs;
use crate::queue::Queue;

/// Claims a run of a schedule, if the last one was at least `spacing` ago. `true` for exactly one
/// of several concurrent callers.
pub async fn take(queue: &Queue, name: &str, spacing: Duration) -> Result<bool, Failure> {
    const SQL: &str = "INSERT INTO schedule_runs (name, ran_at) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at
        WHERE schedule_runs.ran_at <= $3";
    let now = queue.clock().now();
    let spacing = TimeDelta::from_std(spacing).unwrap_or(TimeDelta::MAX / 4);
    let values = [name.into(), now.into(), (now - spacing).into()];
    let backend = queue.db().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, SQL, values);
    Ok(queue.db().execute_raw(statement).await?.rows_affected() == 1)
}

/// The time of the last run of any schedule; `Ok(None)` if none has ever run. While a worker is
/// alive, a schedule runs every few seconds.
pub async fn last(queue: &Queue) -> Result<Option<DateTime<Utc>>, Failure> {
    let last = Entity::find()
        .filter(COLUMN.ran_at.gt(NEVER))
        .order_by_desc(Column::RanAt)
        .one(queue.db())
        .await?;
    Ok(last.map(|it| it.ran_at))
}

/// The time of the last run in the row of a schedule that has never run.
const NEVER: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Inserts rows for schedules that have none, so that their totals start at 0 and not at the first
/// run.
pub async fn register(queue: &Queue, names: &[&str]) -> Result<(), Failure> {
    const SQL: &str = "INSERT INTO schedule_runs (name, ran_at) VALUES ($1, $2)
        ON CONFLICT (name) DO NOTHING";
    let backend = queue.db().get_database_backend();
    for name in names {
        let statement =
            Statement::from_sql_and_values(backend, SQL, [(*name).into(), NEVER.into()]);
        queue.db().execute_raw(statement).await?;
    }
    Ok(())
}

/// Adds runs of a schedule to the totals in the database. Runs that cannot be written are kept in
/// memory and written with the next ones.
pub async fn count(queue: &Queue, name: &'static str, more: Runs) {
    queue.schedule_totals().add(name, more);
    let gathered = std::mem::take(&mut *queue.schedule_totals().gathered());
    for (name, runs) in gathered {
        match write(queue, name, runs).await {
            Ok(true) => {}
            Ok(false) => queue.schedule_totals().add(name, runs),
            Err(error) => {
                queue.schedule_totals().add(name, runs);
                tracing::debug!(
                    schedule = name, %error,
                    "Could not count a schedule run; retrying with the next one"
                );
            }
        }
    }
}

/// Adds to the totals of a schedule. `false`: the schedule has no row.
async fn write(queue: &Queue, name: &str, Runs { ran, failed }: Runs) -> Result<bool, Failure> {
    const SQL: &str = "UPDATE schedule_runs SET ran = ran + $2, failed = failed + $3
        WHERE name = $1";
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let values = [name.into(), number(ran).into(), number(failed).into()];
    let backend = queue.db().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, SQL, values);
    Ok(queue.db().execute_raw(statement).await?.rows_affected() == 1)
}

/// How often each schedule ran and failed, over all workers and all time.
pub async fn totals(queue: &Queue) -> Result<BTreeMap<String, Runs>, Failure> {
    let rows = Entity::find().all(queue.db()).await?;
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let runs = rows
        .into_iter()
        .map(|row| (row.name, Runs { ran: number(row.ran), failed: number(row.failed) }));
    Ok(runs.collect())
}
