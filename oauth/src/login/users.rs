//! Users who have signed in, or were blocked. Data of a user belongs to a `sub` and needs no row
//! here. A row has the user's names, whether an operator has blocked the user, and the last result
//! of the access policy.

use chrono::{DateTime, Utc};
use entity::users::{ActiveModel, COLUMN, Column, Entity, Model};
use mcp::UserId;
use platform::db::{Failure, Transaction};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, ExprTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    sea_query::{Expr, Func, LockType, OnConflict, SimpleExpr},
};

/// The maximum number of users that [`named`] returns for a name. More than one is already rare.
const MAX_NAMED: u64 = 20;

/// The user data of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The identity, which stays the same when names change.
    pub user: UserId,
    /// The current login name.
    pub login: String,
    /// The current display name.
    pub display_name: Option<String>,
}

/// Stores a sign-in: inserts the user's row at the first one, and updates the names at later ones.
pub async fn upsert(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    sign_in: SignIn,
) -> Result<(), Failure> {
    let row = ActiveModel {
        sub: Set(sign_in.user.as_str().to_owned()),
        login: Set(sign_in.login),
        display_name: Set(sign_in.display_name),
        created_at: Set(now),
        last_seen_at: Set(now),
        github_id: Set(github_id(&sign_in.user)),
        ..Default::default()
    };
    let on_conflict = OnConflict::column(Column::Sub)
        .update_columns([Column::Login, Column::DisplayName, Column::LastSeenAt])
        .to_owned();
    Entity::insert(row).on_conflict(on_conflict).exec_without_returning(db).await?;
    Ok(())
}

/// Blocks a user. Inserts the user's row if there is none. Returns whether the user was not blocked
/// before.
pub(crate) async fn block(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    user: &UserId,
) -> Result<bool, Failure> {
    let row = ActiveModel {
        sub: Set(user.as_str().to_owned()),
        login: Set(user.as_str().to_owned()),
        created_at: Set(now),
        last_seen_at: Set(now),
        github_id: Set(github_id(user)),
        blocked_at: Set(Some(now)),
        ..Default::default()
    };
    let on_conflict = OnConflict::column(Column::Sub)
        .update_column(Column::BlockedAt)
        .action_and_where(not_blocked())
        .to_owned();
    let blocked = Entity::insert(row).on_conflict(on_conflict).exec_without_returning(db).await?;
    Ok(blocked > 0)
}

/// Stores the rules at the provider that the user satisfies
/// ([`AccessPolicy::remote_rules`](super::policy::AccessPolicy::remote_rules)).
pub(crate) async fn set_policy_rules(
    db: &impl ConnectionTrait,
    user: &UserId,
    rules: Option<&str>,
) -> Result<(), Failure> {
    Entity::update_by_sub(user.as_str())
        .col_expr(Column::GateOrg, Expr::value(rules.map(str::to_owned)))
        .exec(db)
        .await?;
    Ok(())
}

/// Splits an identity into the id of the identity provider and the subject there. `None`: it has
/// no provider.
pub fn provider_and_subject(user: &UserId) -> Option<(&str, &str)> {
    user.as_str().split_once(':')
}

/// Returns the value of `users.github_id`, which only the earlier version of the program reads.
fn github_id(user: &UserId) -> Option<i64> {
    let (provider, subject) = provider_and_subject(user)?;
    (provider == "github").then(|| subject.parse().ok()).flatten()
}

/// Returns whether an operator has blocked a user. This, [`not_blocked`] and [`BLOCKED`] are the
/// only places that decide it.
pub fn is_blocked(user: &Model) -> bool {
    user.blocked_at.is_some()
}

/// Returns whether a user exists and is not blocked.
pub(crate) async fn is_active(db: &impl ConnectionTrait, user: &str) -> Result<bool, Failure> {
    let user = Entity::find_by_id(user).one(db).await?;
    Ok(user.is_some_and(|user| !is_blocked(&user)))
}

/// Returns whether a user exists and is not blocked, and locks the user's row against deletion
/// until the transaction ends. If the user deletes the account while a client redeems a code,
/// either the user's row is already gone, or the deletion waits until it can see, and revoke, the
/// new grant.
pub(crate) async fn lock_active(transaction: &Transaction, user: &str) -> Result<bool, Failure> {
    let user = Entity::find_by_id(user).lock(LockType::KeyShare).one(transaction).await?;
    Ok(user.is_some_and(|user| !is_blocked(&user)))
}

/// Returns whether a user exists and is not blocked, and locks the user's row until the transaction
/// ends, also against other calls of this function: what concurrent transactions check and create for
/// the user, they do one after the other.
pub(crate) async fn lock_active_exclusively(
    transaction: &Transaction,
    user: &str,
) -> Result<bool, Failure> {
    let user = Entity::find_by_id(user).lock(LockType::NoKeyUpdate).one(transaction).await?;
    Ok(user.is_some_and(|user| !is_blocked(&user)))
}

/// The condition of [`is_blocked`], as SQL about a row of `users`.
pub(crate) const BLOCKED: &str = "blocked_at IS NOT NULL";

/// Builds the condition of [`is_blocked`] for queries.
pub(crate) fn blocked() -> SimpleExpr {
    Expr::col((Entity, Column::BlockedAt)).is_not_null()
}

/// Builds the condition for users who are not blocked.
pub(crate) fn not_blocked() -> SimpleExpr {
    blocked().not()
}

/// Stores when a user last used the server. Never moves the time backwards. Returns whether the
/// user exists.
pub async fn seen(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    user: &UserId,
) -> Result<bool, Failure> {
    let updated = Entity::update_many()
        .col_expr(Column::LastSeenAt, Expr::value(now))
        .filter(COLUMN.sub.eq(user.as_str()))
        .filter(Column::LastSeenAt.lt(now))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0 || get(db, user).await?.is_some())
}

/// Finds users by a name: the login name of their last sign-in (case-insensitive), or an identity
/// such as `github:583231`. Several users can have had the same login, one after the other.
pub async fn named(db: &impl ConnectionTrait, name: &str) -> Result<Vec<Model>, Failure> {
    let login = Expr::expr(Func::lower(Expr::col(Column::Login))).eq(name.to_lowercase());
    let named = Condition::any().add(COLUMN.sub.eq(name)).add(login);
    Ok(Entity::find().filter(named).order_by_asc(Column::Sub).limit(MAX_NAMED).all(db).await?)
}

/// Finds a user. `Ok(None)`: no such user.
pub async fn get(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(user.as_str()).one(db).await?)
}
