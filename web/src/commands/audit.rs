//! The command `audit`: prints the audit log.

use anyhow::Context as _;
use app::config::Config;
use chrono::{DateTime, Utc};
use clap::Args;
use mcp::UserId;
use oauth::{
    client::ClientId,
    listing::{self, AuditFilter, Entry},
};

use super::{
    connect::connect,
    lists::{Printing, time},
    people,
};

/// The entries to show.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// About this user: a login, or an identity such as github:583231 or id:583231
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// About this client, by its `client_id`
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Of this kind, such as `signed_in` or `grant_revoked`
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Of this request, by the id in the log and on error pages
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Since this time, such as 2026-11-28T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Before the entry with this id
    #[arg(long, value_name = "ID")]
    before: Option<uuid::Uuid>,
    #[command(flatten)]
    printing: Printing,
}

/// Prints the entries.
pub(super) async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    let (_stores, app) = connect(&config).await?;
    let user: Option<UserId> = match &options.user {
        Some(name) => Some(people::only(&app, name).await?),
        None => None,
    };
    let filter = AuditFilter {
        user,
        client: options.client.map(ClientId),
        event: options.event,
        request_id: options.request,
        since: options.since,
        before: options.before,
    };
    let entries = listing::audit(app.oauth(), filter, options.printing.limit).await;
    let entries = entries.context("could not read the audit log")?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    options.printing.print(
        &entries,
        ["TIME (UTC)", "EVENT", "USER", "CLIENT", "REQUEST", "ADDRESS", "DETAIL"],
        |entry: &Entry| {
            let at = time(entry.at);
            let (user, client) = (text(&entry.user), text(&entry.client));
            let (request, address) = (text(&entry.request_id), text(&entry.address));
            [at, entry.event.clone(), user, client, request, address, text(&entry.detail)]
        },
        |entry| format!("--before {}", entry.id),
    )?;
    app.close().await;
    Ok(())
}
