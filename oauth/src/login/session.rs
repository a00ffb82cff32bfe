//! The browser session of the account page.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mcp::UserId;
use platform::db::Failure;
use serde::{Deserialize, Serialize};

use super::{result::CallbackError, users};
use crate::{
    access::{self, Authority},
    pending::{self, Record, StoreUnavailable, new_secret},
    server::Server,
};

/// The lifetime of a session of the account page. Use does not extend it.
pub const ACCOUNT_SESSION_TTL: Duration = Duration::from_hours(12);

/// A signed-in session of the account page.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user.
    pub user: UserId,
    /// The user's login name.
    pub login: String,
    /// The CSRF token that every form of the account page must contain.
    pub csrf: String,
    /// When the user signed in.
    pub signed_in_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct StoredSession {
    user: UserId,
    login: String,
    csrf: String,
    signed_in_at: DateTime<Utc>,
}

impl Record for StoredSession {
    const KIND: &'static str = "session";
}

/// Creates a session. Returns the value of its cookie.
pub(super) async fn create(
    server: &Server,
    user: UserId,
    login: String,
    signed_in_at: DateTime<Utc>,
) -> Result<String, StoreUnavailable> {
    let cookie = new_secret();
    let stored = StoredSession { user, login, csrf: new_secret(), signed_in_at };
    pending::put(server.pending(), &cookie, &stored, ACCOUNT_SESSION_TTL).await?;
    Ok(cookie)
}

/// Finds the session of the account page by the value of its cookie. `Ok(None)`: there is no such
/// session, the account was deleted, or its access was ended ([`access`]).
pub async fn session(server: &Server, cookie: &str) -> Result<Option<Session>, CallbackError> {
    let Some(stored) = pending::peek::<StoredSession>(server.pending(), cookie).await? else {
        return Ok(None);
    };
    let authority = Authority {
        user: stored.user.clone(),
        grant: None,
        key: None,
        issued_at: stored.signed_in_at,
    };
    let looked_up = async {
        let exists = users::get(server.db(), &stored.user).await?.is_some();
        Ok::<_, Failure>(exists && access::denied(server.db(), &authority).await?.is_none())
    };
    let may_act = looked_up.await.map_err(|failure| {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not look up a session of the account page"
        );
        CallbackError::Unavailable
    })?;
    Ok(may_act.then_some(Session {
        user: stored.user,
        login: stored.login,
        csrf: stored.csrf,
        signed_in_at: stored.signed_in_at,
    }))
}

/// Ends a session of the account page.
pub async fn sign_out(server: &Server, cookie: &str) -> Result<(), StoreUnavailable> {
    pending::take::<StoredSession>(server.pending(), cookie).await.map(drop)
}
