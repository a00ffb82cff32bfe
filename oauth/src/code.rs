//! Authorization codes: issued once, redeemed once, and worth nothing after a minute.
//!
//! A redemption is one transaction on the locked row of the code. The code is deleted by the same
//! statement that says whether it was there, so of many who present it at once one wins; the
//! schema would let no code become two grants even if that failed. The access token is signed
//! before the commit: whatever goes wrong, the code is either still good or has been paid for.
//!
//! A request that is wrong about anything but the verifier leaves the code as it is, because it
//! proves nothing about who sent it. A wrong verifier is counted, and the third one ends the code.
//!
//! # A code that is presented again
//!
//! OAuth 2.1 wants a grant revoked whose code is redeemed a second time by the right client with the
//! right verifier. **We wait for [`REPLAY_GRACE`] first**, which is a deviation from the letter:
//! clients that submit twice and proxies that repeat a request are common and do so within seconds,
//! what the text asks for is a SHOULD, and a thief within that window would need the verifier
//! anyway. A grant that was refreshed already is revoked at once. The answer is the same in every
//! case, and whoever lacks the verifier can revoke nothing.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    ClientId, GrantId,
    oauth_codes::{COLUMN, Column, Entity, Model},
    oauth_grants, oauth_refresh_tokens, users,
};
use mcp::UserId;
use platform::db::{self, Failure, Transaction};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QuerySelect as _, Set,
    sea_query::{Expr, LockType},
};

use super::{
    access_token::Minter,
    audit::{self, Event, RequestInfo},
    client::{self, Client},
    grant::{self, Reason, TokenSet},
    ids::uuid_at,
    pkce::{Challenge, Verifier},
    resource,
    revoke::{self, Ended},
    scope::Scopes,
    token_format::{PlainCode, PlainToken},
};
use crate::server::Server;

/// How long a code can be redeemed. Clients do it at once.
pub const LIFETIME: TimeDelta = TimeDelta::seconds(60);

/// How long an expired code is kept, for whoever asks what became of it.
pub const RETENTION: TimeDelta = TimeDelta::hours(1);

/// How many wrong verifiers end a code.
pub const MAX_ATTEMPTS: i32 = 3;

/// How long after its redemption a code can be presented again without consequences.
pub const REPLAY_GRACE: TimeDelta = TimeDelta::seconds(10);

/// What a person agreed to, and what the client must prove to get it.
#[derive(Debug)]
pub struct NewCode {
    /// The client.
    pub client: ClientId,
    /// Where the code will be sent, exactly as the client gave it.
    pub redirect_uri: String,
    /// Whether the client gave it, rather than leaving it to its registration.
    pub redirect_uri_was_sent: bool,
    /// What the client committed to.
    pub challenge: Challenge,
    /// What the person agreed to.
    pub scope: Scopes,
    /// The person. Their row in `users` is there already.
    pub user: UserId,
    /// When they signed in.
    pub auth_time: DateTime<Utc>,
    /// When it was found that they may come in; nothing if there is no gate.
    pub gate_checked_at: Option<DateTime<Utc>>,
    /// The request in which this happened.
    pub request: RequestInfo,
}

/// What a client presents.
#[derive(Debug)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// The verifier.
    pub verifier: &'a str,
    /// Where the code was sent, if the client says so. OAuth 2.1 no longer asks for it, and RFC 6749
    /// only of a client that named it in the authorization request (section 4.1.3).
    pub redirect_uri: Option<&'a str>,
    /// Which resources the tokens are for; none means ours.
    pub resource: &'a [&'a str],
    /// The request in which this happens.
    pub request: RequestInfo,
}

/// Why there are no tokens for a code.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The request breaks a rule of its form; says which.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The code is worth nothing, or not to this client; says why, for the log.
    #[error("the code cannot be redeemed: {0}")]
    InvalidGrant(&'static str),
    /// The tokens shall be for a resource that is not ours.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// Nothing can be concluded: the same request may succeed later.
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
        redirect_uri_was_sent: new.redirect_uri_was_sent,
        code_challenge: new.challenge.0.to_vec(),
        scope: new.scope.to_string(),
        resource: server.settings().public_url.mcp(),
        auth_time: new.auth_time,
        gate_checked_at: new.gate_checked_at,
        attempts: 0,
        created_at: now,
        expires_at: now + LIFETIME,
    };
    let transaction = db::begin(server.db()).await?;
    Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await?;
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();
    Ok(code)
}

/// Redeems a code: makes the grant and its first tokens.
pub async fn redeem(
    server: &Server,
    client: &Client,
    redemption: Redemption<'_>,
) -> Result<TokenSet, RedeemError> {
    let verifier = Verifier::parse(redemption.verifier)
        .map_err(|_malformed| RedeemError::InvalidRequest(MALFORMED_VERIFIER))?;
    let code = PlainCode::parse(redemption.code)
        .ok_or(RedeemError::InvalidGrant("it is not one of ours"))?;
    resource::check(&server.settings().public_url, redemption.resource.iter().copied())?;
    // Before the transaction, which may hold the only connection.
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

/// One presentation of a code.
struct Attempt<'a> {
    server: &'a Server,
    client: &'a Client,
    verifier: Verifier,
    redirect_uri: Option<&'a str>,
    request: RequestInfo,
    now: DateTime<Utc>,
}

/// What is to happen to a code that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is redeemed.
    Redeem,
    /// It stays as it is; says why.
    Keep(&'static str),
    /// The verifier is wrong: it stays, and that is counted.
    Count,
    /// The verifier is wrong once too often: it goes.
    Discard,
}

impl Attempt<'_> {
    async fn redeem(
        self,
        transaction: Transaction,
        code: Model,
        minter: &Minter,
    ) -> Result<TokenSet, RedeemError> {
        self.request.parties.set_user(&code.user_sub);
        let ours = self.server.settings().public_url.mcp();
        match self.judge(&code, &ours) {
            Verdict::Redeem => {}
            Verdict::Keep(why) => return Err(RedeemError::InvalidGrant(why)),
            Verdict::Count => {
                Entity::update_many()
                    .col_expr(Column::Attempts, Expr::value(code.attempts + 1))
                    .filter(COLUMN.code_hash.eq(code.code_hash))
                    .exec(&transaction)
                    .await
                    .map_err(Failure::from)?;
                transaction.commit().await.map_err(Failure::from)?;
                return Err(RedeemError::InvalidGrant("the verifier is wrong"));
            }
            Verdict::Discard => {
                delete(&transaction, &code).await?;
                let event = self.event(audit::Kind::CodeGuessed, &code.user_sub);
                audit::write(&transaction, self.now, &event).await?;
                transaction.commit().await.map_err(Failure::from)?;
                event.log();
                return Err(RedeemError::InvalidGrant("the verifier is wrong once too often"));
            }
        }
        if !may_stay(&transaction, &code.user_sub).await? {
            return Err(RedeemError::InvalidGrant("the person was shut out"));
        }
        if !delete(&transaction, &code).await? {
            return Err(RedeemError::InvalidGrant("somebody else was faster"));
        }
        let (tokens, event) = self.make_grant(&transaction, code, minter).await?;
        transaction.commit().await.map_err(Failure::from)?;
        event.log();
        Ok(tokens)
    }

    fn judge(&self, code: &Model, ours: &str) -> Verdict {
        let challenge = <[u8; 32]>::try_from(code.code_challenge.as_slice()).map(Challenge);
        if code.client_id != self.client.id {
            Verdict::Keep("it is another client's")
        } else if code.expires_at <= self.now {
            Verdict::Keep("it has expired")
        } else if self.redirect_uri.is_some_and(|it| it != code.redirect_uri) {
            Verdict::Keep("it was sent to another redirect_uri")
        } else if code.resource != ours {
            Verdict::Keep("it was issued when this server had another address")
        } else if challenge.is_ok_and(|it| it.is_answered_by(&self.verifier)) {
            Verdict::Redeem
        } else if code.attempts + 1 < MAX_ATTEMPTS {
            Verdict::Count
        } else {
            Verdict::Discard
        }
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
            // Without a refresh token there is nothing left once the access token has expired.
            ends_at: match refresh_token {
                Some(_) => grant::ends_at(now, now),
                None => now + ttl,
            },
            generation: refresh_token.is_some().into(),
            recovered_at: None,
            revoked_at: None,
            revoked_reason: None,
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
            grant::gate_was_open(transaction, &grant.user_sub, checked_at).await?;
        }
        client::used(transaction, now, self.client).await?;
        let scope = Scopes::known(&grant.scope);
        let access_token = grant::mint(minter, &grant, &scope)?;
        let event = self
            .event(audit::Kind::TokenIssued, &grant.user_sub)
            .grant(grant.id)
            .detail(scope.to_string());
        audit::write(transaction, now, &event).await?;
        let tokens = TokenSet { access_token, expires_in: ttl, refresh_token, scope };
        Ok((tokens, event))
    }

    /// The code is not there. If it was, this is somebody who presents it again.
    async fn replay(
        self,
        transaction: Transaction,
        code: &PlainCode,
    ) -> Result<TokenSet, RedeemError> {
        let answer = Err(RedeemError::InvalidGrant(
            "it does not exist, has expired, or was redeemed before",
        ));
        let grant = oauth_grants::Entity::from_code(&self.client.id, &code.hash())
            .lock_exclusive()
            .one(&transaction)
            .await
            .map_err(Failure::from)?;
        let Some(grant) = grant else {
            return answer;
        };
        self.request.parties.set_user(&grant.user_sub);
        if !self.proves_theft(&grant) {
            return answer;
        }
        let revoked = revoke::one(&transaction, self.now, grant.id, Reason::CodeReplay).await?;
        let Some(revoked) = revoked else {
            return answer;
        };
        let event = self.event(audit::Kind::CodeReplayed, &grant.user_sub).grant(grant.id);
        audit::write(&transaction, self.now, &event).await?;
        transaction.commit().await.map_err(Failure::from)?;
        event.log();
        let ended = Ended { at: self.now, grants: &[revoked], person: None };
        revoke::tell(self.server, ended).await;
        answer
    }

    fn proves_theft(&self, grant: &oauth_grants::Model) -> bool {
        let challenge = <[u8; 32]>::try_from(grant.code_challenge.as_slice()).map(Challenge);
        let late = self.now - grant.created_at > REPLAY_GRACE || grant.generation > 1;
        late && challenge.is_ok_and(|it| it.is_answered_by(&self.verifier))
    }

    fn event(&self, kind: audit::Kind, user: &str) -> Event {
        Event::new(kind, &self.request).user(&UserId::new(user)).client(&self.client.id)
    }
}

/// Whether it was there: the statement that settles who redeems it.
async fn delete(transaction: &Transaction, code: &Model) -> Result<bool, Failure> {
    let deleted = Entity::delete_by_id(code.code_hash.clone()).exec(transaction).await?;
    Ok(deleted.rows_affected == 1)
}

/// Whether a person exists and is not blocked.
pub(super) async fn may_come_in(db: &impl ConnectionTrait, user: &str) -> Result<bool, Failure> {
    let person = users::Entity::find_by_id(user).one(db).await?;
    Ok(person.is_some_and(|it| it.blocked_at.is_none()))
}

/// The same, and the person cannot be deleted until the transaction ends: somebody who deletes their
/// account while a client redeems a code has no row any more, or waits for the grant to be there.
pub(super) async fn may_stay(transaction: &Transaction, user: &str) -> Result<bool, Failure> {
    let person = users::Entity::find_by_id(user).lock(LockType::KeyShare).one(transaction).await?;
    Ok(person.is_some_and(|it| it.blocked_at.is_none()))
}
