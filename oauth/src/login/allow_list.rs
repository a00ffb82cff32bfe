//! Enforces a shortened list of allowed users for those who were admitted before.
//!
//! The list is configuration: it changes when an instance starts. So each instance checks the users
//! when it starts, before it serves requests, and ends all access of those who are not on its list.
//! The result is written to the database, so it applies everywhere, also to instances that still
//! have the longer list and to workers that have none.
//!
//! During a deploy, the instances' lists differ. A user whom another instance has admitted since
//! this one started may be on a newer list, so that decision is valid for as long as any other
//! ([`POLICY_RECHECK_AFTER`]).

use entity::{access_cutoffs, login_pins, users as users_table};
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Alias, Expr, ExprTrait as _, Func, Query, SimpleExpr},
};

use super::{
    policy::{AccessPolicy, DenialReason, pins},
    provider::IdentityProvider,
    users,
};
use crate::{
    audit::RequestInfo, grant::Reason, refresh::POLICY_RECHECK_AFTER, revoke, server::Server,
};

/// The maximum number of users whose access one call of [`enforce`] ends.
pub const BATCH: u64 = 500;

/// Ends all access of users who are not on the list of their provider, if it has one. Returns how
/// many: repeat the call while it returns [`BATCH`], and later, for users whom an instance with
/// another list admits.
pub async fn enforce(server: &Server) -> Result<u64, Failure> {
    let mut ended = 0;
    for provider in server.providers() {
        match enforce_list_of(server, &**provider).await? {
            BATCH => return Ok(BATCH),
            fewer => ended += fewer,
        }
    }
    Ok(ended)
}

async fn enforce_list_of(server: &Server, provider: &dyn IdentityProvider) -> Result<u64, Failure> {
    let policy = provider.policy();
    if policy.logins.is_empty() {
        return Ok(0);
    }
    let unlisted: Vec<String> = users_table::Entity::find()
        .select_only()
        .column(users_table::Column::Sub)
        .filter(not_listed(provider.id(), policy))
        .filter(not_recently_admitted(server))
        .filter(Expr::exists(cut_off_since()).not())
        .order_by_asc(users_table::Column::Sub)
        .limit(BATCH)
        .into_tuple()
        .all(server.db())
        .await?;
    for sub in &unlisted {
        let reason = Reason::PolicyDenied(DenialReason::NotListed);
        tracing::info!(user = sub, "Ending the access of {sub}, who is no longer on the list");
        revoke::user(server, &UserId::new(sub.as_str()), reason, &RequestInfo::none()).await?;
    }
    Ok(u64::try_from(unlisted.len()).unwrap_or(u64::MAX))
}

/// Builds the condition for users of a provider who are on the list neither by subject nor by a
/// login that is pinned to their subject.
fn not_listed(provider: &str, policy: &AccessPolicy) -> Condition {
    use login_pins::{Column, Entity};

    let keys = policy.listed_logins().map(|login| pins::key(provider, login));
    let pinned_to = Func::coalesce([
        Expr::col((Entity, Column::ProviderSubject)),
        Expr::col((Entity, Column::GithubId)).cast_as(Alias::new("text")),
    ]);
    let subject = || Expr::col((users_table::Entity, users_table::Column::ProviderSubject));
    let pinned = Query::select()
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::Provider)).eq(provider))
        .and_where(Expr::col((Entity, Column::Login)).is_in(keys))
        .and_where(Expr::expr(pinned_to).eq(subject()))
        .take();
    Condition::all()
        .add(users_table::Column::Provider.eq(provider))
        .add(users::not_blocked())
        .add(subject().is_not_in(policy.listed_subjects()))
        .add(Expr::exists(pinned).not())
}

/// Builds the condition for users whom no other instance, with a newer list, may have admitted
/// since this one started.
fn not_recently_admitted(server: &Server) -> Condition {
    let now = server.clock().now();
    Condition::any()
        .add(users_table::COLUMN.gate_checked_at.is_null())
        .add(users_table::COLUMN.gate_checked_at.lte(server.started_at()))
        .add(users_table::COLUMN.gate_checked_at.lte(now - POLICY_RECHECK_AFTER))
}

/// Selects a cutoff of the user since they were last admitted. If there is one, all their access
/// has already ended.
fn cut_off_since() -> sea_orm::sea_query::SelectStatement {
    use access_cutoffs::{Column, Entity};

    let admitted_at: SimpleExpr = Func::coalesce([
        Expr::col((users_table::Entity, users_table::Column::GateCheckedAt)),
        Expr::col((users_table::Entity, users_table::Column::LastSeenAt)),
    ])
    .into();
    Query::select()
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(
            Expr::col((Entity, Column::UserSub))
                .equals((users_table::Entity, users_table::Column::Sub)),
        )
        .and_where(Expr::col((Entity, Column::CutoffAt)).gte(admitted_at))
        .take()
}
