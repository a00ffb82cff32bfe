//! Ending grants before their time: by the client (RFC 7009), the person, an operator, or because
//! something is wrong.
//!
//! A revocation is a statement on the grant's row. Refresh tokens see it at once, since they are
//! exchanged under a lock on that row; access tokens are refused by every instance that has heard
//! of it ([`super::revoked`]). Jobs that were started under the grant end ([`Dependents::access_ended`](crate::Dependents::access_ended)), and
//! links to exports that were made under it stop working ([`super::access`]).
//!
//! Where the person is the reason, and not one app, everything else of theirs ends too: see
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

/// The most signals that one revocation sends. Whoever hears none asks within seconds anyway.
const MAX_SIGNALS: usize = 100;

/// Why a client could not give a token back.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The token is another client's, and stays valid.
    #[error("the token was issued to another client")]
    OtherClient,
    /// Nothing was revoked: the same request may succeed later.
    #[error("the token cannot be looked up at the moment")]
    Unavailable(#[from] Failure),
}

/// Takes a token back, of either kind, and with it everything that came from the same sign-in. A
/// token that is worth nothing already, or never was, is as good as revoked.
///
/// What kind of token it is shows in its text, so a hint is not needed. A refresh token counts also
/// if it was used: whoever gives one back wants the access to end.
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

/// Revokes one grant. Says whether it was still good.
pub async fn grant(
    server: &Server,
    grant: GrantId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    let which = Which::Grants(Box::new(Entity::update_many().filter(COLUMN.id.eq(grant))));
    Ok(!revoke(server, which, reason, request).await?.is_empty())
}

/// Revokes one grant, if it is this person's. Says whether it was still good.
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

/// Revokes all grants of a person, and the codes that could become one. Gives the grants. Some
/// reasons end all other access of the person as well: [`Reason::ends_all_access`].
pub async fn user(
    server: &Server,
    user: &UserId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<Vec<GrantId>, Failure> {
    revoke(server, Which::Person(user), reason, request).await
}

/// Revokes all grants of a client, and the codes that could become one. Gives the grants.
pub async fn client(
    server: &Server,
    client: &ClientId,
    reason: Reason,
    request: &RequestInfo,
) -> Result<Vec<GrantId>, Failure> {
    let which = Which::Client(client);
    revoke(server, which, reason, request).await
}

/// Ends the trust in a signing key, and everything that was started with tokens that it signed: open
/// streams, jobs, and links to exports. Apps stay connected: they get new tokens by themselves. Says
/// whether there was such a key to revoke.
pub async fn key(server: &Server, kid: &Kid, request: &RequestInfo) -> Result<bool, Failure> {
    if !server.keys().revoke(kid, request).await? {
        return Ok(false);
    }
    server.revoked().distrust(kid.clone());
    server.changed(vec![Signal::KeyRevoked { key: kid.to_string() }]).await;
    end_dependents(server, EndedAccess::OfKey(kid.clone())).await;
    Ok(true)
}

/// What follows from a committed revocation.
pub(super) struct Ended<'a> {
    pub(super) at: DateTime<Utc>,
    pub(super) grants: &'a [Model],
    /// The person whose access was ended as a whole.
    pub(super) person: Option<&'a UserId>,
}

/// Tells this instance, and then the others, what was revoked, and ends the jobs that were started
/// under it. Follows the commit.
pub(super) async fn tell(server: &Server, Ended { at, grants, person }: Ended<'_>) {
    let mut signals = Vec::new();
    if let Some(user) = person {
        server.revoked().cut_off(user.clone(), at);
        signals.push(Signal::CutOff { user: user.clone(), at: at.timestamp_micros() });
    }
    for grant in grants {
        server.revoked().insert(grant.id, at);
    }
    let some = grants.iter().take(MAX_SIGNALS);
    signals.extend(some.map(|it| Signal::Revoked { grant: it.id.to_string() }));
    if !signals.is_empty() {
        server.changed(signals).await;
    }
    let whose = match person {
        Some(user) => EndedAccess::OfPerson(user.clone()),
        None if grants.is_empty() => return,
        None => EndedAccess::OfGrants(
            grants.iter().map(|grant| (grant.user_sub.clone(), grant.id)).collect(),
        ),
    };
    end_dependents(server, whose).await;
}

/// Ends what runs with access that has ended. If this fails, workers notice when they claim a job, and
/// at each heartbeat.
async fn end_dependents(server: &Server, whose: EndedAccess) {
    if let Err(error) = server.dependents().access_ended(whose).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not end the jobs of revoked access yet: {error}"
        );
    }
}

/// Revokes one grant as a part of something else. Gives it if it was still good.
pub(super) async fn one(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    grant: GrantId,
    reason: Reason,
) -> Result<Option<Model>, Failure> {
    let which = Entity::update_many().filter(COLUMN.id.eq(grant));
    Ok(all(db, now, which, reason).await?.pop())
}

/// Revokes all grants of a person as a part of something else, and gives those that were still
/// good.
///
/// Codes go first: somebody who redeems one at this moment holds its row, so once it is gone the
/// grant is there to be revoked.
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

/// The same for all grants of a client.
async fn all_of_client(
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
        // What has ended by itself needs no revocation, and no clean-up later than it was due.
        .filter(Column::EndsAt.gt(now))
        .exec_with_returning(db)
        .await?;
    Ok(revoked)
}

/// Which grants to revoke.
enum Which<'a> {
    Person(&'a UserId),
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
    let mut person = None;
    let revoked = match which {
        Which::Person(user) => {
            person = Some(user).filter(|_| reason.ends_all_access());
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
    tell(server, Ended { at: now, grants: &revoked, person }).await;
    Ok(revoked.iter().map(|it| it.id).collect())
}

/// One event, however many grants: it names what they have in common.
fn event(revoked: &[Model], first: &Model, reason: Reason, request: &RequestInfo) -> Event {
    let kind = match reason {
        Reason::Gate(_) => audit::Kind::GateClosed,
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
        request.parties.set_user(&grant.user_sub);
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
        request.parties.set_user(claims.user.as_str());
    }
    match verified {
        Ok(claims) if *claims.client != *client.id.as_str() => Err(RevokeError::OtherClient),
        // A token without a grant was minted by hand, and lives until it expires.
        Ok(claims) => Ok(claims.session_id.parse().ok()),
        Err(TokenError::Unavailable) => {
            let failure = anyhow!("a token that was to be revoked could not be verified");
            Err(Failure::Internal(failure).into())
        }
        Err(TokenError::Malformed | TokenError::Invalid(_) | TokenError::Expired) => Ok(None),
    }
}
