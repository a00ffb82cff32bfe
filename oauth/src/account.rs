//! What a person can see and end of what they allowed, and what an operator can do about a person.

use chrono::{DateTime, Utc};
use entity::{
    ClientId, GrantId, github_tokens, oauth_codes,
    oauth_grants::{Entity, Model},
    users as users_table,
};
use mcp::UserId;
use platform::{
    counted,
    db::{self, Failure},
};
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _, sea_query::Expr};

use super::{
    audit::{self, Event, RequestInfo},
    client,
    display_name::DisplayName,
    grant::{self, Reason},
    revoke::{self, Ended},
    scope::Scopes,
};
use crate::{server::Server, users};

/// The most connected apps that are listed; more than that is not a list that anybody reads. All of
/// them can be disconnected at once all the same.
pub const MAX_LISTED: u64 = 200;

/// An app that a person has connected: one installation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedApp {
    /// What it is disconnected by.
    pub grant: GrantId,
    /// The client.
    pub client: ClientId,
    /// What the client calls itself, if it is still known.
    pub name: Option<DisplayName>,
    /// Where its code was sent, which tells installations apart.
    pub redirect_uri: String,
    /// What it may do.
    pub scope: Scopes,
    /// When it was connected.
    pub connected_at: DateTime<Utc>,
    /// When it last asked for a token, which it does at least once in the life of one while it is
    /// used.
    pub last_used_at: DateTime<Utc>,
    /// When it will have to be connected again if it is not used until then.
    pub ends_at: DateTime<Utc>,
}

/// What was deleted with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// What the person owned.
    pub things: u64,
    /// How many connected apps.
    pub apps: usize,
}

/// The apps that a person has connected, newest first.
pub async fn connected(server: &Server, user: &UserId) -> Result<Vec<ConnectedApp>, Failure> {
    let now = server.clock().now();
    let grants = Entity::owned_by(user.as_str())
        .filter(grant::live(now))
        .limit(MAX_LISTED)
        .all(&server.db_of(user))
        .await?;
    let mut apps: Vec<ConnectedApp> = Vec::with_capacity(grants.len());
    for grant in grants {
        // Most people have a few clients, several times.
        let name = match apps.iter().find(|it| it.client == grant.client_id) {
            Some(same) => same.name.clone(),
            None => name(server, &grant.client_id).await,
        };
        apps.push(app(grant, name));
    }
    Ok(apps)
}

/// Disconnects one app. Says whether it was connected, and this person's.
pub async fn disconnect(
    server: &Server,
    user: &UserId,
    grant: GrantId,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    revoke::owned(server, user, grant, Reason::Person, request).await
}

/// Disconnects all apps of a person. Says how many there were.
pub async fn disconnect_all(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<usize, Failure> {
    Ok(revoke::user(server, user, Reason::Person, request).await?.len())
}

/// Deletes an account with everything that the person owns, for good: all of it, or nothing of it.
///
/// Three things stay. Grants stay, revoked, until every instance knows that and then for the usual
/// time; the audit log stays for its time; and the row of a person who is blocked stays, or deleting
/// the account would be the way around that.
///
/// A client that redeems a code at the same moment holds the code, and then the person
/// ([`super::code::may_stay`]). So codes go first, then the person, and grants last: whoever was
/// faster has made a grant that is revoked here, and whoever is later finds nobody.
pub async fn delete(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<Deleted, Failure> {
    let transaction = db::begin_patiently(&server.db_of(user)).await?;
    oauth_codes::Entity::delete_owned_by(user.as_str()).exec(&transaction).await?;
    users_table::Entity::delete_many()
        .filter(users_table::COLUMN.sub.eq(user.as_str()))
        .filter(users_table::COLUMN.blocked_at.is_null())
        .exec(&transaction)
        .await?;
    let removed = server.dependents().delete_owned(&transaction, user).await?;
    github_tokens::Entity::delete_by_id(user.as_str()).exec(&transaction).await?;
    // The time of it is not older than necessary: instances look for what was revoked lately.
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

    revoke::tell(server, Ended { at: now, grants: &grants, person: Some(user) }).await;
    server.dependents().account_deleted(user).await;
    Ok(deleted)
}

/// Shuts a person out, at once and until [`unblock`]. Returns whether they were not blocked before.
/// A person who has never signed in can be blocked, too: the `token` command may have issued a token
/// for them.
///
/// The door is closed first, and committed, and what is inside is ended second: a code that is issued
/// from now on cannot be redeemed, and one that is being redeemed is waited for. If the second step
/// fails, repeat it; nothing can be refreshed meanwhile.
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
    let told = newly || !grants.is_empty();
    if told {
        audit::write(&transaction, now, &event).await?;
    }
    transaction.commit().await?;
    if told {
        event.log();
    }
    revoke::tell(server, Ended { at: now, grants: &grants, person: Some(user) }).await;
    Ok(newly)
}

/// Lets a person in again who was shut out. Says whether they were.
pub async fn unblock(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    let now = server.clock().now();
    let transaction = db::begin(server.db()).await?;
    let unblocked = users_table::Entity::update_one_of(user.as_str())
        .col_expr(users_table::Column::BlockedAt, Expr::value(None::<DateTime<Utc>>))
        .filter(users_table::COLUMN.blocked_at.is_not_null())
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

/// The name of a client, if it is known and can be found out.
async fn name(server: &Server, id: &ClientId) -> Option<DisplayName> {
    let client = client::find_snapshot(server, id.as_str()).await;
    client.ok().map(|it| it.name)
}

fn app(grant: Model, name: Option<DisplayName>) -> ConnectedApp {
    ConnectedApp {
        grant: grant.id,
        client: grant.client_id,
        name,
        redirect_uri: grant.redirect_uri,
        scope: Scopes::known(&grant.scope),
        connected_at: grant.created_at,
        last_used_at: grant.last_used_at,
        ends_at: grant.ends_at,
    }
}
