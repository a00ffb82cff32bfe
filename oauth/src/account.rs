//! The account: connected apps and account deletion for users, blocking and unblocking for
//! operators.

use chrono::{DateTime, Utc};
use entity::{
    ClientId, GrantId, oauth_calls, oauth_codes,
    oauth_grants::{Entity, Model},
    upstream_tokens, users as users_table,
};
use mcp::UserId;
use platform::{
    counted,
    db::{self, Failure},
};
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _, sea_query::Expr};

use super::{
    audit::{self, Event, RequestInfo},
    calls::{self, AppCalls},
    client,
    display_name::DisplayName,
    grant::{self, Reason},
    id_jag,
    revoke::{self, Ended},
    scope::Scopes,
};
use crate::{login::users, server::Server};

/// The maximum number of connected apps that are listed. [`disconnect_all`] disconnects the others,
/// too.
pub const MAX_LISTED: u64 = 200;

/// A connected app: one installation of a client that the user authorized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedApp {
    /// The grant, by which the app is disconnected.
    pub grant: GrantId,
    /// The client.
    pub client: ClientId,
    /// The self-declared name of the client. `None`: the client is no longer known.
    pub name: Option<DisplayName>,
    /// The redirect URI of its code, which distinguishes installations of the same client. `None`: there
    /// was no code.
    pub redirect_uri: Option<String>,
    /// The name of the identity provider whose assertion connected it ([`crate::id_jag`]). `None`: the
    /// user did, or the provider is no longer configured.
    pub through: Option<String>,
    /// The granted scope.
    pub scope: Scopes,
    /// Whether its tokens are bound to a key of the app (DPoP).
    pub bound_to_key: bool,
    /// When it was connected.
    pub connected_at: DateTime<Utc>,
    /// When it last called or requested a token.
    pub last_used_at: DateTime<Utc>,
    /// The number of its calls in the last [`calls::DAYS`].
    pub calls: u64,
    /// When the grant ends if it is not used until then.
    pub ends_at: DateTime<Utc>,
}

/// The result of deleting an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The number of resources that the user owned.
    pub things: u64,
    /// The number of connected apps.
    pub apps: usize,
}

/// Returns the connected apps of a user, newest first, at most [`MAX_LISTED`].
pub async fn connected(server: &Server, user: &UserId) -> Result<Vec<ConnectedApp>, Failure> {
    let now = server.clock().now();
    let grants = Entity::owned_by(user.as_str())
        .filter(grant::live(now))
        .limit(MAX_LISTED)
        .all(&server.db_of(user))
        .await?;
    let mut calls = calls::of(server, user).await?;
    let mut apps: Vec<ConnectedApp> = Vec::with_capacity(grants.len());
    for grant in grants {
        // Most users have few clients, each connected several times.
        let name = match apps.iter().find(|it| it.client == grant.client_id) {
            Some(same) => same.name.clone(),
            None => client::name_of(server, &grant.client_id).await,
        };
        let calls = calls.remove(&grant.id).unwrap_or_default();
        apps.push(app(server, grant, name, calls));
    }
    Ok(apps)
}

/// Disconnects one app. Returns `false` if it was not connected, or belongs to another user.
pub async fn disconnect(
    server: &Server,
    user: &UserId,
    grant: GrantId,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    revoke::owned(server, user, grant, Reason::Person, request).await
}

/// Disconnects all apps of a user. Returns how many there were.
pub async fn disconnect_all(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<usize, Failure> {
    Ok(revoke::user(server, user, Reason::Person, request).await?.len())
}

/// Deletes an account with everything that the user owns, permanently and in one transaction.
///
/// Three things are kept. The grants are kept, revoked, so that every instance learns of the
/// revocation, and then for the usual retention; the audit log is kept for its retention; and the
/// row of a blocked user is kept, because otherwise deleting the account would lift the block.
///
/// A client that redeems a code at the same time locks the code first, and then the user
/// ([`users::lock_active`]). So the codes are deleted first, then the user, and the grants are
/// revoked last: if the redemption was earlier, its grant is revoked here; if it is later, it does
/// not find the user.
pub async fn delete(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<Deleted, Failure> {
    let transaction = db::begin_long_running(&server.db_of(user)).await?;
    oauth_codes::Entity::delete_owned_by(user.as_str()).exec(&transaction).await?;
    // Before the user: an instance that writes counts locks them in this order, too.
    oauth_calls::Entity::delete_owned_by(user.as_str()).exec(&transaction).await?;
    users_table::Entity::delete_many()
        .filter(users_table::COLUMN.sub.eq(user.as_str()))
        .filter(users::not_blocked())
        .exec(&transaction)
        .await?;
    let removed = server.dependents().delete_owned(&transaction, user).await?;
    upstream_tokens::Entity::delete_by_id(user.as_str()).exec(&transaction).await?;
    // The time of revocation is taken as late as possible: other instances poll for recent
    // revocations.
    let now = server.clock().now();
    let grants = revoke::all_of(&transaction, now, user, Reason::AccountDeleted).await?;
    let deleted = Deleted { things: removed.count, apps: grants.len() };
    let event = Event::new(audit::Kind::AccountDeleted, request).user(user).detail(format!(
        "{}, {}",
        counted(removed.count, removed.one, removed.many),
        counted(deleted.apps, "app", "apps")
    ));
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();

    revoke::notify(server, Ended { at: now, grants: &grants, user: Some(user) }).await;
    server.dependents().account_deleted(user).await;
    Ok(deleted)
}

/// Blocks a user immediately, until [`unblock`]. Returns whether the user was not blocked before. A
/// user who has never signed in can be blocked, too: the `token` command may have issued a token
/// for them.
///
/// The block is committed first, and existing access is ended in a second transaction: a code that
/// is issued from now on cannot be redeemed, and the block waits for a concurrent redemption. If
/// the second step fails, repeat the call; no token can be refreshed meanwhile.
pub async fn block(server: &Server, user: &UserId, request: &RequestInfo) -> Result<bool, Failure> {
    let now = server.clock().now();
    let newly = users::block(server.db(), now, user).await?;

    let transaction = db::begin(server.db()).await?;
    let grants = revoke::all_of(&transaction, now, user, Reason::Blocked).await?;
    let event = Event::new(audit::Kind::UserBlocked, request).user(user).detail(counted(
        grants.len(),
        "app",
        "apps",
    ));
    let is_change = newly || !grants.is_empty();
    if is_change {
        audit::write(&transaction, now, &event).await?;
    }
    transaction.commit().await?;
    if is_change {
        event.log();
    }
    revoke::notify(server, Ended { at: now, grants: &grants, user: Some(user) }).await;
    Ok(newly)
}

/// Unblocks a user. Returns whether the user was blocked.
pub async fn unblock(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    let now = server.clock().now();
    let transaction = db::begin(server.db()).await?;
    let unblocked = users_table::Entity::update_by_sub(user.as_str())
        .col_expr(users_table::Column::BlockedAt, Expr::value(None::<DateTime<Utc>>))
        .filter(users::blocked())
        .exec(&transaction)
        .await?;
    if unblocked.rows_affected == 0 {
        return Ok(false);
    }
    let event = Event::new(audit::Kind::UserUnblocked, request).user(user);
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();
    Ok(true)
}

fn app(server: &Server, grant: Model, name: Option<DisplayName>, calls: AppCalls) -> ConnectedApp {
    let is_asserted = grant.grant_type.as_deref() == Some(id_jag::GRANT_TYPE);
    let user = UserId::new(grant.user_sub.as_str());
    let provider = server.provider_of(&user).filter(|_| is_asserted);
    let through = provider.map(|(provider, _)| provider.label().to_owned());
    ConnectedApp {
        grant: grant.id,
        client: grant.client_id,
        name,
        redirect_uri: Some(grant.redirect_uri).filter(|uri| !uri.is_empty()),
        through,
        scope: server.settings().scopes.known(&grant.scope),
        bound_to_key: grant.dpop_jkt.is_some(),
        connected_at: grant.created_at,
        last_used_at: calls.last_at.map_or(grant.last_used_at, |at| at.max(grant.last_used_at)),
        calls: calls.calls,
        ends_at: grant.ends_at,
    }
}
