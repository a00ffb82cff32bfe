//! The exchange of a refresh token for its successor and a new access token.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use entity::{
    GrantId, oauth_grants,
    oauth_refresh_tokens::{ActiveModel, COLUMN, Column, Entity, Model},
};
use mcp::UserId;
use platform::db::{self, Failure, Transaction};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set, sea_query::Expr};

use super::{
    access_policy,
    case::{Case, GRACE, decide},
    error::RefreshError,
    successor::{open, seal},
    tokens::{delete_old_seals, find, supersede_after, was_used_after},
};
use crate::{
    access_token::Minter,
    audit::{self, Event, RequestInfo},
    client::{self, Client},
    dpop::{self, BindError, Thumbprint},
    grant::{self, Reason, TokenSet},
    limits::{self, Verdict},
    login::users,
    resource,
    revoke::{self, Ended},
    scope::Scopes,
    server::Server,
    token_format::PlainToken,
};

/// The maximum number of successors that are decrypted to find the newest token. A client that
/// refreshes more often than this within [`GRACE`] is broken.
const MAX_CHAIN: i32 = 100;

/// A token request with the `refresh_token` grant type.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// The refresh token.
    pub token: &'a str,
    /// The `scope` parameter: the scope of the access token. `None`, or no known scope, means
    /// everything that was granted. The grant keeps its scope.
    pub scope: Option<&'a str>,
    /// The `resource` parameters (RFC 8707). An empty list means this server's MCP endpoint.
    pub resource: &'a [&'a str],
    /// The key that the client has proven to have ([`crate::dpop`]). `None`: the request has no proof.
    pub dpop_key: Option<Thumbprint>,
    /// The HTTP request, for logs and the audit log.
    pub request: RequestInfo,
}

/// Exchanges a refresh token.
pub async fn rotate(
    server: &Server,
    client: &Client,
    rotation: Rotation<'_>,
) -> Result<TokenSet, RefreshError> {
    let presented =
        PlainToken::parse(rotation.token).ok_or(RefreshError::InvalidGrant("it is malformed"))?;
    resource::check(&server.settings().public_url, rotation.resource.iter().copied())?;
    let requested = match rotation.scope {
        Some(scope) => server.settings().scopes.parse(scope)?,
        None => Scopes::default(),
    };
    let Rotation { dpop_key, request, .. } = rotation;
    let exchange = Exchange { server, client, presented, requested, dpop_key, request };

    let grant = exchange.grant().await?;
    // Limited per grant, not per network: other clients in the same network do not count.
    let rate = server.limiter().check(&limits::REFRESH, &grant.id.to_string()).await;
    if let Verdict::Refused { retry_after } = rate {
        return Err(RefreshError::TooOften(retry_after));
    }
    let user = UserId::new(grant.user_sub.as_str());
    access_policy::check(server, &user, &exchange.request).await?;
    // Before the transaction, which may hold the only connection.
    let minter = server.tokens().minter().await?;
    exchange.rotate(grant.id, &minter).await
}

/// One attempt to exchange a refresh token.
struct Exchange<'a> {
    server: &'a Server,
    client: &'a Client,
    presented: PlainToken,
    /// Empty: everything that was granted.
    requested: Scopes,
    dpop_key: Option<Thumbprint>,
    request: RequestInfo,
}

impl Exchange<'_> {
    /// Finds the grant of the token, without a lock.
    async fn grant(&self) -> Result<oauth_grants::Model, RefreshError> {
        let db = self.server.db();
        let Some(token) = find(db, &self.presented).await? else {
            return Err(RefreshError::InvalidGrant("it does not exist"));
        };
        let grant = oauth_grants::Entity::find_by_id(token.grant_id)
            .one(db)
            .await
            .map_err(Failure::from)?;
        if let Some(grant) = &grant {
            self.request.log_context.set_user(&grant.user_sub);
        }
        self.accept(grant)
    }

    /// Checks that this client may use the grant now.
    fn accept(
        &self,
        grant: Option<oauth_grants::Model>,
    ) -> Result<oauth_grants::Model, RefreshError> {
        let grant = grant.ok_or(RefreshError::InvalidGrant("its grant does not exist"))?;
        let endpoint = self.server.settings().public_url.mcp();
        if grant.client_id != self.client.id {
            Err(RefreshError::InvalidGrant("it was issued to another client"))
        } else if grant.revoked_at.is_some() {
            Err(RefreshError::InvalidGrant("its grant was revoked"))
        } else if !grant::is_live(&grant, self.server.clock().now()) {
            Err(RefreshError::InvalidGrant("its grant has ended"))
        } else if grant.resource != endpoint {
            let why = "it was issued when this server had another address";
            Err(RefreshError::InvalidGrant(why))
        } else if !self.client.may_refresh {
            Err(RefreshError::InvalidGrant("the client may not refresh"))
        } else if !self.requested.is_subset(&self.granted(&grant)) {
            Err(RefreshError::ScopeExceeded)
        } else {
            Ok(grant)
        }
    }

    /// Returns the key that the tokens of the grant are bound to after this exchange.
    fn key_after(&self, grant: &oauth_grants::Model) -> Result<Option<Thumbprint>, RefreshError> {
        let bound_to = grant::dpop_key(grant)?;
        dpop::bind(self.client, bound_to, self.dpop_key.as_ref()).map_err(|error| match error {
            BindError::ProofMissing => RefreshError::ProofMissing,
            BindError::OtherKey => RefreshError::InvalidGrant("it is bound to another key"),
        })
    }

    /// Returns the granted scopes that this version still knows.
    fn granted(&self, grant: &oauth_grants::Model) -> Scopes {
        self.server.settings().scopes.known(&grant.scope)
    }

    async fn rotate(&self, grant: GrantId, minter: &Minter) -> Result<TokenSet, RefreshError> {
        let now = self.server.clock().now();
        let transaction = db::begin(self.server.db()).await?;
        // From here on, the lock prevents other changes to the grant and its tokens.
        let grant = self.accept(grant::lock(&transaction, grant).await?)?;
        if !users::is_active(&transaction, &grant.user_sub).await? {
            return Err(RefreshError::InvalidGrant("the user is blocked or deleted"));
        }
        let Some(token) = find(&transaction, &self.presented).await? else {
            return Err(RefreshError::InvalidGrant("it does not exist"));
        };
        // Within [`GRACE`] the result does not matter, and many requests may be waiting for the
        // lock.
        let successor_used = match token.used_at {
            Some(at) if now - at > GRACE => was_used_after(&transaction, &token).await?,
            _ => false,
        };
        let case = decide(&token, &grant, successor_used, now);
        let dpop_key = match self.key_after(&grant) {
            Ok(dpop_key) => dpop_key,
            Err(_) if case == Case::Replay || is_older_than_key(&token, &grant) => {
                return self.replay(transaction, &grant, now).await;
            }
            Err(error) => return Err(error),
        };
        let (kind, refresh_token) = match case {
            Case::Rotate => {
                let successor = self.succeed(&transaction, &grant, &token, now).await?;
                delete_old_seals(&transaction, &token, now).await?;
                (audit::Kind::TokenRefreshed, successor)
            }
            Case::Grace => {
                let newest = self.newest(&transaction, &grant, token).await?;
                (audit::Kind::TokenRefreshed, newest)
            }
            Case::Recover => {
                supersede_after(&transaction, &token, now).await?;
                let successor = self.succeed(&transaction, &grant, &token, now).await?;
                oauth_grants::Entity::update_many()
                    .col_expr(oauth_grants::Column::RecoveredAt, Expr::value(now))
                    .filter(oauth_grants::COLUMN.id.eq(grant.id))
                    .exec(&transaction)
                    .await
                    .map_err(Failure::from)?;
                (audit::Kind::RefreshRecovered, successor)
            }
            Case::Replay => return self.replay(transaction, &grant, now).await,
        };
        let scope =
            if self.requested.is_empty() { self.granted(&grant) } else { self.requested.clone() };
        let bound = self.store_key(&transaction, &grant, dpop_key.as_ref()).await?;
        let access_token = grant::mint(minter, &grant, &scope, dpop_key.as_ref())?;
        let detail = audit::issued(&scope, dpop_key.as_ref());
        let event = self.event(kind, &grant).detail(detail);
        let events: Vec<Event> = bound.into_iter().chain([event]).collect();
        for event in &events {
            audit::write(&transaction, now, event).await?;
        }
        transaction.commit().await.map_err(Failure::from)?;
        events.iter().for_each(Event::log);
        Ok(TokenSet {
            access_token,
            expires_in: self.server.tokens().ttl(),
            refresh_token: Some(refresh_token),
            scope,
            dpop_key,
        })
    }

    /// Stores the key that the tokens of the grant are bound to. Returns the event if it has changed.
    async fn store_key(
        &self,
        transaction: &Transaction,
        grant: &oauth_grants::Model,
        key: Option<&Thumbprint>,
    ) -> Result<Option<Event>, Failure> {
        let Some(key) = key.map(Thumbprint::as_str) else { return Ok(None) };
        if grant.dpop_jkt.as_deref() == Some(key) {
            return Ok(None);
        }
        let since = grant.dpop_since.unwrap_or(grant.generation + 1);
        oauth_grants::Entity::update_many()
            .col_expr(oauth_grants::Column::DpopJkt, Expr::value(key))
            .col_expr(oauth_grants::Column::DpopSince, Expr::value(since))
            .filter(oauth_grants::COLUMN.id.eq(grant.id))
            .exec(transaction)
            .await?;
        Ok(Some(self.event(audit::Kind::GrantBound, grant).detail(key.to_owned())))
    }

    /// Creates the successor of the token, which becomes the newest token of its grant.
    async fn succeed(
        &self,
        transaction: &Transaction,
        grant: &oauth_grants::Model,
        token: &Model,
        now: DateTime<Utc>,
    ) -> Result<PlainToken, Failure> {
        let successor = PlainToken::generate();
        let generation = grant.generation + 1;
        let row = ActiveModel {
            token_hash: Set(successor.hash()),
            grant_id: Set(grant.id),
            generation: Set(generation),
            issued_at: Set(now),
            ..Default::default()
        };
        Entity::insert(row).exec_without_returning(transaction).await?;
        let sealed = seal(&self.presented, token, &successor).map_err(Failure::Internal)?;
        Entity::update_many()
            .col_expr(Column::UsedAt, Expr::value(now))
            .col_expr(Column::SuccessorSealed, Expr::value(sealed))
            .filter(COLUMN.token_hash.eq(token.token_hash.clone()))
            .exec(transaction)
            .await?;
        oauth_grants::Entity::update_many()
            .col_expr(oauth_grants::Column::Generation, Expr::value(generation))
            .col_expr(oauth_grants::Column::LastUsedAt, Expr::value(now))
            .col_expr(
                oauth_grants::Column::EndsAt,
                Expr::value(grant::ends_at(grant.created_at, now)),
            )
            .filter(oauth_grants::COLUMN.id.eq(grant.id))
            .exec(transaction)
            .await?;
        client::used(transaction, now, self.client).await?;
        Ok(successor)
    }

    /// Finds the newest token of the grant, by decrypting one successor after the other.
    async fn newest(
        &self,
        transaction: &Transaction,
        grant: &oauth_grants::Model,
        mut row: Model,
    ) -> Result<PlainToken, RefreshError> {
        if grant.generation - row.generation > MAX_CHAIN {
            return Err(RefreshError::InvalidGrant("it was exchanged too many times ago"));
        }
        let mut token = self.presented.clone();
        while row.generation < grant.generation {
            token = open(&token, &row).map_err(Failure::Internal)?;
            row = find(transaction, &token)
                .await?
                .context("a sealed successor does not exist")
                .map_err(Failure::Internal)?;
        }
        Ok(token)
    }

    async fn replay(
        &self,
        transaction: Transaction,
        grant: &oauth_grants::Model,
        now: DateTime<Utc>,
    ) -> Result<TokenSet, RefreshError> {
        revoke::one(&transaction, now, grant.id, Reason::RefreshReplay).await?;
        let event = self.event(audit::Kind::RefreshReplayed, grant);
        audit::write(&transaction, now, &event).await?;
        transaction.commit().await.map_err(Failure::from)?;
        event.log();
        let ended = Ended { at: now, grants: std::slice::from_ref(grant), user: None };
        revoke::notify(self.server, ended).await;
        Err(RefreshError::InvalidGrant("it was used before"))
    }

    fn event(&self, kind: audit::Kind, grant: &oauth_grants::Model) -> Event {
        Event::new(kind, &self.request)
            .user(&UserId::new(grant.user_sub.as_str()))
            .client(&grant.client_id)
            .grant(grant.id)
    }
}

/// Returns whether a token was issued before its grant was bound to a key. If it is presented without
/// the key after that, one of two parties has copied it.
fn is_older_than_key(token: &Model, grant: &oauth_grants::Model) -> bool {
    grant.dpop_since.is_some_and(|since| token.generation < since)
}
