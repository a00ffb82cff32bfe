//! People who have signed in. A note belongs to a `sub` and needs no row here, so the table says who
//! somebody is, never what they may do.

use chrono::{DateTime, Utc};
use entity::users::{ActiveModel, COLUMN, Column, Entity, Model};
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, ExprTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    sea_query::{Expr, Func, OnConflict},
};

/// The most people of one name that [`named`] gives: more than one is rare already.
const MAX_NAMED: u64 = 20;

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The identity, which stays the same when names change.
    pub user: UserId,
    /// The name to sign in with, as it is now.
    pub login: String,
    /// The name to be called by, as it is now.
    pub display_name: Option<String>,
}

/// Remembers a sign-in: makes the person's row at the first one, brings their names up to date at
/// later ones.
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

/// Notes that a person may not come in. Makes the person's row if there is none. Says whether they
/// could come in before.
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
    let once = OnConflict::column(Column::Sub)
        .update_column(Column::BlockedAt)
        .action_and_where(Expr::col((Entity, Column::BlockedAt)).is_null())
        .to_owned();
    let blocked = Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok(blocked > 0)
}

/// Keeps the organization in which a person's membership was found.
pub(crate) async fn is_member_of(
    db: &impl ConnectionTrait,
    user: &UserId,
    org: Option<&str>,
) -> Result<(), Failure> {
    Entity::update_one_of(user.as_str())
        .col_expr(Column::GateOrg, Expr::value(org.map(str::to_owned)))
        .exec(db)
        .await?;
    Ok(())
}

/// The number that GitHub knows a person by, if their identity is GitHub's.
pub fn github_id(user: &UserId) -> Option<i64> {
    user.as_str().strip_prefix("github:")?.parse().ok()
}

/// Notes that a person used the server, without going back in time. Says whether there is such a
/// person.
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

/// The people who sign in, or once did, under a name: a login, in any case, or an identity such as
/// `github:583231`. A login can be several people's, one after the other.
pub async fn named(db: &impl ConnectionTrait, name: &str) -> Result<Vec<Model>, Failure> {
    let login = Expr::expr(Func::lower(Expr::col(Column::Login))).eq(name.to_lowercase());
    let named = Condition::any().add(COLUMN.sub.eq(name)).add(login);
    Ok(Entity::find().filter(named).order_by_asc(Column::Sub).limit(MAX_NAMED).all(db).await?)
}

/// What is known about a person.
pub async fn get(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(user.as_str()).one(db).await?)
}
