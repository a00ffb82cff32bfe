//! Access tokens that are issued at the token endpoint without a code: for client credentials
//! ([`crate::client_credentials`]) and for assertions of identity providers ([`crate::id_jag`]).
//!
//! Each token belongs to a grant, like that of a code, so that everything that ends access ends these
//! tokens, too: the account page, `/revoke`, `clients revoke` and `users block`. Tokens with the same
//! user, client, scope and grant type share a grant while it is live; concurrent requests create one,
//! because each of them holds a lock on the row of the user. There is no refresh token: the client sends
//! its credentials or an assertion again.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    Digest, GrantId,
    oauth_grants::{COLUMN, Column, Entity, Model},
};
use mcp::UserId;
use platform::db::{self, Failure, Transaction};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QuerySelect as _,
    sea_query::Expr,
};

use super::{
    access_token::MAX_CONFIGURED_TTL,
    audit::{self, Event, RequestInfo},
    client::{self, Client, ClientKind},
    dpop::Thumbprint,
    grant::{self, TokenSet},
    ids::uuid_at,
    login::users::{self, SignIn},
    scope::Scopes,
    service_client,
};
use crate::server::Server;

/// What a token is issued for.
pub(crate) struct DirectIssue<'a> {
    pub(crate) client: &'a Client,
    pub(crate) user: UserId,
    pub(crate) scope: Scopes,
    /// The grant type of the request.
    pub(crate) grant_type: &'static str,
    /// The user according to an identity provider, to be stored. `None`: the user's row exists.
    pub(crate) sign_in: Option<SignIn>,
    /// The kind of the audit event if the grant is new.
    pub(crate) new_grant: audit::Kind,
    /// The key to which the token is bound. Only the token: a grant without a refresh token is shared by
    /// tokens for several keys.
    pub(crate) dpop_key: Option<&'a Thumbprint>,
    /// The HTTP request, for logs and the audit log.
    pub(crate) request: &'a RequestInfo,
}

/// Why no token was issued.
#[derive(Debug)]
pub(crate) enum IssueError {
    /// The user is blocked or deleted.
    UserInactive,
    /// The client was revoked concurrently.
    ClientRevoked,
    /// A dependency failed. The same request may succeed later.
    Unavailable(Failure),
}

impl<E: Into<Failure>> From<E> for IssueError {
    fn from(error: E) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Issues a token, in a new or an existing grant.
pub(crate) async fn issue(server: &Server, new: DirectIssue<'_>) -> Result<TokenSet, IssueError> {
    // Before the transaction, which may hold the only connection.
    let minter = server.tokens().minter().await?;
    let now = server.clock().now();
    let transaction = db::begin(server.db()).await?;
    // Locked first, as when it is revoked: either the revocation sees the grant, or this sees the
    // revocation.
    if new.client.kind == ClientKind::Service
        && !service_client::lock_and_use(&transaction, now, &new.client.id).await?
    {
        return Err(IssueError::ClientRevoked);
    }
    if let Some(sign_in) = &new.sign_in {
        users::upsert(&transaction, now, sign_in.clone()).await?;
    }
    if !users::lock_active_exclusively(&transaction, new.user.as_str()).await? {
        return Err(IssueError::UserInactive);
    }
    let (grant, kind) = match use_grant(&transaction, server, now, &new).await? {
        Some(grant) => (grant, audit::Kind::TokenRefreshed),
        None => (create_grant(&transaction, server, now, &new).await?, new.new_grant),
    };
    client::used(&transaction, now, new.client).await?;
    let access_token = grant::mint(&minter, &grant, &new.scope, new.dpop_key)?;
    let event = Event::new(kind, new.request)
        .user(&new.user)
        .client(&new.client.id)
        .grant(grant.id)
        .detail(audit::issued(&new.scope, new.dpop_key));
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();
    Ok(TokenSet {
        access_token,
        expires_in: server.tokens().ttl(),
        refresh_token: None,
        scope: new.scope,
        dpop_key: new.dpop_key.cloned(),
    })
}

/// Uses the live grant for such tokens. `Ok(None)`: there is none, or it ends before the token.
async fn use_grant(
    transaction: &Transaction,
    server: &Server,
    now: DateTime<Utc>,
    new: &DirectIssue<'_>,
) -> Result<Option<Model>, Failure> {
    let longest_token = TimeDelta::from_std(MAX_CONFIGURED_TTL).unwrap_or_default();
    let found = Entity::owned_by(new.user.as_str())
        .filter(grant::live(now))
        .filter(COLUMN.client_id.eq(new.client.id.clone()))
        .filter(COLUMN.grant_type.eq(new.grant_type))
        .filter(COLUMN.scope.eq(new.scope.to_string()))
        .filter(COLUMN.resource.eq(server.settings().public_url.mcp()))
        .filter(COLUMN.created_at.gt(now + longest_token - grant::ABSOLUTE_LIFETIME))
        .limit(1)
        .lock_exclusive()
        .one(transaction)
        .await?;
    let Some(grant) = found else {
        return Ok(None);
    };
    let ends_at = grant::ends_at(grant.created_at, now);
    Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(now))
        .col_expr(Column::EndsAt, Expr::value(ends_at))
        .col_expr(Column::AuthTime, Expr::value(now))
        .filter(COLUMN.id.eq(grant.id))
        .exec(transaction)
        .await?;
    Ok(Some(Model { last_used_at: now, auth_time: now, ends_at, ..grant }))
}

async fn create_grant(
    transaction: &Transaction,
    server: &Server,
    now: DateTime<Utc>,
    new: &DirectIssue<'_>,
) -> Result<Model, Failure> {
    let grant = Model {
        id: GrantId(uuid_at(now)),
        user_sub: new.user.as_str().to_owned(),
        client_id: new.client.id.clone(),
        redirect_uri: String::new(),
        scope: new.scope.to_string(),
        resource: server.settings().public_url.mcp(),
        // There was no code: no text has these as its hash.
        code_hash: Digest::new(rand::random()),
        code_challenge: rand::random::<[u8; 32]>().to_vec(),
        auth_time: now,
        created_at: now,
        last_used_at: now,
        ends_at: grant::ends_at(now, now),
        generation: 0,
        recovered_at: None,
        revoked_at: None,
        revoked_reason: None,
        grant_type: Some(new.grant_type.to_owned()),
        dpop_jkt: None,
        dpop_since: None,
    };
    Entity::insert(grant.clone().into_active_model()).exec_without_returning(transaction).await?;
    Ok(grant)
}
