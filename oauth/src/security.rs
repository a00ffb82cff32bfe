//! The security events of a user: the entries of the audit log that the user may see and
//! understands.
//!
//! Some entries name no user and are not listed: consents and canceled sign-ins, which happen before
//! the user is known, and a revocation by an operator that ended grants of several users at once.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::{AuditId, ClientId, oauth_audit};
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QuerySelect as _};
use uuid::Uuid;

use super::{
    audit::{self, Kind},
    client,
    display_name::DisplayName,
    ids::first_uuid_at,
    reason::Reason,
};
use crate::server::Server;

/// How far back events are listed, if the audit log is kept that long.
pub const LISTED_FOR: Duration = Duration::from_hours(24 * 90);

/// The number of events on a page.
pub const PAGE: u64 = 25;

/// A security event of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    pub what: What,
    /// The app that it is about. `None`: it is about no app, or about several.
    pub app: Option<App>,
    /// The name of the identity provider through which it happened, if the user was not at a browser.
    pub through: Option<String>,
    /// The network that the request came from. `None`: the server did it on its own, or its operator
    /// did.
    pub network: Option<String>,
}

/// The app that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The self-declared name of the client. `None`: the client is no longer known.
    pub name: Option<DisplayName>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The user signed in: to connect the app, or without an app, on the account page.
    SignedIn,
    /// A sign-in was refused by the access policy.
    SignInRefused,
    /// A sign-in was refused, because the login belongs to another account.
    LoginRecycled,
    /// The app was connected.
    Connected,
    /// The app was connected through the identity provider of the user's organization.
    ConnectedByProvider,
    /// An assertion of the identity provider was presented twice by the app, and refused.
    AssertionReplayed,
    /// The app was connected, and its tokens are bound to a key of the app (DPoP).
    ConnectedWithKey,
    /// The app bound its access to a key, or to another key, when it renewed its tokens (DPoP).
    BoundToKey,
    /// The access of this number of apps ended.
    Disconnected(DisconnectedBy, u64),
    /// An authorization code of the app was presented with wrong verifiers, and deleted.
    CodeGuessed,
    /// An authorization code of the app was presented twice, which ended the access of the app.
    CodeReplayed,
    /// A refresh token of the app was presented twice, which ended the access of the app.
    RefreshReplayed,
    /// The access policy no longer admits the user; all access ended.
    PolicyDenied,
    /// An operator blocked the user; all access ended.
    Blocked,
    /// An operator unblocked the user.
    Unblocked,
    /// The user deleted an earlier account with the same identity.
    AccountDeleted,
}

/// Who ended the access of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectedBy {
    /// The user, on the account page.
    User,
    /// The app.
    App,
    /// The publisher of the app, who withdrew it.
    Publisher,
    /// The operator of this server.
    Operator,
}

/// A page of events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The events.
    pub events: Vec<SecurityEvent>,
    /// The position of the next page, if there is one.
    pub next: Option<Uuid>,
}

/// The kinds of events that are listed.
const LISTED: [Kind; 15] = [
    Kind::SignedIn,
    Kind::SignInRefused,
    Kind::LoginRecycled,
    Kind::TokenIssued,
    Kind::AssertionAccepted,
    Kind::AssertionReplayed,
    Kind::GrantBound,
    Kind::GrantRevoked,
    Kind::CodeGuessed,
    Kind::CodeReplayed,
    Kind::RefreshReplayed,
    Kind::PolicyDenied,
    Kind::UserBlocked,
    Kind::UserUnblocked,
    Kind::AccountDeleted,
];

/// Lists the events of a user since [`LISTED_FOR`], at most [`PAGE`] of them, from a position on.
pub async fn events(
    server: &Server,
    user: &UserId,
    before: Option<Uuid>,
) -> Result<Events, Failure> {
    use oauth_audit::{COLUMN, Entity};

    let since = server.clock().now() - LISTED_FOR;
    let mut query = Entity::about(user.as_str())
        .filter(COLUMN.id.gte(AuditId(first_uuid_at(since))))
        .filter(COLUMN.event.is_in(LISTED.map(Kind::as_str)))
        // One additional row tells whether there is a next page.
        .limit(PAGE + 1);
    if let Some(before) = before {
        query = query.filter(COLUMN.id.lt(AuditId(before)));
    }
    let mut rows = query.all(&server.db_of(user)).await?;
    let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let more = rows.len() > page;
    rows.truncate(page);
    let next = rows.last().filter(|_| more).map(|row| row.id.0);
    let mut names = BTreeMap::new();
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(what) = what(&row) else { continue };
        let app = match &row.client_id {
            Some(client) => Some(App { name: name(server, &mut names, client).await }),
            None => None,
        };
        let through = match what {
            What::ConnectedByProvider | What::AssertionReplayed => provider_label(server, user),
            _ => None,
        };
        events.push(SecurityEvent { at: row.at, what, app, through, network: row.ip });
    }
    Ok(Events { events, next })
}

/// Returns the name of the identity provider of a user, if it is configured.
fn provider_label(server: &Server, user: &UserId) -> Option<String> {
    server.provider_of(user).map(|(provider, _)| provider.label().to_owned())
}

/// Returns the name of a client, from `names` if it is known already.
async fn name(
    server: &Server,
    names: &mut BTreeMap<ClientId, Option<DisplayName>>,
    id: &ClientId,
) -> Option<DisplayName> {
    if let Some(name) = names.get(id) {
        return name.clone();
    }
    let name = client::name_of(server, id).await;
    names.insert(id.clone(), name.clone());
    name
}

/// Returns what an entry of the audit log says. `None`: the entry is not listed.
fn what(row: &oauth_audit::Model) -> Option<What> {
    let kind = LISTED.into_iter().find(|kind| kind.as_str() == row.event)?;
    Some(match kind {
        Kind::SignedIn => What::SignedIn,
        Kind::SignInRefused => What::SignInRefused,
        Kind::LoginRecycled => What::LoginRecycled,
        Kind::TokenIssued if row.detail.as_deref().is_some_and(audit::says_bound) => {
            What::ConnectedWithKey
        }
        Kind::TokenIssued => What::Connected,
        Kind::AssertionAccepted => What::ConnectedByProvider,
        Kind::AssertionReplayed => What::AssertionReplayed,
        Kind::GrantBound => What::BoundToKey,
        Kind::GrantRevoked => {
            let (by, apps) = revocation(row.detail.as_deref().unwrap_or_default());
            What::Disconnected(by, apps)
        }
        Kind::CodeGuessed => What::CodeGuessed,
        Kind::CodeReplayed => What::CodeReplayed,
        Kind::RefreshReplayed => What::RefreshReplayed,
        Kind::PolicyDenied => What::PolicyDenied,
        Kind::UserBlocked => What::Blocked,
        Kind::UserUnblocked => What::Unblocked,
        Kind::AccountDeleted => What::AccountDeleted,
        _ => return None,
    })
}

/// Parses the detail of a revocation, as [`super::revoke`] writes it: the reason, followed by
/// `, N grants` if there were several.
fn revocation(detail: &str) -> (DisconnectedBy, u64) {
    let (reason, rest) = detail.split_once(", ").unwrap_or((detail, ""));
    let apps = rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(1);
    let is = |known: Reason| reason == known.as_str();
    let by = if is(Reason::Person) {
        DisconnectedBy::User
    } else if is(Reason::Client) {
        DisconnectedBy::App
    } else if is(Reason::ClientGone) {
        DisconnectedBy::Publisher
    } else {
        DisconnectedBy::Operator
    };
    (by, apps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_of_a_revocation_names_who_ended_it() {
        for (detail, by, apps) in [
            ("person", DisconnectedBy::User, 1),
            ("person, 3 grants", DisconnectedBy::User, 3),
            ("client", DisconnectedBy::App, 1),
            ("client_gone", DisconnectedBy::Publisher, 1),
            ("operator, 2 grants", DisconnectedBy::Operator, 2),
            ("", DisconnectedBy::Operator, 1),
        ] {
            assert_eq!(revocation(detail), (by, apps), "{detail}");
        }
    }
}
