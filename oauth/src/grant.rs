//! A grant: the authorization that a user gave one installation of a client. The access tokens of a
//! grant have its id in the claim `sid`. Its refresh tokens are invalid once it has
//! ended; its access tokens once it was revoked, or when they expire.
//!
//! Times come from the service's clock, not from the database's. The clocks of instances agree to
//! within a few seconds (a token from further in the future is refused), every lifetime here is
//! minutes or more, and what must happen once is ensured by locks and unique indexes, never by
//! comparing clocks. In return, both databases behave alike, and tests can control the time.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    GrantId,
    oauth_grants::{COLUMN, Entity, Model},
    users,
};
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{
    Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    sea_query::Expr,
};

pub use super::reason::Reason;
use super::{
    access_token::{Minter, NewToken},
    dpop::Thumbprint,
    scope::Scopes,
    token_format::PlainToken,
};

/// A grant that is not used for this long ends. Each use restarts this time.
pub const IDLE_LIFETIME: TimeDelta = TimeDelta::days(30);

/// The minimum time that the row of an ended grant is kept. Longer than the lifetime of any access
/// token, because the row is what invalidates the grant's tokens.
pub const MIN_ENDED_RETENTION: Duration = Duration::from_hours(48);

/// A grant ends after this long even if it is used. The user must then authorize the client again.
pub const ABSOLUTE_LIFETIME: TimeDelta = TimeDelta::days(90);

/// The tokens that a client gets for a code or a refresh token.
#[derive(Debug)]
pub struct TokenSet {
    /// The access token: a JWT.
    pub access_token: AccessToken,
    /// The lifetime of the access token.
    pub expires_in: Duration,
    /// The refresh token, if the client may have one.
    pub refresh_token: Option<PlainToken>,
    /// The scope of the access token.
    pub scope: Scopes,
    /// The key that the access token is bound to. `None`: it is a bearer token.
    pub dpop_key: Option<Thumbprint>,
}

/// An access token, as it is issued to the client. Its `Debug` output does not contain the token.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Box<str>);

impl AccessToken {
    /// Returns the token.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken")
    }
}

/// Returns when a grant ends if it is used now and not again.
pub(super) fn ends_at(created_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    Ord::min(created_at + ABSOLUTE_LIFETIME, now + IDLE_LIFETIME)
}

/// Returns whether tokens can still be issued from a grant.
pub(super) fn is_live(grant: &Model, now: DateTime<Utc>) -> bool {
    grant.revoked_at.is_none() && now < grant.ends_at
}

/// Finds a grant, and locks its row until the transaction ends. `Ok(None)`: no such grant.
pub(super) async fn lock(db: &impl ConnectionTrait, id: GrantId) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(id).lock_exclusive().one(db).await?)
}

/// Returns the key that the tokens of a grant are bound to. `Ok(None)`: to no key.
pub(super) fn dpop_key(grant: &Model) -> Result<Option<Thumbprint>, Failure> {
    let key = grant.dpop_jkt.as_deref().map(Thumbprint::parse).transpose();
    key.context("the DPoP key of a grant is malformed").map_err(Failure::Internal)
}

/// Signs an access token of a grant, bound to this key.
pub(super) fn mint(
    minter: &Minter,
    grant: &Model,
    scope: &Scopes,
    dpop_key: Option<&Thumbprint>,
) -> Result<AccessToken, Failure> {
    let token = minter.mint(NewToken {
        user: UserId::new(grant.user_sub.as_str()),
        client: grant.client_id.as_str().to_owned(),
        scopes: scope.to_set(),
        session_id: grant.id.to_string(),
        signed_in_at: Some(grant.auth_time),
        ttl: None,
        dpop_key: dpop_key.cloned(),
    })?;
    Ok(AccessToken(token.into()))
}

/// Stores when the access policy last admitted a user. Never moves the time backwards.
pub(super) async fn set_policy_checked_at(
    db: &impl ConnectionTrait,
    user: &str,
    checked_at: DateTime<Utc>,
) -> Result<(), Failure> {
    users::Entity::update_by_sub(user)
        .col_expr(users::Column::GateCheckedAt, Expr::value(checked_at))
        .filter(
            Condition::any()
                .add(users::COLUMN.gate_checked_at.is_null())
                .add(users::COLUMN.gate_checked_at.lt(checked_at)),
        )
        .exec(db)
        .await?;
    Ok(())
}

/// Builds the condition for live grants, which all queries about connected apps use.
pub(super) fn live(now: DateTime<Utc>) -> Condition {
    Condition::all().add(COLUMN.revoked_at.is_null()).add(COLUMN.ends_at.gt(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends_when_it_is_idle_and_at_the_latest_after_ninety_days() {
        let created = DateTime::UNIX_EPOCH;
        let day = |n| created + TimeDelta::days(n);
        for (used, ends) in [(0, 30), (1, 31), (29, 59), (60, 90), (61, 90), (89, 90)] {
            assert_eq!(ends_at(created, day(used)), day(ends), "used on day {used}");
        }
    }

    #[test]
    fn rows_are_kept_until_no_token_needs_them() {
        // A client must not be deleted before its grants end.
        assert!(crate::client::IDLE_LIFETIME >= ABSOLUTE_LIFETIME);
        // The row of an ended grant invalidates its access tokens.
        assert!(MIN_ENDED_RETENTION > crate::access_token::MAX_TTL);
    }
}
