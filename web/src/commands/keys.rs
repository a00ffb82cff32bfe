//! The command `keys`: lists, replaces and revokes signing keys.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use app::{App, config::Config};
use clap::Subcommand;
use oauth::{audit::RequestInfo, revoke, signing_keys::KeyInfo};
use platform::terminal::say;

use super::connect::connect;

/// Commands for the keys that sign access tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them, newest first
    List,
    /// Request a new key, which takes over after ten minutes; no token becomes invalid
    Rotate,
    /// Revoke a leaked key at once; all tokens that it signed become invalid
    Revoke {
        /// The id of the key, as `keys list` shows it
        #[arg(value_name = "KID")]
        kid: String,
    },
}

/// Executes a command.
pub(super) async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    // The stores deliver the signals to the servers, so they are kept until the end.
    let (_stores, app) = connect(&config).await?;
    match command {
        Command::List => list(&app).await,
        Command::Rotate => rotate(&app).await,
        Command::Revoke { kid } => revoke_key(&app, &kid).await,
    }?;
    app.close().await;
    Ok(())
}

async fn list(app: &App) -> anyhow::Result<()> {
    let keys = keys(app).await?;
    let mut text = format!(
        "{:43}  {:8}  {:16}  {:16}  {}\n",
        "KID", "STATE", "CREATED", "LAST SIGNED", "NOTE"
    );
    for key in &keys {
        let last_signed = key
            .last_signed_at
            .map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M").to_string());
        let line = format!(
            "{:43}  {:8}  {}  {last_signed:16}  {}",
            key.kid.to_string(),
            state(key),
            key.created_at.format("%Y-%m-%d %H:%M"),
            note(key)
        );
        text += line.trim_end();
        text.push('\n');
    }
    if keys.is_empty() {
        say("There are no keys yet. The server creates one when it first needs it.");
        return Ok(());
    }
    write!(io::stdout(), "{text}").context("could not print the keys")
}

async fn rotate(app: &App) -> anyhow::Result<()> {
    let at = app
        .oauth()
        .keys()
        .rotate(&RequestInfo::none())
        .await
        .context("could not request a new key")?;
    say(format_args!(
        "Running servers create a new key now and sign with it from {} UTC on. Tokens that the \
         old key signed stay valid.",
        at.format("%Y-%m-%d %H:%M")
    ));
    Ok(())
}

async fn revoke_key(app: &App, kid: &str) -> anyhow::Result<()> {
    let keys = keys(app).await?;
    let Some(key) = keys.iter().find(|key| key.kid.to_string() == kid) else {
        bail!("there is no key `{kid}`; `keys list` shows all keys");
    };
    let revoked = revoke::key(app.oauth(), &key.kid, &RequestInfo::none())
        .await
        .context("could not revoke the key")?;
    say(if revoked {
        "The key is revoked. Within seconds no server accepts a token that it signed. Streams, jobs \
         and export links that were started with such tokens end. Clients get new tokens \
         automatically."
    } else {
        "The key had already been revoked."
    });
    Ok(())
}

async fn keys(app: &App) -> anyhow::Result<Vec<KeyInfo>> {
    let keys = app.oauth().keys().list().await;
    keys.context("could not read the keys; is the schema up to date (command `migrate`)?")
}

/// The state of a key in one word.
fn state(key: &KeyInfo) -> String {
    format!("{:?}", key.state).to_ascii_lowercase()
}

fn note(key: &KeyInfo) -> String {
    if key.signs {
        return match key.replace_at {
            Some(at) => format!("signs until {} UTC", at.format("%Y-%m-%d %H:%M")),
            None => "signs".to_owned(),
        };
    }
    // The private key has been deleted.
    if ["retired", "revoked"].contains(&&*state(key)) {
        return String::new();
    }
    match key.retire_at {
        Some(at) => format!("trusted until {} UTC", at.format("%Y-%m-%d %H:%M")),
        None if !key.is_decryptable => "encrypted with another JWT_SIGNING_SECRET".to_owned(),
        None => String::new(),
    }
}
