//! The end of a job that fails while no worker runs it.

use chrono::{DateTime, Utc};
use entity::jobs::{Column, Entity, Model, Status};
use mcp::{
    ContentKeys,
    job::{JobOutcome, Origin},
};
use platform::db::Failure;
use sea_orm::{UpdateMany, sea_query::Expr};

use crate::{content::Content, convert::later, row};

/// Adds the columns of such a job to an update. `text`: the reason, for the model.
pub(crate) fn failed(
    keys: &ContentKeys,
    now: DateTime<Utc>,
    update: UpdateMany<Entity>,
    job: &Model,
    text: &str,
) -> Result<UpdateMany<Entity>, Failure> {
    let notifies_client =
        row::call(job).is_ok_and(|call| matches!(call.origin, Origin::Stream { .. }));
    let expires_at = job.parent_id.is_none();
    let expires_at = expires_at.then(|| later(now, row::duration(job.keep_ms)));
    let outcome = JobOutcome::failed(text);
    let outcome = Content::of(keys, &job.id).encode(Column::Outcome, &outcome)?;
    Ok(update
        .col_expr(Column::Status, Expr::value(Status::Failed))
        .col_expr(Column::LeaseUntil, Expr::value(None::<DateTime<Utc>>))
        .col_expr(Column::Questions, Expr::value(None::<String>))
        .col_expr(Column::Arguments, Expr::value(None::<String>))
        .col_expr(Column::Checkpoint, Expr::value(None::<String>))
        .col_expr(Column::Outcome, Expr::value(outcome))
        .col_expr(Column::Announced, Expr::value(!notifies_client))
        .col_expr(Column::UpdatedAt, Expr::value(now))
        .col_expr(Column::EndedAt, Expr::value(now))
        .col_expr(Column::ExpiresAt, Expr::value(expires_at)))
}
