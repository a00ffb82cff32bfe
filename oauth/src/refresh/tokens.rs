//! The rows of refresh tokens.

use chrono::{DateTime, Utc};
use entity::oauth_refresh_tokens::{COLUMN, Column, Entity, Model};
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    sea_query::Expr,
};

use super::case::GRACE;
use crate::token_format::PlainToken;

/// Finds the row of a token. `Ok(None)`: the token does not exist.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    token: &PlainToken,
) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(token.hash()).one(db).await?)
}

/// Returns whether any later token of the grant was exchanged.
pub(super) async fn was_used_after(
    db: &impl ConnectionTrait,
    token: &Model,
) -> Result<bool, Failure> {
    let used = Entity::of(token.grant_id)
        .filter(COLUMN.generation.gt(token.generation))
        .filter(COLUMN.used_at.is_not_null())
        .count(db)
        .await?;
    Ok(used > 0)
}

/// Invalidates all later tokens of the grant, because the client never received them.
pub(super) async fn supersede_after(
    db: &impl ConnectionTrait,
    token: &Model,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    Entity::update_of(token.grant_id)
        .col_expr(Column::SupersededAt, Expr::value(now))
        .filter(COLUMN.generation.gt(token.generation))
        .filter(COLUMN.superseded_at.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes the encrypted successors of older tokens, which are no longer needed: a successor was
/// used, and [`GRACE`] has passed.
pub(super) async fn delete_old_seals(
    db: &impl ConnectionTrait,
    token: &Model,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    Entity::update_of(token.grant_id)
        .col_expr(Column::SuccessorSealed, Expr::value(None::<Vec<u8>>))
        .filter(COLUMN.generation.lt(token.generation))
        .filter(COLUMN.used_at.lt(now - GRACE))
        .filter(Column::SuccessorSealed.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}
