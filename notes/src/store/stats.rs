//! Statistics of the notes of a user.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, NaiveDate, NaiveTime};
use mcp::UserId;
use platform::db::{OneSearch, dialect, is_statement_timeout};
use schemars::JsonSchema;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult};
use serde::Serialize;

use super::{error::NotesError, quota};
use crate::State;

/// The default number of weeks, including the current one: half a year.
pub const DEFAULT_WEEKS: u64 = 26;

/// The maximum number of weeks: about two years, more than a chart can show.
pub const MAX_WEEKS: u64 = 104;

/// The number of tags.
const TAGS: i64 = 20;

/// Statistics of the notes of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stats {
    /// The number of notes.
    pub notes: u64,
    /// The size of their titles, tags and texts in bytes.
    pub bytes: u64,
    /// The maximum of both.
    pub quota: Quota,
    /// The weeks, the oldest first. The last one is the current week.
    pub weeks: Vec<Week>,
    /// The most frequent tags, at most 20, the most frequent first.
    pub tags: Vec<TagCount>,
}

/// How much a user may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Quota {
    /// The maximum number of notes.
    pub notes: u64,
    /// The maximum size in bytes.
    pub bytes: u64,
}

/// The notes that were created in one week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Week {
    /// The Monday on which the week begins (in UTC), such as `2026-11-30`.
    pub week: String,
    /// The number of notes created in it.
    pub notes: u64,
}

/// The notes with one tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct TagCount {
    /// The tag.
    pub tag: String,
    /// The number of notes that have it.
    pub notes: u64,
}

/// Returns the statistics of a user, with this number of weeks. It reads all tags of the user, so it
/// is limited like a search: one at a time for each user, and [`NotesError::TooCostly`] after the
/// time limit of a search.
pub async fn of_user(state: &State, owner: &UserId, weeks: u64) -> Result<Stats, NotesError> {
    let db = state.db_for(owner);
    let _permit = db.search_permit().await?;
    let used = quota::usage(&db, owner).await?;
    let limited = OneSearch::new(db, owner.as_str());
    let this_week = monday(state.clock().now().date_naive());
    let first = this_week - Days::new(7 * weeks.saturating_sub(1));
    let weeks = count_weeks(&limited, owner, first, weeks).await.map_err(failed)?;
    let tags = count_tags(&limited, owner).await.map_err(failed)?;
    let quota = state.quota();
    let quota = Quota { notes: quota.notes, bytes: quota.bytes };
    Ok(Stats { notes: used.notes, bytes: used.bytes, quota, weeks, tags })
}

fn failed(error: DbErr) -> NotesError {
    if is_statement_timeout(&error) { NotesError::TooCostly } else { error.into() }
}

/// Counts the notes that were created in each week from the one that begins on `first`.
async fn count_weeks(
    db: &impl ConnectionTrait,
    owner: &UserId,
    first: NaiveDate,
    weeks: u64,
) -> Result<Vec<Week>, DbErr> {
    // Times are stored as text on SQLite, which begins with the date.
    let day = match db.get_database_backend() {
        DbBackend::Postgres => "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        _ => "substr(created_at, 1, 10)",
    };
    let sql = format!(
        "SELECT {day} AS label, count(*) AS notes FROM notes
         WHERE owner_sub = $1 AND created_at >= $2 GROUP BY 1"
    );
    let start = first.and_time(NaiveTime::MIN).and_utc();
    let mut counts: BTreeMap<NaiveDate, u64> =
        (0..weeks).map(|week| (first + Days::new(7 * week), 0)).collect();
    for (day, notes) in
        counted(dialect::rows(db, sql, [owner.as_str().into(), start.into()]).await?)?
    {
        let Ok(day) = day.parse() else { continue };
        // The clock of another process may be ahead: a note of next week is not counted.
        if let Some(count) = counts.get_mut(&monday(day)) {
            *count += notes;
        }
    }
    let weeks = counts.into_iter();
    Ok(weeks.map(|(monday, notes)| Week { week: monday.to_string(), notes }).collect())
}

fn monday(day: NaiveDate) -> NaiveDate {
    day - Days::new(day.weekday().num_days_from_monday().into())
}

/// Counts the notes of the most frequent tags.
async fn count_tags(db: &impl ConnectionTrait, owner: &UserId) -> Result<Vec<TagCount>, DbErr> {
    let (each, label) = match db.get_database_backend() {
        DbBackend::Postgres => ("jsonb_array_elements_text(notes.tags) AS tag", "tag"),
        _ => ("json_each(notes.tags) AS tag", "tag.value"),
    };
    let sql = format!(
        "SELECT {label} AS label, count(*) AS notes FROM notes, {each}
         WHERE owner_sub = $1 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $2"
    );
    let rows = dialect::rows(db, sql, [owner.as_str().into(), TAGS.into()]).await?;
    Ok(counted(rows)?.into_iter().map(|(tag, notes)| TagCount { tag, notes }).collect())
}

/// Reads the columns `label` and `notes`.
fn counted(rows: Vec<QueryResult>) -> Result<Vec<(String, u64)>, DbErr> {
    let read = |row: QueryResult| -> Result<(String, u64), DbErr> {
        let notes: i64 = row.try_get("", "notes")?;
        Ok((row.try_get("", "label")?, u64::try_from(notes).unwrap_or(0)))
    };
    rows.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday() {
        for (day, expected) in [
            ("2026-11-30", "2026-11-30"),
            ("2026-12-06", "2026-11-30"),
            ("2026-01-01", "2025-12-29"),
        ] {
            assert_eq!(monday(day.parse().unwrap()).to_string(), expected);
        }
    }
}
