//! Refresh tokens: each is exchanged for its successor (rotation), and a replayed one revokes its
//! grant.
//!
//! A response can be lost, and several processes can share one token, so a token that is presented
//! twice has not always been stolen. An exchange is one transaction under a lock on the grant's
//! row, and one of four cases ([`decide`]):
//!
//! | case | when | what happens |
//! |---|---|---|
//! | A, rotation | the newest token | it gets a successor |
//! | B, grace | exchanged within [`GRACE`] | returns the same newest token again, with a new access token |
//! | C, recovery | exchanged longer ago, but within [`RECOVERY_WINDOW`], and no later token of the grant was ever exchanged | a new successor replaces the lost one; at most once per [`RECOVERY_WINDOW`] |
//! | D, replay | anything else | this grant is revoked; other grants of the user are not |
//!
//! Case B needs the newest token in plain text, which is not stored. So each successor is stored
//! encrypted with a key derived from its predecessor: only a client that presents the predecessor
//! can obtain it, and the database alone does not reveal it. Instances need no shared secret for
//! this.
//!
//! **Case C deviates from the letter** of RFC 9700, which would treat it as a replay: losing a
//! response for longer than [`GRACE`] is far more common than theft (a laptop that is closed at the
//! wrong moment), and an attacker gains nothing by it: afterwards one of the two tokens is dead, so
//! the next exchange by the other party still ends the grant.
//!
//! The access policy is rechecked before the exchange, outside of any lock.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    GrantId, oauth_grants,
    oauth_refresh_tokens::{ActiveModel, COLUMN, Column, Entity, Model},
    users,
};
use mcp::UserId;
use platform::{
    db::{self, Failure, Transaction},
    sealing::{Damaged, SealingKey},
    secret::Secret,
};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, Set, sea_query::Expr,
};

use super::{
    access_token::Minter,
    audit::{self, Event, RequestInfo},
    client::{self, Client},
    code,
    grant::{self, Reason, TokenSet},
    limits::{self, Verdict},
    login::{
        policy::{self, DenialReason, PolicyDecision},
        users as known_users,
    },
    resource,
    revoke::{self, Ended},
    scope::{MalformedScope, Scopes},
    token_format::PlainToken,
};
use crate::server::Server;

/// How long after its exchange a token is still answered with the same successor: long enough for
/// retries and for processes that share the token, short enough that theft is noticed.
pub const GRACE: TimeDelta = TimeDelta::seconds(120);

/// How long after its exchange a token can be used to replace a lost successor. Also the minimum
/// time between two recoveries of one grant.
pub const RECOVERY_WINDOW: TimeDelta = TimeDelta::hours(24);

/// The age from which a result of the access policy is checked again.
pub const GATE_RECHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How long the last positive result of the access policy is used while a recheck is impossible.
pub const GATE_ANSWER_HOLDS: TimeDelta = TimeDelta::hours(24);

/// How long other requests use the last result while one instance rechecks the access policy.
/// Longer than a recheck takes.
const GATE_ASKING: TimeDelta = TimeDelta::seconds(15);

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
    /// The HTTP request, for logs and the audit log.
    pub request: RequestInfo,
}

/// Why a refresh token could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The token is invalid, or invalid for this client; contains the reason, for the log.
    #[error("the refresh token cannot be exchanged: {0}")]
    InvalidGrant(&'static str),
    /// The `scope` parameter is malformed.
    #[error("{0}")]
    InvalidScope(#[from] MalformedScope),
    /// The requested scope exceeds the granted scope.
    #[error("scope must not exceed what was granted")]
    ScopeExceeded,
    /// The requested resource is not this server.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// A dependency failed. The same request may succeed later.
    #[error("the token cannot be looked up at the moment")]
    Unavailable(#[from] Failure),
    /// The tokens of this grant were exchanged too often recently; contains the time until a retry
    /// can succeed.
    #[error("the tokens of this grant were exchanged too often lately")]
    TooOften(Duration),
    /// The access policy cannot be checked at the moment, and no recent positive result exists.
    #[error("whether the person may still come in cannot be found out at the moment")]
    GateUnknown,
}

/// Exchanges a refresh token.
pub async fn rotate(
    server: &Server,
    client: &Client,
    rotation: Rotation<'_>,
) -> Result<TokenSet, RefreshError> {
    let presented = PlainToken::parse(rotation.token)
        .ok_or(RefreshError::InvalidGrant("it is not one of ours"))?;
    resource::check(&server.settings().public_url, rotation.resource.iter().copied())?;
    let wanted = match rotation.scope {
        Some(scope) => server.settings().scopes.parse(scope)?,
        None => Scopes::default(),
    };
    let exchange = Exchange { server, client, presented, wanted, request: rotation.request };

    let grant = exchange.grant().await?;
    // Limited per grant, not per network: other clients in the same network do not count.
    let rate = server.limiter().check(&limits::REFRESH, &grant.id.to_string()).await;
    if let Verdict::Refused { retry_after } = rate {
        return Err(RefreshError::TooOften(retry_after));
    }
    exchange.pass_gate(&grant).await?;
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
    wanted: Scopes,
    request: RequestInfo,
}

/// The case that a presented token falls into (see the module documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// A: it is the newest token of its grant.
    Rotate,
    /// B: it was exchanged within [`GRACE`].
    Grace,
    /// C: its successor is considered lost.
    Recover,
    /// D: another party has a copy of it.
    Replay,
}

/// Determines the case of a presented token. `successor_used`: whether any later token of the grant
/// was exchanged.
fn decide(
    token: &Model,
    grant: &oauth_grants::Model,
    successor_used: bool,
    now: DateTime<Utc>,
) -> Case {
    let Some(used_at) = token.used_at else {
        let newest = token.superseded_at.is_none() && token.generation == grant.generation;
        return if newest { Case::Rotate } else { Case::Replay };
    };
    let recovered_lately = grant.recovered_at.is_some_and(|it| now - it <= RECOVERY_WINDOW);
    // A `used_at` in the future, from an instance whose clock is ahead, counts as just now.
    if now - used_at <= GRACE {
        Case::Grace
    } else if !successor_used && now - used_at <= RECOVERY_WINDOW && !recovered_lately {
        Case::Recover
    } else {
        Case::Replay
    }
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
        let grant = grant.ok_or(RefreshError::InvalidGrant("its grant is gone"))?;
        let ours = self.server.settings().public_url.mcp();
        if grant.client_id != self.client.id {
            Err(RefreshError::InvalidGrant("it is another client's"))
        } else if grant.revoked_at.is_some() {
            Err(RefreshError::InvalidGrant("its grant was revoked"))
        } else if !grant::is_live(&grant, self.server.clock().now()) {
            Err(RefreshError::InvalidGrant("its grant has ended"))
        } else if grant.resource != ours {
            let why = "it was issued when this server had another address";
            Err(RefreshError::InvalidGrant(why))
        } else if !self.client.may_refresh {
            Err(RefreshError::InvalidGrant("the client may not refresh"))
        } else if !self.wanted.is_subset(&self.granted(&grant)) {
            Err(RefreshError::ScopeExceeded)
        } else {
            Ok(grant)
        }
    }

    /// The granted scopes that this version still knows.
    fn granted(&self, grant: &oauth_grants::Model) -> Scopes {
        self.server.settings().scopes.known(&grant.scope)
    }

    /// Checks the access policy for the user. The identity provider is asked again every
    /// [`GATE_RECHECK_AFTER`].
    async fn pass_gate(&self, grant: &oauth_grants::Model) -> Result<(), RefreshError> {
        let (server, user) = (self.server, UserId::new(grant.user_sub.as_str()));
        let now = server.clock().now();
        let person = users::Entity::find_by_id(user.as_str())
            .one(server.db())
            .await
            .map_err(Failure::from)?;
        let (checked_at, member_of) = match person {
            Some(person) if !known_users::is_blocked(&person) => {
                (person.gate_checked_at, person.gate_org)
            }
            Some(_) => return self.close_gate(&user, DenialReason::Blocked).await,
            None => return self.close_gate(&user, DenialReason::SignInAgain).await,
        };
        // The list is local, so it is checked every time.
        if !policy::is_listed(server, &user).await? {
            policy::count_refusal(&user, DenialReason::NotListed);
            return self.close_gate(&user, DenialReason::NotListed).await;
        }
        // A result for another organization does not count; rows of older versions have no
        // organization.
        let org = policy::org_of(server, &user);
        let same_org = member_of.as_deref() == org;
        let lately = same_org && checked_at.is_some_and(|it| now - it < GATE_RECHECK_AFTER);
        if lately || policy::is_open_to(server, &user) {
            return Ok(());
        }
        let holds = (same_org || member_of.is_none())
            && checked_at.is_some_and(|it| now - it <= GATE_ANSWER_HOLDS);
        // Without any earlier result, every request rechecks; with an outdated one, only one
        // request does.
        let asks = claim_asking(server, &user, now).await? || checked_at.is_none();
        if !asks {
            return if holds { Ok(()) } else { Err(RefreshError::GateUnknown) };
        }
        match policy::recheck(server, &user).await {
            PolicyDecision::Admitted => {
                grant::gate_was_open(server.db(), user.as_str(), now).await?;
                known_users::is_member_of(server.db(), &user, org).await?;
                Ok(())
            }
            PolicyDecision::Denied(why) => self.close_gate(&user, why).await,
            PolicyDecision::Unknown | PolicyDecision::Unreadable if holds => Ok(()),
            // A retry cannot decrypt the token either. A new sign-in stores a token that can be
            // decrypted.
            PolicyDecision::Unreadable => self.close_gate(&user, DenialReason::SignInAgain).await,
            PolicyDecision::Unknown => Err(RefreshError::GateUnknown),
        }
    }

    /// Revokes all grants of the user: the access policy concerns the user, not the app.
    async fn close_gate(&self, user: &UserId, why: DenialReason) -> Result<(), RefreshError> {
        revoke::user(self.server, user, Reason::Gate(why), &self.request).await?;
        Err(RefreshError::InvalidGrant("the person may no longer come in"))
    }

    async fn rotate(&self, grant: GrantId, minter: &Minter) -> Result<TokenSet, RefreshError> {
        let now = self.server.clock().now();
        let transaction = db::begin(self.server.db()).await?;
        // From here on, the lock prevents other changes to the grant and its tokens.
        let grant = self.accept(grant::lock(&transaction, grant).await?)?;
        if !code::may_come_in(&transaction, &grant.user_sub).await? {
            return Err(RefreshError::InvalidGrant("the person was shut out"));
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
        let (kind, refresh_token) = match decide(&token, &grant, successor_used, now) {
            Case::Rotate => {
                let successor = self.succeed(&transaction, &grant, &token, now).await?;
                forget_seals(&transaction, &token, now).await?;
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
        let scope = if self.wanted.is_empty() { self.granted(&grant) } else { self.wanted.clone() };
        let access_token = grant::mint(minter, &grant, &scope)?;
        let event = self.event(kind, &grant).detail(scope.to_string());
        audit::write(&transaction, now, &event).await?;
        transaction.commit().await.map_err(Failure::from)?;
        event.log();
        Ok(TokenSet {
            access_token,
            expires_in: self.server.tokens().ttl(),
            refresh_token: Some(refresh_token),
            scope,
        })
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
            return Err(RefreshError::InvalidGrant("it is too far behind"));
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
        let ended = Ended { at: now, grants: std::slice::from_ref(grant), person: None };
        revoke::tell(self.server, ended).await;
        Err(RefreshError::InvalidGrant("it was used before"))
    }

    fn event(&self, kind: audit::Kind, grant: &oauth_grants::Model) -> Event {
        Event::new(kind, &self.request)
            .user(&UserId::new(grant.user_sub.as_str()))
            .client(&grant.client_id)
            .grant(grant.id)
    }
}

async fn find(db: &impl ConnectionTrait, token: &PlainToken) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(token.hash()).one(db).await?)
}

/// Returns whether any later token of the grant was exchanged.
async fn was_used_after(db: &impl ConnectionTrait, token: &Model) -> Result<bool, Failure> {
    let used = Entity::of(token.grant_id)
        .filter(COLUMN.generation.gt(token.generation))
        .filter(COLUMN.used_at.is_not_null())
        .count(db)
        .await?;
    Ok(used > 0)
}

/// Invalidates all later tokens of the grant, because the client never received them.
async fn supersede_after(
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
async fn forget_seals(
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

/// Claims the recheck of a user for this request. Returns `true` to only one caller per
/// [`GATE_ASKING`].
async fn claim_asking(server: &Server, user: &UserId, now: DateTime<Utc>) -> Result<bool, Failure> {
    let claimed = users::Entity::update_one_of(user.as_str())
        .col_expr(users::Column::GateAskedAt, Expr::value(now))
        .filter(
            Condition::any()
                .add(users::COLUMN.gate_asked_at.is_null())
                .add(users::COLUMN.gate_asked_at.lte(now - GATE_ASKING)),
        )
        .exec(server.db())
        .await?;
    Ok(claimed.rows_affected == 1)
}

/// Derives the key that encrypts the successor of a token.
fn key(token: &PlainToken) -> SealingKey {
    SealingKey::new(Secret::new(token.expose()).derive("refresh-successor/v1"))
}

/// Associated data of the encryption: the grant, and the generation of the token whose key decrypts
/// it.
fn purpose(token: &Model) -> Vec<u8> {
    [token.grant_id.0.as_bytes().as_slice(), &token.generation.to_be_bytes()].concat()
}

fn seal(presented: &PlainToken, row: &Model, successor: &PlainToken) -> anyhow::Result<Vec<u8>> {
    key(presented).seal(&purpose(row), successor.expose().as_bytes())
}

fn open(presented: &PlainToken, row: &Model) -> anyhow::Result<PlainToken> {
    let sealed = row.successor_sealed.as_deref();
    let sealed = sealed.context("a used refresh token has no sealed successor")?;
    let plain = key(presented)
        .open(&purpose(row), sealed)
        .map_err(|Damaged| anyhow!("a sealed refresh token is damaged"))?;
    PlainToken::parse(std::str::from_utf8(&plain)?).context("a sealed refresh token is none")
}

#[cfg(test)]
mod tests {
    use entity::{ClientId, Digest};
    use uuid::Uuid;

    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn token(generation: i32, used_at: Option<DateTime<Utc>>) -> Model {
        Model {
            token_hash: Digest::new([0; 32]),
            grant_id: GrantId(Uuid::nil()),
            generation,
            issued_at: at(0),
            used_at,
            superseded_at: None,
            successor_sealed: None,
        }
    }

    fn grant(generation: i32, recovered_at: Option<DateTime<Utc>>) -> oauth_grants::Model {
        oauth_grants::Model {
            id: GrantId(Uuid::nil()),
            user_sub: "dev:ada".to_owned(),
            client_id: ClientId("a-client".to_owned()),
            redirect_uri: "https://app.example.com/cb".to_owned(),
            scope: "notes:read".to_owned(),
            resource: "https://notes.example.com/mcp".to_owned(),
            code_hash: Digest::new([1; 32]),
            code_challenge: vec![0; 32],
            auth_time: at(0),
            created_at: at(0),
            last_used_at: at(0),
            ends_at: at(1_000_000),
            generation,
            recovered_at,
            revoked_at: None,
            revoked_reason: None,
        }
    }

    #[test]
    fn what_a_token_means_follows_from_the_rows() {
        const DAY: i64 = 24 * 60;
        let second = TimeDelta::seconds(1);
        let now = at(10 * DAY);
        let ago = |it: TimeDelta| Some(now - it);
        let superseded = Model { superseded_at: Some(at(1)), ..token(2, None) };
        for (why, token, grant, successor_used, expected) in [
            ("the newest", token(1, None), grant(1, None), false, Case::Rotate),
            ("the newest of many", token(7, None), grant(7, ago(second)), false, Case::Rotate),
            ("unused but not the newest", token(1, None), grant(2, None), false, Case::Replay),
            ("replaced", superseded.clone(), grant(3, None), false, Case::Replay),
            ("replaced, newest by mistake", superseded, grant(2, None), false, Case::Replay),
            ("just now", token(1, Some(now)), grant(2, None), false, Case::Grace),
            (
                "by a clock ahead of ours",
                token(1, Some(now + second)),
                grant(2, None),
                false,
                Case::Grace,
            ),
            ("last moment of grace", token(1, ago(GRACE)), grant(2, None), false, Case::Grace),
            ("in grace, successor used", token(1, ago(GRACE)), grant(3, None), true, Case::Grace),
            (
                "in grace after a recovery",
                token(1, ago(GRACE)),
                grant(3, ago(GRACE)),
                false,
                Case::Grace,
            ),
            (
                "grace is over, successor used",
                token(1, ago(GRACE + second)),
                grant(3, None),
                true,
                Case::Replay,
            ),
            (
                "grace is over, successor lost",
                token(1, ago(GRACE + second)),
                grant(2, None),
                false,
                Case::Recover,
            ),
            (
                "last moment to recover",
                token(1, ago(RECOVERY_WINDOW)),
                grant(2, None),
                false,
                Case::Recover,
            ),
            (
                "too late to recover",
                token(1, ago(RECOVERY_WINDOW + second)),
                grant(2, None),
                false,
                Case::Replay,
            ),
            (
                "recovered already",
                token(1, ago(GRACE + second)),
                grant(3, ago(RECOVERY_WINDOW)),
                false,
                Case::Replay,
            ),
            (
                "recovered long ago",
                token(5, ago(GRACE + second)),
                grant(6, ago(RECOVERY_WINDOW + second)),
                false,
                Case::Recover,
            ),
        ] {
            assert_eq!(decide(&token, &grant, successor_used, now), expected, "{why}");
        }
    }

    #[test]
    fn only_the_predecessor_opens_a_seal() {
        let (presented, successor) = (PlainToken::generate(), PlainToken::generate());
        let mut row = token(3, Some(at(1)));
        row.successor_sealed = Some(seal(&presented, &row, &successor).unwrap());
        let opened = open(&presented, &row).unwrap();
        assert_eq!(opened.expose(), successor.expose());
        assert!(
            !row.successor_sealed
                .as_ref()
                .unwrap()
                .windows(8)
                .any(|it| successor.expose().as_bytes().starts_with(it)),
            "and it cannot be read without"
        );

        assert!(open(&PlainToken::generate(), &row).is_err());
        assert!(open(&successor, &row).is_err());
        for other in [
            Model { generation: 2, ..row.clone() },
            Model { grant_id: GrantId(Uuid::max()), ..row.clone() },
            Model { successor_sealed: None, ..row.clone() },
            Model { successor_sealed: Some(vec![0; 10]), ..row.clone() },
            Model { successor_sealed: Some(vec![0; 100]), ..row.clone() },
        ] {
            assert!(open(&presented, &other).is_err());
        }
    }
}
