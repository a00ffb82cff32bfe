//! Authorization codes: single use, and valid for one minute.
//!
//! A redemption is one transaction that locks the row of the code. The statement that deletes the
//! code also returns whether it was still there, so of several concurrent redemptions exactly one
//! succeeds. In addition, the schema does not let one code become two grants. The access token is
//! signed before the commit: after any failure, the code is either still valid or has been
//! exchanged for tokens.
//!
//! A request with any error other than a wrong verifier does not change the code, because it proves
//! nothing about its sender. Wrong verifiers are counted, and the third one deletes the code
//! ([`MAX_ATTEMPTS`]).
//!
//! # Replayed codes
//!
//! OAuth 2.1 says that a grant SHOULD be revoked when its code is redeemed a second time by the
//! right client with the right verifier. **This server does so only after [`REPLAY_GRACE`]**, which
//! deviates from the specification: clients that submit twice and proxies that repeat a request are
//! common and do so within seconds, and an attacker within that window would need the verifier
//! anyway. A grant that has already been refreshed is revoked at once. The response is the same in
//! every case, and a client without the verifier cannot revoke anything.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    ClientId, GrantId,
    oauth_codes::{COLUMN, Column, Entity, Model},
    oauth_grants, oauth_refresh_tokens,
};
use mcp::UserId;
use platform::db::{self, Failure, Transaction};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QuerySelect as _,
    Set, sea_query::Expr,
};

use super::{
    access_token::Minter,
    audit::{self, Event, RequestInfo},
    client::{self, Client},
    dpop::Thumbprint,
    grant::{self, Reason, TokenSet},
    ids::uuid_at,
    login::users,
    pkce::{Challenge, Verifier},
    resource,
    revoke::{self, Ended},
    scope::Scopes,
    token_format::{PlainCode, PlainToken},
};
use crate::server::Server;

/// How long a code can be redeemed. Clients redeem it immediately.
pub const LIFETIME: TimeDelta = TimeDelta::seconds(60);

/// How long the row of an expired code is kept, so that a late redemption is reported as expired.
pub const RETENTION: TimeDelta = TimeDelta::hours(1);

/// The number of wrong verifiers after which a code is deleted.
pub const MAX_ATTEMPTS: i32 = 3;

/// How long after its redemption a code can be presented again without the grant being revoked.
pub const REPLAY_GRACE: TimeDelta = TimeDelta::seconds(10);

/// The authorization that a new code stands for, and the PKCE challenge for its redemption.
#[derive(Debug)]
pub struct NewCode {
    /// The client.
    pub client: ClientId,
    /// The redirect URI that the code is sent to, exactly as the client sent or registered it.
    pub redirect_uri: String,
    /// The PKCE code challenge.
    pub challenge: Challenge,
    /// The scope that the user approved.
    pub scope: Scopes,
    /// The user. Their row in `users` exists already.
    pub user: UserId,
    /// When the user signed in.
    pub auth_time: DateTime<Utc>,
    /// When the access policy last admitted the user. `None`: no policy is set.
    pub gate_checked_at: Option<DateTime<Utc>>,
    /// The only key whose proof the code can be redeemed with (`dpop_jkt`). `None`: the client named
    /// none.
    pub dpop_key: Option<Thumbprint>,
    /// The HTTP request, for logs and the audit log.
    pub request: RequestInfo,
}

/// A token request with the `authorization_code` grant type.
#[derive(Debug)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// The verifier.
    pub verifier: &'a str,
    /// The `redirect_uri` of the token request. If present, it must be the one that the code was
    /// sent to. RFC 6749 (section 4.1.3) requires it if the authorization request contained it;
    /// OAuth 2.1 does not.
    pub redirect_uri: Option<&'a str>,
    /// The `resource` parameters (RFC 8707). An empty list means this server's MCP endpoint.
    pub resource: &'a [&'a str],
    /// The key that the client has proven to have ([`crate::dpop`]). `None`: the request has no proof.
    pub dpop_key: Option<Thumbprint>,
    /// The HTTP request, for logs and the audit log.
    pub request: RequestInfo,
}

/// Why a code could not be redeemed.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// A parameter is malformed; contains the description.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The code is invalid, or invalid for this client; contains the reason, for the log.
    #[error("the code cannot be redeemed: {0}")]
    InvalidGrant(&'static str),
    /// The code is bound to a key, and the request has no proof.
    #[error("the code is bound to a key, and the request has no DPoP proof")]
    ProofMissing,
    /// The requested resource is not this server.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// A dependency failed. The same request may succeed later.
    #[error("the code cannot be looked up at the moment")]
    Unavailable(#[from] Failure),
}

/// Issues a code.
pub async fn issue(server: &Server, new: NewCode) -> Result<PlainCode, Failure> {
    let now = server.clock().now();
    let code = PlainCode::generate();
    let event = Event::new(audit::Kind::CodeIssued, &new.request)
        .user(&new.user)
        .client(&new.client)
        .detail(new.scope.to_string());
    let row = Model {
        code_hash: code.hash(),
        client_id: new.client,
        user_sub: new.user.as_str().to_owned(),
        redirect_uri: new.redirect_uri,
        redirect_uri_was_sent: true,
        code_challenge: new.challenge.0.to_vec(),
        scope: new.scope.to_string(),
        resource: server.settings().public_url.mcp(),
        auth_time: new.auth_time,
        gate_checked_at: new.gate_checked_at,
        attempts: 0,
        created_at: now,
        expires_at: now + LIFETIME,
        dpop_jkt: new.dpop_key.map(String::from),
    };
    let transaction = db::begin(server.db()).await?;
    Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await?;
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();
    Ok(code)
}

/// Redeems a code: creates the grant and issues its first tokens.
pub async fn redeem(
    server: &Server,
    client: &Client,
    redemption: Redemption<'_>,
) -> Result<TokenSet, RedeemError> {
    let verifier = Verifier::parse(redemption.verifier)
        .map_err(|_malformed| RedeemError::InvalidRequest(MALFORMED_VERIFIER))?;
    let code =
        PlainCode::parse(redemption.code).ok_or(RedeemError::InvalidGrant("it is malformed"))?;
    resource::check(&server.settings().public_url, redemption.resource.iter().copied())?;
    // Before the transaction: the transaction may hold the only connection.
    let minter = server.tokens().minter().await?;

    let now = server.clock().now();
    let transaction = db::begin(server.db()).await?;
    let row = Entity::find_by_id(code.hash())
        .lock_exclusive()
        .one(&transaction)
        .await
        .map_err(Failure::from)?;
    let attempt = Attempt {
        server,
        client,
        verifier,
        redirect_uri: redemption.redirect_uri,
        dpop_key: redemption.dpop_key,
        request: redemption.request,
        now,
    };
    match row {
        Some(row) => attempt.redeem(transaction, row, &minter).await,
        None => attempt.replay(transaction, &code).await,
    }
}

const MALFORMED_VERIFIER: &str =
    "code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~";

/// One attempt to redeem a code.
struct Attempt<'a> {
    server: &'a Server,
    client: &'a Client,
    verifier: Verifier,
    redirect_uri: Option<&'a str>,
    dpop_key: Option<Thumbprint>,
    request: RequestInfo,
    now: DateTime<Utc>,
}

/// How an attempt changes an existing code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The code is redeemed.
    Redeem,
    /// The code is not changed; contains the reason.
    Keep(&'static str),
    /// The code is not changed: it is bound to a key, and the request has no proof.
    NeedProof,
    /// The verifier is wrong: the attempt is counted, and the code stays valid.
    Count,
    /// The verifier is wrong, and no attempt is left: the code is deleted.
    Discard,
}

impl Attempt<'_> {
    async fn redeem(
        self,
        transaction: Transaction,
        code: Model,
        minter: &Minter,
    ) -> Result<TokenSet, RedeemError> {
        self.request.log_context.set_user(&code.user_sub);
        let endpoint = self.server.settings().public_url.mcp();
        match self.judge(&code, &endpoint) {
            Action::Redeem => {}
            Action::Keep(why) => return Err(RedeemError::InvalidGrant(why)),
            Action::NeedProof => return Err(RedeemError::ProofMissing),
            Action::Count => {
                Entity::update_many()
                    .col_expr(Column::Attempts, Expr::value(code.attempts + 1))
                    .filter(COLUMN.code_hash.eq(code.code_hash))
                    .exec(&transaction)
                    .await
                    .map_err(Failure::from)?;
                transaction.commit().await.map_err(Failure::from)?;
                return Err(RedeemError::InvalidGrant("the verifier is wrong"));
            }
            Action::Discard => {
                delete(&transaction, &code).await?;
                let event = self.event(audit::Kind::CodeGuessed, &code.user_sub);
                audit::write(&transaction, self.now, &event).await?;
                transaction.commit().await.map_err(Failure::from)?;
                event.log();
                return Err(RedeemError::InvalidGrant(
                    "the verifier is wrong, and the code was deleted after too many attempts",
                ));
            }
        }
        if !users::lock_active(&transaction, &code.user_sub).await? {
            return Err(RedeemError::InvalidGrant("the user is blocked or deleted"));
        }
        if !delete(&transaction, &code).await? {
            return Err(RedeemError::InvalidGrant("it was redeemed concurrently"));
        }
        let (tokens, event) = self.make_grant(&transaction, code, minter).await?;
        transaction.commit().await.map_err(Failure::from)?;
        event.log();
        Ok(tokens)
    }

    fn judge(&self, code: &Model, endpoint: &str) -> Action {
        let challenge = <[u8; 32]>::try_from(code.code_challenge.as_slice()).map(Challenge);
        if code.client_id != self.client.id {
            Action::Keep("it was issued to another client")
        } else if code.expires_at <= self.now {
            Action::Keep("it has expired")
        } else if self.redirect_uri.is_some_and(|it| it != code.redirect_uri) {
            Action::Keep("it was sent to another redirect_uri")
        } else if code.resource != endpoint {
            Action::Keep("it was issued when this server had another address")
        } else if code.dpop_jkt.is_some() && self.dpop_key.is_none() {
            Action::NeedProof
        } else if !self.has_key_of(code) {
            Action::Keep("it is bound to another key")
        } else if challenge.is_ok_and(|challenge| challenge.is_matched_by(&self.verifier)) {
            Action::Redeem
        } else if code.attempts + 1 < MAX_ATTEMPTS {
            Action::Count
        } else {
            Action::Discard
        }
    }

    /// Returns whether the code is bound to no key, or to the one that the client has.
    fn has_key_of(&self, code: &Model) -> bool {
        code.dpop_jkt.is_none()
            || code.dpop_jkt.as_deref() == self.dpop_key.as_ref().map(Thumbprint::as_str)
    }

    async fn make_grant(
        &self,
        transaction: &Transaction,
        code: Model,
        minter: &Minter,
    ) -> Result<(TokenSet, Event), Failure> {
        let now = self.now;
        let ttl = self.server.tokens().ttl();
        let refresh_token = self.client.may_refresh.then(PlainToken::generate);
        let grant = oauth_grants::Model {
            id: GrantId(uuid_at(now)),
            user_sub: code.user_sub,
            client_id: code.client_id,
            redirect_uri: code.redirect_uri,
            scope: code.scope,
            resource: code.resource,
            code_hash: code.code_hash,
            code_challenge: code.code_challenge,
            auth_time: code.auth_time,
            created_at: now,
            last_used_at: now,
            // Without a refresh token, the grant ends when its access token expires.
            ends_at: match refresh_token {
                Some(_) => grant::ends_at(now, now),
                None => now + ttl,
            },
            generation: refresh_token.is_some().into(),
            recovered_at: None,
            revoked_at: None,
            revoked_reason: None,
            grant_type: None,
            dpop_jkt: self.dpop_key.clone().map(String::from),
            dpop_since: self.dpop_key.as_ref().map(|_| refresh_token.is_some().into()),
        };
        oauth_grants::Entity::insert(grant.clone().into_active_model())
            .exec_without_returning(transaction)
            .await?;
        if let Some(token) = &refresh_token {
            let first = oauth_refresh_tokens::ActiveModel {
                token_hash: Set(token.hash()),
                grant_id: Set(grant.id),
                generation: Set(grant.generation),
                issued_at: Set(now),
                ..Default::default()
            };
            oauth_refresh_tokens::Entity::insert(first).exec_without_returning(transaction).await?;
        }
        if let Some(checked_at) = code.gate_checked_at {
            grant::set_policy_checked_at(transaction, &grant.user_sub, checked_at).await?;
        }
        client::used(transaction, now, self.client).await?;
        let scope = self.server.settings().scopes.known(&grant.scope);
        let access_token = grant::mint(minter, &grant, &scope, self.dpop_key.as_ref())?;
        let event = self
            .event(audit::Kind::TokenIssued, &grant.user_sub)
            .grant(grant.id)
            .detail(audit::issued(&scope, self.dpop_key.as_ref()));
        audit::write(transaction, now, &event).await?;
        let dpop_key = self.dpop_key.clone();
        let tokens = TokenSet { access_token, expires_in: ttl, refresh_token, scope, dpop_key };
        Ok((tokens, event))
    }

    /// Handles a code without a row: if it was redeemed before, this is a replay.
    async fn replay(
        self,
        transaction: Transaction,
        code: &PlainCode,
    ) -> Result<TokenSet, RedeemError> {
        let refused = Err(RedeemError::InvalidGrant(
            "it does not exist, has expired, or was redeemed before",
        ));
        let grant = oauth_grants::Entity::from_code(&self.client.id, &code.hash())
            .lock_exclusive()
            .one(&transaction)
            .await
            .map_err(Failure::from)?;
        let Some(grant) = grant else {
            return refused;
        };
        self.request.log_context.set_user(&grant.user_sub);
        if !self.proves_theft(&grant) {
            return refused;
        }
        let revoked = revoke::one(&transaction, self.now, grant.id, Reason::CodeReplay).await?;
        let Some(revoked) = revoked else {
            return refused;
        };
        let event = self.event(audit::Kind::CodeReplayed, &grant.user_sub).grant(grant.id);
        audit::write(&transaction, self.now, &event).await?;
        transaction.commit().await.map_err(Failure::from)?;
        event.log();
        let ended = Ended { at: self.now, grants: &[revoked], user: None };
        revoke::notify(self.server, ended).await;
        refused
    }

    fn proves_theft(&self, grant: &oauth_grants::Model) -> bool {
        let challenge = <[u8; 32]>::try_from(grant.code_challenge.as_slice()).map(Challenge);
        let late = self.now - grant.created_at > REPLAY_GRACE || grant.generation > 1;
        late && challenge.is_ok_and(|challenge| challenge.is_matched_by(&self.verifier))
    }

    fn event(&self, kind: audit::Kind, user: &str) -> Event {
        Event::new(kind, &self.request).user(&UserId::new(user)).client(&self.client.id)
    }
}

/// Deletes a code. Returns whether it existed: this decides which concurrent redemption succeeds.
async fn delete(transaction: &Transaction, code: &Model) -> Result<bool, Failure> {
    let deleted = Entity::delete_by_id(code.code_hash.clone()).exec(transaction).await?;
    Ok(deleted.rows_affected == 1)
}
