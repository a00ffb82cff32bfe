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
use serde_json::Value;

use crate::{content::Content, lost, queue::Queue};

/// The maximum size of a page.
const MAX_PAGE: usize = 100;

pub(super) async fn get(queue: &Queue, user: &UserId, id: &JobId) -> Result<Option<Job>, Failure> {
    match find(&queue.db_of(user), user, id).await? {
        Some(found) => lost::job(queue, &found).await.map(Some),
        None => Ok(None),
    }
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
    queue: &Queue,
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
        .all(&queue.db_of(user))
        .await?;
    let more = rows.len() > max;
    rows.truncate(max);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| format!("{}.{}", row.created_at.timestamp_micros(), row.id));
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        jobs.extend(lost::readable_job(queue, row).await);
    }
    Ok(Some(JobPage { jobs, next }))
}

/// The number of unfinished jobs of one tool whose arguments are compared. The arguments of a job may
/// have several megabytes.
const MAX_CANDIDATES: u64 = 5;

/// Finds the newest unfinished job of a tool that was called with these arguments.
pub(super) async fn find_unfinished(
    queue: &Queue,
    user: &UserId,
    tool: &str,
    arguments: &Value,
) -> Result<Option<Job>, Failure> {
    let (keys, db) = (queue.content_keys(), queue.db_of(user));
    let candidates = Entity::without_payload(Entity::owned_by(user.as_str()))
        .filter(COLUMN.tool.eq(tool))
        .filter(COLUMN.ended_at.is_null())
        .order_by_desc(COLUMN.created_at)
        .order_by_desc(COLUMN.id)
        .limit(MAX_CANDIDATES)
        .all(&db)
        .await?;
    for row in candidates {
        let sent = Entity::owned(user.as_str(), &row.id).select_only().column(Column::Arguments);
        let sent = sent.into_tuple::<Option<String>>().one(&db).await?.flatten();
        // A job whose arguments cannot be read does not match.
        let content = Content::of(keys, &row.id);
        let sent = sent.and_then(|sent| {
            let opened = content.open(Column::Arguments, &sent).ok()?;
            serde_json::from_str::<Value>(&opened).ok()
        });
        if sent.as_ref() == Some(arguments) {
            return lost::job(queue, &row).await.map(Some);
        }
    }
    Ok(None)
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
