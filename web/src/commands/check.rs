//! The command `check`: tests the configuration and all dependencies without serving.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use app::config::{Config, Mode};
use oauth::{data_keys::KeySource, login::IdentityProvider};
use platform::{causes, counted};

use super::connect::reach;

/// Timeout of each check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The error if dependencies are unavailable, with their number.
#[derive(Debug, thiserror::Error)]
#[error("{0} dependencies are unavailable")]
pub(super) struct Unreachable(usize);

/// Tests all services in the configuration and prints one line for each. The configuration itself
/// was validated when it was read.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let mut report = Report::default();
    let mode = match config.mode {
        Mode::Embedded => "on this machine only",
        Mode::Deployed => "deployed",
    };
    report.good("configuration", &format!("complete; {}, {mode}", config.public_url));

    for warning in &config.warnings {
        report.warn("environment", warning);
    }
    report.good("requests", &format!("to other servers go {}", config.proxies));
    report.good("client documents", &client_documents(&config));
    report.note("database", database(&config).await);
    match &config.redis {
        Some(redis) => {
            let checked = within(app::redis::check_rights(redis)).await;
            report.note("redis", checked.map(|()| "answers; its user has all rights".to_owned()));
        }
        None => report.good("redis", "not configured: one instance only"),
    }
    let providers = config.providers();
    for provider in &providers {
        report.note("sign-in", within(provider.check()).await);
        report.good("access", &provider.access_report());
        if provider.policy().remote_rules().is_some() {
            report.good("data keys", &data_keys(&config, &**provider));
        }
    }
    if providers.is_empty() {
        report.warn("sign-in", oauth::login::NO_PROVIDER);
    }
    report.end()
}

/// Describes how clients with metadata documents are identified.
fn client_documents(config: &Config) -> String {
    let known = config.oauth.known_documents.len();
    if config.oauth.client_documents {
        format!("are fetched from the addresses that clients name; {known} are known already")
    } else {
        format!("are not fetched, so that clients register instead; {known} are known already")
    }
}

/// Describes the key that encrypts the tokens with which the access policy is checked again.
fn data_keys(config: &Config, provider: &dyn IdentityProvider) -> String {
    let key = match config.data_keys().seals_with() {
        Some(KeySource::DataKeys) => "the first key of DATA_KEYS",
        Some(KeySource::SigningSecret) | None => "a key derived from JWT_SIGNING_SECRET",
    };
    format!("{} tokens are encrypted with {key}", provider.label())
}

async fn database(config: &Config) -> anyhow::Result<String> {
    within(async {
        let (_, app) = reach(config).await?;
        app.check_database_rights().await?;
        let steps = app.product().schema().status(app.db()).await?;
        let missing = steps.iter().filter(|step| !step.applied).count();
        app.close().await;
        if missing > 0 {
            bail!(
                "answers, but {missing} of {} missing: run `{} migrate up`",
                counted(steps.len(), "migration is", "migrations are"),
                config.product.brand().program
            );
        }
        Ok(format!("answers; up to date with {}", counted(steps.len(), "migration", "migrations")))
    })
    .await
}

async fn within<T>(check: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(CHECK_TIMEOUT, check).await.context("no response in time").flatten()
}

/// The results so far.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    bad: usize,
}

impl Report {
    fn good(&mut self, what: &str, found: &str) {
        self.lines.push(format!("ok       {what:16} {found}"));
    }

    fn warn(&mut self, what: &str, found: &str) {
        self.lines.push(format!("warning  {what:16} {found}"));
    }

    fn note(&mut self, what: &str, found: anyhow::Result<String>) {
        match found {
            Ok(found) => self.good(what, &found),
            Err(error) => {
                self.bad += 1;
                let text = causes::one_line(error.as_ref());
                self.lines.push(format!("problem  {what:16} {text}"));
            }
        }
    }

    fn end(self) -> anyhow::Result<()> {
        writeln!(io::stdout(), "{}", self.lines.join("\n"))
            .context("could not print the result")?;
        match self.bad {
            0 => Ok(()),
            number => bail!(Unreachable(number)),
        }
    }
}
