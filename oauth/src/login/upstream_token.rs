//! Stored tokens of users at identity providers, with which the access policy is rechecked:
//! encrypted, one per user, and only while a rule is configured that the provider has to answer.

use entity::upstream_tokens::{ActiveModel, Column, Entity};
use mcp::UserId;
use platform::{db::Failure, secret::Secret};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, Set,
    sea_query::{Expr, OnConflict},
};

use super::users;
use crate::{data_keys::CannotOpen, server::Server};

/// Stores a user's token, encrypted. `None`: deletes the stored one.
pub(crate) async fn keep(
    db: &impl ConnectionTrait,
    server: &Server,
    user: &UserId,
    token: Option<&Secret>,
) -> Result<(), Failure> {
    let Some(token) = token else {
        Entity::delete_by_id(user.as_str()).exec(db).await?;
        return Ok(());
    };
    let sealed =
        server.settings().data_keys.seal(&purpose(user), token.expose()).ok_or_else(|| {
            Failure::Internal(anyhow::anyhow!("no key to encrypt the upstream token with"))
        })?;
    let row = ActiveModel {
        user_sub: Set(user.as_str().to_owned()),
        sealed: Set(sealed),
        updated_at: Set(server.clock().now()),
    };
    let on_conflict = OnConflict::column(Column::UserSub)
        .update_columns([Column::Sealed, Column::UpdatedAt])
        .to_owned();
    Entity::insert(row).on_conflict(on_conflict).exec_without_returning(db).await?;
    Ok(())
}

/// The stored token of a user.
pub(crate) enum StoredToken {
    /// The decrypted token.
    Token(UpstreamToken),
    /// No token is stored.
    Missing,
    /// The stored value is damaged.
    Damaged,
    /// The token is encrypted with a key that is not configured here.
    Unreadable,
}

/// A decrypted token.
pub(crate) struct UpstreamToken {
    /// The token.
    pub(crate) secret: Secret,
    /// The stored value, for [`replace`].
    pub(crate) sealed: Vec<u8>,
}

/// Returns the stored token of a user, decrypted.
pub(crate) async fn get(server: &Server, user: &UserId) -> Result<StoredToken, Failure> {
    let row = Entity::find_by_id(user.as_str()).one(server.db()).await?;
    let Some(row) = row else {
        return Ok(StoredToken::Missing);
    };
    let keys = &server.settings().data_keys;
    match keys.open(&purpose(user), &row.sealed) {
        Ok(secret) => {
            // Encrypted again with the first key, so that the key that it was encrypted with can be
            // removed.
            let sealed = if keys.is_current(&row.sealed) {
                row.sealed
            } else {
                replace(server, user, row.sealed, &secret).await?
            };
            Ok(StoredToken::Token(UpstreamToken { secret, sealed }))
        }
        Err(error) => {
            tracing::error!(
                user = user.as_str(), %error,
                "Could not decrypt the upstream token of {user}"
            );
            Ok(match error {
                CannotOpen::UnknownKey => StoredToken::Unreadable,
                CannotOpen::Damaged => StoredToken::Damaged,
            })
        }
    }
}

/// Stores a token in place of the stored value `stale`, encrypted with the first key, and returns the
/// new value. Does not change a token that was replaced concurrently, as by a sign-in.
pub(crate) async fn replace(
    server: &Server,
    user: &UserId,
    stale: Vec<u8>,
    token: &Secret,
) -> Result<Vec<u8>, Failure> {
    let Some(sealed) = server.settings().data_keys.seal(&purpose(user), token.expose()) else {
        return Ok(stale);
    };
    Entity::update_many()
        .col_expr(Column::Sealed, Expr::value(sealed.clone()))
        .filter(Column::UserSub.eq(user.as_str()))
        .filter(Column::Sealed.eq(stale))
        .exec(server.db())
        .await?;
    Ok(sealed)
}

/// Returns the associated data of the encryption, which binds the token to one user.
fn purpose(user: &UserId) -> String {
    let provider = users::provider_and_subject(user).map_or("", |(provider, _)| provider);
    format!("{provider}-token/v1|{user}")
}
