//! Checks whether a user, with a given grant and signing key, may still act. Used wherever
//! something outlives the check of a credential.
//!
//! | what ends access | where it is stored |
//! |---|---|
//! | `users block` | `users.blocked_at`, a cutoff of the user, their grants revoked |
//! | the access policy refuses the user (removed from the list, no longer a member) | a cutoff, their grants revoked |
//! | the account is deleted | a cutoff, their grants revoked |
//! | a grant is revoked (by the client, the user, a replay, `clients revoke`) | `oauth_grants.revoked_at` |
//! | `keys revoke` | `oauth_signing_keys.state` |
//!
//! The database is authoritative, and [`denied`] queries it: at the claim and at each heartbeat of
//! a job, for an export link and for a session of the account page. Requests and open streams use
//! the copy in memory ([`super::revoked`]), which follows within about a second. `/token` locks the
//! grant's row instead, and checks the access policy as well.
//!
//! A **cutoff** invalidates everything issued to a user up to a moment. It covers what has no
//! grant: the session of the account page, and access tokens that an operator issued. A grant that
//! is still live was issued after the cutoff, because the cutoff revokes all grants in its
//! transaction.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    GrantId, Kid,
    access_cutoffs::{ActiveModel, Column, Entity},
};
use mcp::{Caller, UserId};
use platform::db::{Failure, dialect};
use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait as _, QueryResult, Set,
    sea_query::{Alias, Expr, ExprTrait as _, OnConflict},
};
use serde_json::{Value, json};

use super::{login::users::BLOCKED, reason::Reason};

/// The credential that a request, a job or a download acts with: a user, and a grant or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The user.
    pub user: UserId,
    /// The grant, if the credential came from one.
    pub grant: Option<GrantId>,
    /// The key that signed the access token, if there is one.
    pub key: Option<Kid>,
    /// When the credential, or the job or link that was created with it, was issued.
    pub issued_at: DateTime<Utc>,
}

/// Why an [`Authority`] is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// An operator blocked the user.
    Blocked,
    /// The user's access was ended after the credential was issued.
    CutOff,
    /// The grant was revoked.
    GrantRevoked,
    /// The signing key was revoked.
    KeyRevoked,
}

impl Denied {
    /// Returns the reason as a word, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::CutOff => "cut_off",
            Self::GrantRevoked => "grant_revoked",
            Self::KeyRevoked => "key_revoked",
        }
    }

    /// Returns why a job that was started with this authority was stopped, as sentences for users
    /// and models.
    pub fn job_sentence(self) -> &'static str {
        match self {
            Self::Blocked => {
                "The job was stopped, because this account was blocked. Ask the operator of this \
                 server."
            }
            Self::CutOff => {
                "The job was stopped, because the access of this account was ended after the job \
                 was started. Sign in again, then start it again."
            }
            Self::GrantRevoked => {
                "The job was stopped, because the app that started it was disconnected. Connect the \
                 app again, then start the job again."
            }
            Self::KeyRevoked => {
                "The job was stopped, because the signing key of the access token that started it \
                 was revoked. Start it again."
            }
        }
    }
}

impl Authority {
    /// Returns the authority of an authenticated request.
    pub fn of(caller: &Caller) -> Self {
        Self {
            user: caller.user.clone(),
            grant: caller.grant.parse().ok(),
            key: (!caller.key.is_empty()).then(|| Kid(caller.key.to_string())),
            issued_at: DateTime::from_timestamp(caller.issued_at, 0).unwrap_or_default(),
        }
    }
}

/// Queries the database for why an authority is no longer valid. `Ok(None)`: its holder may act.
pub async fn denied(
    db: &impl ConnectionTrait,
    authority: &Authority,
) -> Result<Option<Denied>, Failure> {
    Ok(denied_all(db, std::slice::from_ref(authority)).await?.pop().flatten())
}

/// Queries the reasons for several authorities, like [`denied`], with one statement. The results
/// are in the order of `authorities`.
pub async fn denied_all(
    db: &impl ConnectionTrait,
    authorities: &[Authority],
) -> Result<Vec<Option<Denied>>, Failure> {
    if authorities.is_empty() {
        return Ok(Vec::new());
    }
    let given: Vec<Value> = authorities
        .iter()
        .enumerate()
        .map(|(number, authority)| {
            let Authority { user, grant, key, .. } = authority;
            json!({ "number": number, "owner": user, "grant_id": grant, "signer": key })
        })
        .collect();
    let backend = db.get_database_backend();
    let rows = dialect::rows(db, statement(backend), [Value::from(given).to_string().into()]);
    let mut denied = vec![None; authorities.len()];
    for row in rows.await? {
        let number: i32 = row.try_get("", "number")?;
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if let (Some(denied), Some(authority)) = (denied.get_mut(index), authorities.get(index)) {
            *denied = read(&row, authority)?;
        }
    }
    Ok(denied)
}

/// Builds the statement. It has subqueries rather than joins, so that the planner looks up each row
/// by its key.
fn statement(backend: DbBackend) -> String {
    let columns =
        [("number", "integer"), ("owner", "text"), ("grant_id", "uuid"), ("signer", "text")];
    let (number, grant) = match backend {
        DbBackend::Postgres => ("given.number", "given.grant_id"),
        // SQLite stores UUIDs as bytes.
        _ => ("CAST(given.number AS integer)", "unhex(replace(given.grant_id, '-', ''))"),
    };
    format!(
        "SELECT {number} AS number,
            coalesce((SELECT {BLOCKED} FROM users WHERE sub = given.owner), false) AS blocked,
            (SELECT cutoff_at FROM access_cutoffs WHERE user_sub = given.owner) AS cutoff_at,
            (SELECT created_at FROM oauth_grants WHERE id = {grant}) IS NOT NULL AS has_grant,
            (SELECT revoked_at FROM oauth_grants WHERE id = {grant}) IS NOT NULL AS grant_revoked,
            EXISTS (SELECT 1 FROM oauth_signing_keys WHERE kid = given.signer
                AND state = 'revoked') AS key_revoked
        FROM {}",
        dialect::given(backend, &columns)
    )
}

fn read(row: &QueryResult, authority: &Authority) -> Result<Option<Denied>, Failure> {
    let flag = |name: &str| row.try_get::<bool>("", name);
    let cutoff: Option<DateTime<Utc>> = row.try_get("", "cutoff_at")?;
    Ok(if flag("blocked")? {
        Some(Denied::Blocked)
    } else if flag("grant_revoked")? {
        Some(Denied::GrantRevoked)
    } else if flag("key_revoked")? {
        Some(Denied::KeyRevoked)
    } else if !flag("has_grant")? && cutoff.is_some_and(|cutoff| authority.issued_at <= cutoff) {
        Some(Denied::CutOff)
    } else {
        None
    })
}

/// Invalidates everything that was issued to a user until now, within a larger transaction.
pub(super) async fn cut_off(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    user: &UserId,
    reason: Reason,
) -> Result<(), Failure> {
    let row = ActiveModel {
        user_sub: Set(user.as_str().to_owned()),
        cutoff_at: Set(now),
        reason: Set(reason.as_str().to_owned()),
    };
    let newer = Expr::col((Entity, Column::CutoffAt))
        .lt(Expr::col((Alias::new("excluded"), Column::CutoffAt)));
    let on_conflict = OnConflict::column(Column::UserSub)
        .update_columns([Column::CutoffAt, Column::Reason])
        .action_and_where(newer)
        .to_owned();
    Entity::insert(row).on_conflict(on_conflict).exec_without_returning(db).await?;
    Ok(())
}

/// Returns the earliest time of issue that no existing cutoff of the user invalidates: now, unless
/// the last cutoff was made just now, or by an instance whose clock is ahead.
pub(super) async fn issue_at(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    user: &UserId,
) -> Result<DateTime<Utc>, Failure> {
    let last = Entity::find_by_id(user.as_str()).one(db).await?;
    Ok(match last {
        Some(last) => Ord::max(now, last.cutoff_at + TimeDelta::microseconds(1)),
        None => now,
    })
}
