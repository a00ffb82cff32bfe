//! Completion of the ids and titles of notes.

use mcp::UserId;
use sea_orm::{
    Condition, ConnectionTrait, DbBackend, ExprTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, Func, SimpleExpr},
};
use uuid::Uuid;

use super::error::NotesError;
use crate::{
    entity::{Column, Entity},
    note_id::NoteId,
};

/// The maximum number of suggestions: the limit of MCP for one completion result.
pub const MAX_SUGGESTIONS: u64 = 100;

/// Suggests the ids of notes whose id begins with the typed text or whose title contains it, newest
/// first.
pub async fn complete_ids(
    db: &impl ConnectionTrait,
    owner: &UserId,
    typed: &str,
) -> Result<Vec<NoteId>, NotesError> {
    let mut matches = Condition::any().add(title_contains(db.get_database_backend(), typed));
    if let Some((first, last)) = id_range_of_prefix(typed) {
        matches = matches.add(Expr::col(Column::Id).between(first, last));
    }
    let ids = Entity::owned_by(owner.as_str())
        .filter(matches)
        .select_only()
        .column(Column::Id)
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(MAX_SUGGESTIONS)
        .into_tuple()
        .all(db)
        .await?;
    Ok(ids)
}

/// Suggests distinct titles that contain the typed text, ordered by the newest note with each
/// title.
pub async fn complete_titles(
    db: &impl ConnectionTrait,
    owner: &UserId,
    typed: &str,
) -> Result<Vec<String>, NotesError> {
    let titles = Entity::owned_by(owner.as_str())
        .filter(title_contains(db.get_database_backend(), typed))
        .select_only()
        .column(Column::Title)
        .group_by(Column::Title)
        .order_by_desc(Expr::col(Column::CreatedAt).max())
        .order_by_asc(Column::Title)
        .limit(MAX_SUGGESTIONS)
        .into_tuple()
        .all(db)
        .await?;
    Ok(titles)
}

/// Matches titles that contain the typed text, ignoring case as far as the database supports the
/// alphabet. Does not use `LIKE`, in which `%` and `_` are wildcards.
fn title_contains(backend: DbBackend, typed: &str) -> SimpleExpr {
    let position = if backend == DbBackend::Postgres { "strpos" } else { "instr" };
    // No title contains U+0000, and Postgres rejects it as a parameter.
    let typed = typed.replace('\0', "\u{fffd}");
    Expr::expr(Func::cust(position).args([
        SimpleExpr::from(Func::lower(Expr::col(Column::Title))),
        SimpleExpr::from(Func::lower(Expr::value(typed))),
    ]))
    .gt(0)
}

/// Returns the first and last id with this prefix. `None`: no id can have it.
fn id_range_of_prefix(typed: &str) -> Option<(NoteId, NoteId)> {
    const LOWEST: &str = "00000000-0000-0000-0000-000000000000";
    const HIGHEST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let complete = |rest: &str| {
        let rest = rest.get(typed.len()..)?;
        let id = Uuid::try_parse(&format!("{typed}{rest}")).ok()?;
        Some(NoteId(id))
    };
    Some((complete(LOWEST)?, complete(HIGHEST)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_names_a_range() {
        let (first, last) = id_range_of_prefix("0191E").unwrap();
        assert_eq!(first.to_string(), "0191e000-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "0191efff-ffff-ffff-ffff-ffffffffffff");
        assert!(id_range_of_prefix("").is_some());
        assert!(id_range_of_prefix("01234567-89").is_some());
        let too_long = "0".repeat(37);
        for none in ["x", "012345678", "0123456-", "{01", "ü", too_long.as_str()] {
            assert_eq!(id_range_of_prefix(none), None, "{none}");
        }
    }
}
