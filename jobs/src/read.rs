//! Reads jobs on behalf of their owner.

use chrono::{DateTime, Utc};
use entity::jobs::{COLUMN, Column, Entity, Model};
use mcp::{
    UserId,
    job::{Job, JobId, JobPage},
};
use platform::db::Failure;
use sea_orm::{
    ConnectionTrait, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};

use crate::row;

/// The maximum size of a page.
const MAX_PAGE: usize = 100;

pub(super) async fn get(
    db: &impl ConnectionTrait,
    user: &UserId,
    id: &JobId,
) -> Result<Option<Job>, Failure> {
    let found = find(db, user, id).await?;
    found.as_ref().map(row::job).transpose()
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    user: &UserId,
    id: &JobId,
) -> Result<Option<Model>, Failure> {
    Ok(Entity::without_payload(Entity::owned(user.as_str(), id.as_str())).one(db).await?)
}

/// Loads a page of jobs, newest first, of some tools or (`None`) of all. `Ok(None)`: `after` is not a
/// position that this server issued.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    user: &UserId,
    tools: Option<&[&str]>,
    after: Option<&str>,
    max: usize,
) -> Result<Option<JobPage>, Failure> {
    let mut select = Entity::without_payload(Entity::owned_by(user.as_str()));
    if let Some(tools) = tools {
        select = select.filter(Expr::col(Column::Tool).is_in(tools.iter().copied()));
    }
    if let Some(after) = after {
        let Some((created_at, id)) = position(after) else { return Ok(None) };
        let columns = [Expr::col(Column::CreatedAt), Expr::col(Column::Id)];
        let last = [Expr::value(created_at), Expr::value(id.to_string())];
        select = select.filter(Expr::tuple(columns).lt(Expr::tuple(last)));
    }
    let max = max.clamp(1, MAX_PAGE);
    let mut rows = select
        .order_by_desc(COLUMN.created_at)
        .order_by_desc(COLUMN.id)
        // One more than requested shows whether there is a next page.
        .limit(u64::try_from(max + 1).unwrap_or(u64::MAX))
        .all(db)
        .await?;
    let more = rows.len() > max;
    rows.truncate(max);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| format!("{}.{}", row.created_at.timestamp_micros(), row.id));
    let jobs = rows.iter().filter_map(row::readable_job).collect();
    Ok(Some(JobPage { jobs, next }))
}

/// Parses the position of the next page: the creation time in microseconds and the id of the last
/// job of a page.
fn position(text: &str) -> Option<(DateTime<Utc>, JobId)> {
    let (micros, id) = text.split_once('.')?;
    let created_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
    Some((created_at, JobId::parse(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_this_server_did_not_issue_is_rejected() {
        let id = JobId::random();
        let text = format!("1700000000123456.{id}");
        assert_eq!(position(&text).unwrap().1, id);
        for invalid in
            ["", ".", "1.", "x.y", "1700000000123456", &format!("99999999999999999999.{id}")]
        {
            assert!(position(invalid).is_none(), "{invalid}");
        }
    }
}
