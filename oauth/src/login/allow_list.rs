//! Enforces a shortened `ALLOWED_GITHUB_LOGINS` for users who were admitted before.
//!
//! The list is configuration: it changes when an instance starts. So each instance checks the users
//! when it starts, before it serves requests, and ends all access of those who are not on its list.
//! The result is written to the database, so it applies everywhere, also to instances that still
//! have the longer list and to workers that have none.
//!
//! During a deploy, the instances' lists differ. A user whom another instance has admitted since
//! this one started may be on a newer list, so that decision is valid for as long as any other
//! ([`GATE_RECHECK_AFTER`]).

use entity::{access_cutoffs, login_pins, users};
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, Func, Query, SimpleExpr},
};

use crate::server::Server;
use crate::{
    audit::RequestInfo,
    gate::{Allowed, Closed, Rules},
    grant::Reason,
    refresh::GATE_RECHECK_AFTER,
    revoke,
};

/// The maximum number of users whose access one call of [`enforce`] ends.
pub const BATCH: u64 = 500;

/// Ends all access of users who are not on the list, if there is a list. Returns how many: repeat
/// the call while it returns [`BATCH`], and later, for users whom an instance with another list
/// admits.
pub async fn enforce(server: &Server) -> Result<u64, Failure> {
    let rules = &server.settings().gate;
    if rules.logins.is_empty() {
        return Ok(0);
    }
    let unlisted: Vec<String> = users::Entity::find()
        .select_only()
        .column(users::Column::Sub)
        .filter(not_listed(rules))
        .filter(asked_long_ago(server))
        .filter(Expr::exists(cut_off_since()).not())
        .order_by_asc(users::Column::Sub)
        .limit(BATCH)
        .into_tuple()
        .all(server.db())
        .await?;
    for sub in &unlisted {
        let reason = Reason::Gate(Closed::NotListed);
        tracing::info!(user = sub, "Ending the access of {sub}, who is no longer on the list");
        revoke::user(server, &UserId::new(sub.as_str()), reason, &RequestInfo::none()).await?;
    }
    Ok(u64::try_from(unlisted.len()).unwrap_or(u64::MAX))
}

/// The condition for GitHub users who are on the list neither by number nor by a login that is
/// pinned to their number.
fn not_listed(rules: &Rules) -> Condition {
    let (mut ids, mut logins) = (Vec::new(), Vec::new());
    for allowed in &rules.logins {
        match allowed {
            Allowed::Id(id) => ids.push(*id),
            Allowed::Login(login) => logins.push(login.clone()),
        }
    }
    let pinned = Query::select()
        .expr(Expr::val(1))
        .from(login_pins::Entity)
        .and_where(
            Expr::col((login_pins::Entity, login_pins::Column::GithubId))
                .equals((users::Entity, users::Column::GithubId)),
        )
        .and_where(Expr::col((login_pins::Entity, login_pins::Column::Login)).is_in(logins))
        .take();
    Condition::all()
        .add(users::COLUMN.github_id.is_not_null())
        .add(users::COLUMN.blocked_at.is_null())
        .add(users::Column::GithubId.is_not_in(ids))
        .add(Expr::exists(pinned).not())
}

/// The condition for users whom no other instance, with a newer list, may have admitted since this
/// one started.
fn asked_long_ago(server: &Server) -> Condition {
    let now = server.clock().now();
    Condition::any()
        .add(users::COLUMN.gate_checked_at.is_null())
        .add(users::COLUMN.gate_checked_at.lte(server.started_at()))
        .add(users::COLUMN.gate_checked_at.lte(now - GATE_RECHECK_AFTER))
}

/// Selects a cutoff since the user was last admitted: no access is left to end.
fn cut_off_since() -> sea_orm::sea_query::SelectStatement {
    use access_cutoffs::{Column, Entity};

    let came_in: SimpleExpr = Func::coalesce([
        Expr::col((users::Entity, users::Column::GateCheckedAt)),
        Expr::col((users::Entity, users::Column::LastSeenAt)),
    ])
    .into();
    Query::select()
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::UserSub)).equals((users::Entity, users::Column::Sub)))
        .and_where(Expr::col((Entity, Column::CutoffAt)).gte(came_in))
        .take()
}
