//! Revoking grants: by the client (RFC 7009), the user, an operator, or because of suspected theft
//! or the access policy.
//!
//! A revocation is one statement on the grant's row. It takes effect on refresh tokens at once,
//! since they are exchanged under a lock on that row; access tokens are refused by every instance
//! that has learned of it ([`super::revoked`]). Jobs that were started under the grant end
//! ([`Dependents::access_ended`](crate::Dependents::access_ended)), and links to exports that were
//! made under it stop working ([`super::access`]).
//!
//! If the reason concerns the user rather than one app, all other access of the user ends too: see
//! [`Reason::ends_all_access`].

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use entity::{
    ClientId, GrantId, Kid, oauth_codes,
    oauth_grants::{COLUMN, Column, Entity, Model},
    oauth_refresh_tokens,
};
use mcp::{Signal, UserId};
use platform::db::{self, Failure};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, UpdateMany,
    sea_query::Expr,
};

use super::{
    access,
    access_token::TokenError,
    audit::{self, Event, RequestInfo},
    client::Client,
    grant::Reason,
    token_format::PlainToken,
};
use crate::server::{EndedAccess, Server};

/// The maximum number of signals that one revocation publishes. Instances that miss a signal find
/// the revocation in the database within seconds.
const MAX_SIGNALS: usize = 100;

/// Why a client's revocation request failed.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The token was issued to another client, and stays valid.
    #[error("the token was issued to another client")]
    OtherClient,
    /// A dependency failed, and nothing was revoked. The same request may succeed later.
    #[error("the token cannot be looked up at the moment")]
    Unavailable(#[from] Failure),
}

/// Revokes the grant of an access token or refresh token (RFC 7009), and with it every token of the
/// grant. A token that is unknown or already invalid counts as revoked.
///
/// The format of a token shows its kind, so a hint is not needed. A refresh token that was already
/// exchanged is accepted, too: the client wants the access to end.
pub async fn token(
    server: &Server,
    client: &Client,
    token: &str,
    request: &RequestInfo,
) -> Result<(), RevokeError> {
    let grant = match PlainToken::parse(token) {
        Some(token) => grant_of_refresh_token(server, client, &token, request).await?,
        None => grant_of_access_token(server, client, token, request).await?,
    };
    if let Some(grant) = grant {
        self::grant(server, grant, Reason::Client, request).await?;
    }
    Ok(())
}

/// Revokes one grant. Returns whether it was still live.
pub async fn grant(
    server: &Server,
    grant: GrantId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    let which = Which::Grants(Box::new(Entity::update_many().filter(COLUMN.id.eq(grant))));
    Ok(!revoke(server, which, reason, request).await?.is_empty())
}

/// Revokes one grant, if it belongs to this user. Returns whether it was still live.
pub async fn owned(
    server: &Server,
    owner: &UserId,
    grant: GrantId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    let which = Which::Grants(Box::new(Entity::update_owned(owner.as_str(), grant)));
    Ok(!revoke(server, which, reason, request).await?.is_empty())
}

/// Revokes all grants of a user, and deletes the codes that could become one. Returns the revoked
/// grants. Some reasons end all other access of the user as well: [`Reason::ends_all_access`].
pub async fn user(
    server: &Server,
    user: &UserId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<Vec<GrantId>, Failure> {
    revoke(server, Which::User(user), reason, request).await
}

/// Revokes all grants of a client, and deletes the codes that could become one. Returns the revoked
/// grants.
pub async fn client(
    server: &Server,
    client: &ClientId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<Vec<GrantId>, Failure> {
    let which = Which::Client(client);
    revoke(server, which, reason, request).await
}

/// Revokes a signing key, and ends everything that was started with tokens that it signed: open
/// streams, jobs, and links to exports. Apps stay connected: they refresh and get new tokens.
/// Returns whether there was such a key to revoke.
pub async fn key(server: &Server, kid: &Kid, request: &RequestInfo) -> Result<bool, Failure> {
    if !server.keys().revoke(kid, request).await? {
        return Ok(false);
    }
    server.revoked().distrust(kid.clone());
    server.changed(vec![Signal::KeyRevoked { key: kid.to_string() }]).await;
    end_dependents(server, EndedAccess::OfKey(kid.clone())).await;
    Ok(true)
}

/// A committed revocation, for [`notify`].
pub(super) struct Ended<'a> {
    pub(super) at: DateTime<Utc>,
    pub(super) grants: &'a [Model],
    /// The user whose access was ended as a whole.
    pub(super) user: Option<&'a UserId>,
}

/// Informs this instance, and then the others, of a revocation, and ends the jobs that were started
/// under it. Call after the commit.
pub(super) async fn notify(server: &Server, Ended { at, grants, user }: Ended<'_>) {
    let mut signals = Vec::new();
    if let Some(user) = user {
        server.revoked().cut_off(user.clone(), at);
        signals.push(Signal::CutOff { user: user.clone(), at: at.timestamp_micros() });
    }
    for grant in grants {
        server.revoked().insert(grant.id, at);
    }
    let first = grants.iter().take(MAX_SIGNALS);
    signals.extend(first.map(|grant| Signal::Revoked { grant: grant.id.to_string() }));
    if !signals.is_empty() {
        server.changed(signals).await;
    }
    let ended = match user {
        Some(user) => EndedAccess::OfPerson(user.clone()),
        None if grants.is_empty() => return,
        None => EndedAccess::OfGrants(
            grants.iter().map(|grant| (grant.user_sub.clone(), grant.id)).collect(),
        ),
    };
    end_dependents(server, ended).await;
}

/// Stops the jobs that run with access that has ended. If this fails, workers notice at the claim
/// of a job, and at each heartbeat.
async fn end_dependents(server: &Server, ended: EndedAccess) {
    if let Err(error) = server.dependents().access_ended(ended).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not end the jobs of revoked access; workers stop them at the next heartbeat"
        );
    }
}

/// Revokes one grant within a larger transaction. Returns the grant, or `None` if it was no longer
/// live.
pub(super) async fn one(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    grant: GrantId,
    reason: Reason,
) -> Result<Option<Model>, Failure> {
    let which = Entity::update_many().filter(COLUMN.id.eq(grant));
    Ok(all(db, now, which, reason).await?.pop())
}

/// Revokes all grants of a user within a larger transaction, and returns those that were still
/// live.
///
/// Codes are deleted first: a concurrent redemption holds the lock on its code's row, so once the
/// code is deleted, the grant exists and is revoked here.
pub(super) async fn all_of(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    user: &UserId,
    reason: Reason,
) -> Result<Vec<Model>, Failure> {
    oauth_codes::Entity::delete_owned_by(user.as_str()).exec(db).await?;
    if reason.ends_all_access() {
        access::cut_off(db, now, user, reason).await?;
    }
    all(db, now, Entity::update_owned_by(user.as_str()), reason).await
}

/// Revokes all grants of a client within a larger transaction, and returns those that were still
/// live.
pub(super) async fn all_of_client(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    client: &ClientId,
    reason: Reason,
) -> Result<Vec<Model>, Failure> {
    oauth_codes::Entity::delete_many()
        .filter(oauth_codes::COLUMN.client_id.eq(client.clone()))
        .exec(db)
        .await?;
    let which = Entity::update_many().filter(COLUMN.client_id.eq(client.clone()));
    all(db, now, which, reason).await
}

async fn all(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    which: UpdateMany<Entity>,
    reason: Reason,
) -> Result<Vec<Model>, Failure> {
    let revoked = which
        .col_expr(Column::RevokedAt, Expr::value(now))
        .col_expr(Column::RevokedReason, Expr::value(reason.as_str()))
        .col_expr(Column::EndsAt, Expr::value(now))
        .filter(COLUMN.revoked_at.is_null())
        // A grant that has expired needs no revocation, and its clean-up must not be delayed.
        .filter(Column::EndsAt.gt(now))
        .exec_with_returning(db)
        .await?;
    Ok(revoked)
}

/// Which grants to revoke.
enum Which<'a> {
    User(&'a UserId),
    Client(&'a ClientId),
    Grants(Box<UpdateMany<Entity>>),
}

async fn revoke(
    server: &Server,
    which: Which<'_>,
    reason: Reason,
    request: &RequestInfo,
) -> Result<Vec<GrantId>, Failure> {
    let now = server.clock().now();
    let transaction = db::begin(server.db()).await?;
    let mut ended_user = None;
    let revoked = match which {
        Which::User(user) => {
            ended_user = Some(user).filter(|_| reason.ends_all_access());
            all_of(&transaction, now, user, reason).await?
        }
        Which::Client(client) => all_of_client(&transaction, now, client, reason).await?,
        Which::Grants(which) => all(&transaction, now, *which, reason).await?,
    };
    let event = revoked.first().map(|first| event(&revoked, first, reason, request));
    if let Some(event) = &event {
        audit::write(&transaction, now, event).await?;
    }
    transaction.commit().await?;
    if let Some(event) = event {
        event.log();
    }
    notify(server, Ended { at: now, grants: &revoked, user: ended_user }).await;
    Ok(revoked.iter().map(|it| it.id).collect())
}

/// Builds one audit event for all revoked grants. It names the user and the client if they are the
/// same for all grants.
fn event(revoked: &[Model], first: &Model, reason: Reason, request: &RequestInfo) -> Event {
    let kind = match reason {
        Reason::PolicyDenied(_) => audit::Kind::PolicyDenied,
        _ => audit::Kind::GrantRevoked,
    };
    let mut event = Event::new(kind, request);
    if revoked.iter().all(|it| it.user_sub == first.user_sub) {
        event = event.user(&UserId::new(first.user_sub.as_str()));
    }
    if revoked.iter().all(|it| it.client_id == first.client_id) {
        event = event.client(&first.client_id);
    }
    match revoked {
        [only] => event.grant(only.id).detail(reason.to_string()),
        several => event.detail(format!("{reason}, {} grants", several.len())),
    }
}

async fn grant_of_refresh_token(
    server: &Server,
    client: &Client,
    token: &PlainToken,
    request: &RequestInfo,
) -> Result<Option<GrantId>, RevokeError> {
    let found = oauth_refresh_tokens::Entity::find_by_id(token.hash())
        .one(server.db())
        .await
        .map_err(Failure::from)?;
    let Some(token) = found else {
        return Ok(None);
    };
    let grant = Entity::find_by_id(token.grant_id).one(server.db()).await.map_err(Failure::from)?;
    if let Some(grant) = &grant {
        request.log_context.set_user(&grant.user_sub);
    }
    match grant {
        Some(grant) if grant.client_id != client.id => Err(RevokeError::OtherClient),
        grant => Ok(grant.map(|it| it.id)),
    }
}

async fn grant_of_access_token(
    server: &Server,
    client: &Client,
    token: &str,
    request: &RequestInfo,
) -> Result<Option<GrantId>, RevokeError> {
    let verified = server.tokens().verify(token).await;
    if let Ok(claims) = &verified {
        request.log_context.set_user(claims.user.as_str());
    }
    match verified {
        Ok(claims) if *claims.client != *client.id.as_str() => Err(RevokeError::OtherClient),
        // A token without a grant was issued by an operator, and stays valid until it expires.
        Ok(claims) => Ok(claims.session_id.parse().ok()),
        Err(TokenError::Unavailable) => {
            let failure = anyhow!("the token to revoke could not be verified");
            Err(Failure::Internal(failure).into())
        }
        Err(TokenError::Malformed | TokenError::Invalid(_) | TokenError::Expired) => Ok(None),
    }
}
