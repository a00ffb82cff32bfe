//! Deletes jobs whose results have expired. A schedule of the worker calls this.

use chrono::{DateTime, Utc};
use entity::jobs::{COLUMN, Column, Entity};
use platform::db::Failure;
use sea_orm::{
    EntityTrait as _, QueryFilter as _, QuerySelect as _, QueryTrait as _,
    sea_query::{Expr, ExprTrait as _, LockBehavior, LockType},
};

use crate::queue::Queue;

/// The most jobs that one call deletes, each with its children: few enough that other statements
/// are not delayed.
pub const BATCH: u64 = 500;

/// Deletes expired jobs with their children, in one statement. Returns the number of
/// deleted jobs; call again while it is [`BATCH`].
pub async fn finished(queue: &Queue) -> Result<u64, Failure> {
    let now: DateTime<Utc> = queue.clock().now();
    let expired = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(COLUMN.expires_at.lte(now))
        .limit(BATCH)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_query();
    let deleted = Entity::delete_many()
        .filter(Expr::col(Column::Id).in_subquery(expired))
        .exec(queue.db())
        .await?;
    Ok(deleted.rows_affected)
}
