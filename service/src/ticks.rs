//! Who of several workers runs a schedule now.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::schedule_runs::{Column, Entity};
use sea_orm::{ConnectionTrait as _, EntityTrait as _, QueryOrder as _, Statement};

use crate::{Service, db::Failure};

/// Takes a run of a schedule, if the last one is at least `spacing` ago. Of several who try at once,
/// one succeeds.
pub async fn take(service: &Service, name: &str, spacing: Duration) -> Result<bool, Failure> {
    const SQL: &str = "INSERT INTO schedule_runs (name, ran_at) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at
        WHERE schedule_runs.ran_at <= $3";
    let now = service.clock().now();
    let spacing = TimeDelta::from_std(spacing).unwrap_or(TimeDelta::MAX / 4);
    let values = [name.into(), now.into(), (now - spacing).into()];
    let backend = service.db().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, SQL, values);
    Ok(service.db().execute_raw(statement).await?.rows_affected() == 1)
}

/// When a worker last ran a schedule, whichever: workers whose clocks go do so every few seconds.
pub async fn last(service: &Service) -> Result<Option<DateTime<Utc>>, Failure> {
    let last = Entity::find().order_by_desc(Column::RanAt).one(service.db()).await?;
    Ok(last.map(|it| it.ran_at))
}
