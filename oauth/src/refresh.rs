//! Refresh tokens: each is exchanged for its successor, and one that turns up again later ends its
//! grant.
//!
//! An answer can be lost, and several processes can share one token, so a token that is presented
//! twice is not always stolen. An exchange is one transaction under a lock on the grant's row, and
//! one of four cases ([`decide`]):
//!
//! | case | when | what happens |
//! |---|---|---|
//! | A, rotation | the newest token | it gets a successor |
//! | B, grace | exchanged within [`GRACE`] | the same newest token again, and a fresh access token |
//! | C, recovery | exchanged longer ago, but nothing that came of it was ever used | a new successor takes the place of the lost one; once in [`RECOVERY_WINDOW`] |
//! | D, replay | anything else | the grant is revoked: this one, and no other of the person |
//!
//! Case B needs the newest token in the clear, which is not kept. So each successor is kept sealed
//! under its predecessor: whoever presents that can be told, and nobody else can read it, not even
//! with the whole database. No secret is needed that instances would have to share.
//!
//! **Case C deviates from the letter** of RFC 9700, which would treat it as a replay: losing an
//! answer for longer than [`GRACE`] is far more common than theft (a laptop that is closed at the
//! wrong moment), and a thief gains nothing by it: of the two tokens one is dead afterwards, so the
//! next exchange by the other party still ends the grant.
//!
//! Whether the person may still come in is asked before that, outside of any lock.

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
    gate::{self, Closed, GateAnswer},
    grant::{self, Reason, TokenSet},
    limits::{self, Verdict},
    resource,
    revoke::{self, Ended},
    scope::{MalformedScope, Scopes},
    token_format::PlainToken,
};
use crate::server::Server;

/// How long after its exchange a token is still answered with the same successor: long enough for
/// retries and for processes that share it, short enough that a thief is noticed.
pub const GRACE: TimeDelta = TimeDelta::seconds(120);

/// How long after its exchange a token can be used to replace a lost successor, and how often: once
/// in this time.
pub const RECOVERY_WINDOW: TimeDelta = TimeDelta::hours(24);

/// How long an answer about a person holds before it is asked for again.
pub const GATE_RECHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How long the last good answer holds while no new one can be had.
pub const GATE_ANSWER_HOLDS: TimeDelta = TimeDelta::hours(24);

/// How long others go on with the last answer while one instance asks. Longer than asking takes.
const GATE_ASKING: TimeDelta = TimeDelta::seconds(15);

/// The most successors that are opened to find the newest token. A client that refreshes more often
/// than this within [`GRACE`] is broken.
const MAX_CHAIN: i32 = 100;

/// What a client presents.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// The refresh token.
    pub token: &'a str,
    /// What the access token shall be able to do; none, or no known one, means everything that was
    /// agreed to. The grant keeps its scope.
    pub scope: Option<&'a str>,
    /// Which resources the token is for; none means ours.
    pub resource: &'a [&'a str],
    /// The request in which this happens.
    pub request: RequestInfo,
}

/// Why there are no new tokens.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The token is worth nothing, or not to this client; says why, for the log.
    #[error("the refresh token cannot be exchanged: {0}")]
    InvalidGrant(&'static str),
    /// The request for scopes breaks the grammar.
    #[error("{0}")]
    InvalidScope(#[from] MalformedScope),
    /// The request asks for more than was agreed to.
    #[error("scope must not exceed what was granted")]
    ScopeExceeded,
    /// The token shall be for a resource that is not ours.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// Nothing can be concluded: the same request may succeed later.
    #[error("the token cannot be looked up at the moment")]
    Unavailable(#[from] Failure),
    /// The tokens of this grant were exchanged too often lately; worth another try after this long.
    #[error("the tokens of this grant were exchanged too often lately")]
    TooOften(Duration),
    /// Nobody can tell at the moment whether the person may still come in.
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
        Some(scope) => Scopes::parse(scope)?,
        None => Scopes::default(),
    };
    let exchange = Exchange { server, client, presented, wanted, request: rotation.request };

    let grant = exchange.grant().await?;
    // By grant, not by network: who else is in the network does not matter to it.
    let rate = server.limiter().check(&limits::REFRESH, &grant.id.to_string()).await;
    if let Verdict::Refused { retry_after } = rate {
        return Err(RefreshError::TooOften(retry_after));
    }
    exchange.pass_gate(&grant).await?;
    // Before the transaction, which may hold the only connection.
    let minter = server.tokens().minter().await?;
    exchange.rotate(grant.id, &minter).await
}

/// One presentation of a token.
struct Exchange<'a> {
    server: &'a Server,
    client: &'a Client,
    presented: PlainToken,
    /// Nothing means everything.
    wanted: Scopes,
    request: RequestInfo,
}

/// What a token that is presented means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// A: it is the newest.
    Rotate,
    /// B: it was exchanged just now.
    Grace,
    /// C: its successor was lost.
    Recover,
    /// D: somebody else has it too.
    Replay,
}

/// Which case it is. `successor_used`: whether any token that came after this one was exchanged.
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
    // A time from ahead of ours, by another clock, counts as just now.
    if now - used_at <= GRACE {
        Case::Grace
    } else if !successor_used && now - used_at <= RECOVERY_WINDOW && !recovered_lately {
        Case::Recover
    } else {
        Case::Replay
    }
}

impl Exchange<'_> {
    /// The grant that the token belongs to, without a lock.
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
            self.request.parties.set_user(&grant.user_sub);
        }
        self.accept(grant)
    }

    /// A grant that this client may use now.
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
        } else if !self.wanted.is_subset(&Scopes::known(&grant.scope)) {
            Err(RefreshError::ScopeExceeded)
        } else {
            Ok(grant)
        }
    }

    /// Whether the person may still come in. GitHub is asked anew every [`GATE_RECHECK_AFTER`].
    async fn pass_gate(&self, grant: &oauth_grants::Model) -> Result<(), RefreshError> {
        let (server, user) = (self.server, UserId::new(grant.user_sub.as_str()));
        let now = server.clock().now();
        let person = users::Entity::find_by_id(user.as_str())
            .one(server.db())
            .await
            .map_err(Failure::from)?;
        let (checked_at, member_of) = match person {
            Some(person) if person.blocked_at.is_none() => {
                (person.gate_checked_at, person.gate_org)
            }
            Some(_) => return self.close_gate(&user, Closed::Blocked).await,
            None => return self.close_gate(&user, Closed::SignInAgain).await,
        };
        // The list is here, so it is looked at each time.
        if !gate::is_listed(server, &user).await? {
            gate::count_refusal(&user, Closed::NotListed);
            return self.close_gate(&user, Closed::NotListed).await;
        }
        // An answer about another organization is none; rows of older versions do not say.
        let org = server.settings().gate.org.as_deref();
        let same_org = member_of.as_deref() == org;
        let lately = same_org && checked_at.is_some_and(|it| now - it < GATE_RECHECK_AFTER);
        if lately || gate::is_open_to(server, &user) {
            return Ok(());
        }
        let holds = (same_org || member_of.is_none())
            && checked_at.is_some_and(|it| now - it <= GATE_ANSWER_HOLDS);
        // Whoever has no answer at all has to ask; of those who have an old one, one does.
        let asks = claim_asking(server, &user, now).await? || checked_at.is_none();
        if !asks {
            return if holds { Ok(()) } else { Err(RefreshError::GateUnknown) };
        }
        match gate::recheck(server, &user).await {
            GateAnswer::Open => {
                grant::gate_was_open(server.db(), user.as_str(), now).await?;
                crate::users::is_member_of(server.db(), &user, org).await?;
                Ok(())
            }
            GateAnswer::Closed(why) => self.close_gate(&user, why).await,
            GateAnswer::Unknown | GateAnswer::Unreadable if holds => Ok(()),
            // No later try would read it: a new sign-in brings a token that can be read.
            GateAnswer::Unreadable => self.close_gate(&user, Closed::SignInAgain).await,
            GateAnswer::Unknown => Err(RefreshError::GateUnknown),
        }
    }

    /// The gate is about the person, not about the app: all of theirs end.
    async fn close_gate(&self, user: &UserId, why: Closed) -> Result<(), RefreshError> {
        revoke::user(self.server, user, Reason::Gate(why), &self.request).await?;
        Err(RefreshError::InvalidGrant("the person may no longer come in"))
    }

    async fn rotate(&self, grant: GrantId, minter: &Minter) -> Result<TokenSet, RefreshError> {
        let now = self.server.clock().now();
        let transaction = db::begin(self.server.db()).await?;
        // From here on nobody else changes the grant or its tokens.
        let grant = self.accept(grant::lock(&transaction, grant).await?)?;
        if !code::may_come_in(&transaction, &grant.user_sub).await? {
            return Err(RefreshError::InvalidGrant("the person was shut out"));
        }
        let Some(token) = find(&transaction, &self.presented).await? else {
            return Err(RefreshError::InvalidGrant("it does not exist"));
        };
        // Within the grace it does not matter, and then many may wait for their turn.
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
        let scope =
            if self.wanted.is_empty() { Scopes::known(&grant.scope) } else { self.wanted.clone() };
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

    /// Gives the token a successor, which becomes the newest of its grant.
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

    /// The newest token of the grant, by opening one seal after the other.
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

/// Whether any later token of the grant was exchanged.
async fn was_used_after(db: &impl ConnectionTrait, token: &Model) -> Result<bool, Failure> {
    let used = Entity::of(token.grant_id)
        .filter(COLUMN.generation.gt(token.generation))
        .filter(COLUMN.used_at.is_not_null())
        .count(db)
        .await?;
    Ok(used > 0)
}

/// Ends what came after a token, because its client never had it.
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

/// Forgets the seals of older tokens, which nobody can ask for any more: a successor was used, and
/// the time of grace is over.
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

/// Lets one instance ask about a person: whoever gets true is the one.
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

/// The key that a token opens its successor with.
fn key(token: &PlainToken) -> SealingKey {
    SealingKey::new(Secret::new(token.expose()).derive("refresh-successor/v1"))
}

/// What a seal is bound to: the grant, and the generation of the token that opens it.
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
