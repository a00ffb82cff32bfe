//! The commands `clients` and `users`: revoke clients and block users. Running instances
//! apply the changes at once, or within seconds.

use anyhow::{Context as _, bail};
use app::{App, config::Config};
use clap::Subcommand;
use mcp::UserId;
use oauth::{
    account,
    audit::RequestInfo,
    client::ClientId,
    grant::Reason,
    listing::{self, KnownClient, Person},
    login::{self, users},
    revoke, service_client,
};
use platform::{counted, terminal::say};

use super::{
    connect::connect,
    lists::{Printing, time},
    service, token,
};

/// Commands for clients.
#[derive(Debug, Subcommand)]
pub(crate) enum Clients {
    /// List clients
    List {
        /// Start after the client with this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        #[command(flatten)]
        printing: Printing,
    },
    /// Create a client for a program without a user (client credentials)
    Create(service::Options),
    /// Revoke a client's access to all users who connected it; a client of a service can then no longer
    /// authenticate
    Revoke {
        /// The `client_id`, as the audit log shows it
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Commands for users.
#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// List the users who have signed in
    List {
        /// Only blocked users
        #[arg(long)]
        blocked: bool,
        /// Start after the user with this identity
        #[arg(long, value_name = "IDENTITY")]
        after: Option<String>,
        #[command(flatten)]
        printing: Printing,
    },
    /// Block a user at once, until `unblock`
    Block {
        /// The login, or the identity, such as github:583231 or id:583231
        #[arg(value_name = "LOGIN")]
        name: String,
    },
    /// Unblock a user
    Unblock {
        /// The login, or the identity, such as github:583231 or id:583231
        #[arg(value_name = "LOGIN")]
        name: String,
    },
}

/// Executes a command for clients.
pub(super) async fn run_clients(config: Config, command: Clients) -> anyhow::Result<()> {
    let (_stores, app) = connect(&config).await?;
    match command {
        Clients::List { after, printing } => {
            list_clients(&app, after.as_deref(), &printing).await?;
        }
        Clients::Create(options) => service::create(&app, options).await?,
        Clients::Revoke { id } if service_client::is_id(&id) => {
            service::revoke(&app, ClientId(id)).await?;
        }
        Clients::Revoke { id } => revoke_client(&app, id).await?,
    }
    app.close().await;
    Ok(())
}

async fn list_clients(app: &App, after: Option<&str>, printing: &Printing) -> anyhow::Result<()> {
    let clients = listing::clients(app.oauth(), after, printing.limit).await;
    printing.print(
        &clients.context("could not read the clients")?,
        ["CLIENT", "KIND", "SINCE", "LAST USED", "CONNECTIONS", "REVOKED", "NAME (UNCHECKED)"],
        |client: &KnownClient| {
            let used = client.last_used.map(time).unwrap_or_default();
            let name = client.name.clone().unwrap_or_default();
            let revoked = client.revoked.map(time).unwrap_or_default();
            [
                client.client.clone(),
                client.kind.clone(),
                time(client.since),
                used,
                client.connections.to_string(),
                revoked,
                name,
            ]
        },
        |client| format!("--after {}", client.client),
    )
}

async fn list_users(
    app: &App,
    blocked: bool,
    after: Option<&str>,
    printing: &Printing,
) -> anyhow::Result<()> {
    let people = listing::people(app.oauth(), blocked, after, printing.limit).await;
    printing.print(
        &people.context("could not read the users")?,
        ["IDENTITY", "LOGIN", "SINCE", "LAST SEEN", "CONNECTIONS", "BLOCKED"],
        |person: &Person| {
            let blocked = person.blocked.map(time).unwrap_or_default();
            let count = person.connections.to_string();
            [
                person.user.clone(),
                person.login.clone(),
                time(person.since),
                time(person.last_seen),
                count,
                blocked,
            ]
        },
        |person| format!("--after {}", person.user),
    )
}

async fn revoke_client(app: &App, id: String) -> anyhow::Result<()> {
    let client = ClientId(id);
    let revoked =
        revoke::client(app.oauth(), &client, Reason::Operator, &RequestInfo::none()).await;
    match revoked.context("could not revoke the grants of the client")?.len() {
        0 => bail!("no user has connected `{client}`"),
        count => say(format_args!(
            "{} of `{client}` revoked. Within seconds no server accepts the tokens, and streams, jobs \
             and export links that were started with them end; to use the app again, its users have \
             to connect it again.",
            counted(count, "connection", "connections")
        )),
    }
    Ok(())
}

/// Executes a command for users.
pub(super) async fn run_users(config: Config, command: Users) -> anyhow::Result<()> {
    let (_stores, app) = connect(&config).await?;
    let request = RequestInfo::none();
    match command {
        Users::List { blocked, after, printing } => {
            list_users(&app, blocked, after.as_deref(), &printing).await?;
        }
        Users::Block { name } => {
            let user = only(&app, &name).await?;
            let newly = account::block(app.oauth(), &user, &request).await;
            say(if newly.context("could not block the user")? {
                "The user is blocked. Within seconds no server accepts the tokens or the session of the \
                 user, and streams, jobs and export links of the user end."
            } else {
                "The user had already been blocked."
            });
        }
        Users::Unblock { name } => {
            let user = only(&app, &name).await?;
            let unblocked = account::unblock(app.oauth(), &user, &request).await;
            say(if unblocked.context("could not unblock the user")? {
                "The user may sign in again, and has to connect apps again."
            } else {
                "The user was not blocked."
            });
        }
    }
    app.close().await;
    Ok(())
}

/// Returns the user with this login or identity. A full identity needs no earlier sign-in, because
/// a token may have been created for it.
pub(super) async fn only(app: &App, name: &str) -> anyhow::Result<UserId> {
    let listed = login::listed_identity(name);
    let name = listed.as_deref().unwrap_or(name);
    let people = users::named(app.db(), name).await.context("could not look up the user")?;
    match &people[..] {
        [person] => Ok(UserId::new(person.sub.as_str())),
        [] => match token::identity(name) {
            Ok(user) if name.contains(':') => Ok(user),
            _ => bail!("no user has ever signed in as `{name}`"),
        },
        several => {
            let identities: Vec<&str> = several.iter().map(|person| person.sub.as_str()).collect();
            bail!("several users have signed in as `{name}`: name one of {}", identities.join(", "))
        }
    }
}
