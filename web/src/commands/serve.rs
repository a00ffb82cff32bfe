//! The command `serve`: runs one instance until it is stopped.

use std::{
    fmt,
    io::{self, ErrorKind, IsTerminal as _},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use app::{
    App, Brand,
    config::{
        Config, LogFormat, Mode,
        variables::{self, Variable},
    },
    metrics,
};
use futures_util::future::join_all;
use mcp::{Engine, Stores};
use oauth::login::provider::{Cause, Deadline, ProviderError};
use platform::{ending, terminal::say};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker::Worker;

use super::{connect::connect, migrate::require_current, program};
use crate::{api::metrics::serve as serve_metrics, lifecycle};

/// Runs one instance until a signal stops it, then writes the remaining telemetry.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = config.start_telemetry(config.product.brand().program)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let limit = config.shutdown_timeout;
    let serving = async {
        let served = Box::pin(serve(config, &shutdown)).await;
        telemetry.end().await;
        served
    };
    Box::pin(ending::within(limit, &shutdown, serving)).await
}

async fn serve(config: Config, shutdown: &CancellationToken) -> anyhow::Result<()> {
    if config.metrics.wanted() {
        metrics::start(&config.product);
        tokio::spawn(metrics::run_upkeep_loop());
    }
    let listener = listen_on(&config, config.http.port, variables::PORT).await?;
    let metrics_listener = match config.metrics.port {
        Some(port) => Some(listen_on(&config, port, variables::METRICS_PORT).await?),
        None => None,
    };
    let Some(prepared) = shutdown.run_until_cancelled(prepare(&config)).await else {
        return Ok(());
    };
    let (stores, app) = prepared?;
    let engine = Engine::new(app.catalog(), stores, app::mcp_settings(&app));

    if config.mode == Mode::Embedded && config.logging.format == LogFormat::Pretty {
        say(Banner(&config));
    } else {
        let (url, access) = (config.public_url.mcp(), config.who_may_sign_in());
        tracing::info!(%url, access, "Serving {url}; may sign in: {access}");
    }
    let worker = async {
        match config.mode {
            Mode::Embedded => {
                let runner = Arc::new(engine.clone());
                let worker = Worker::new(app.clone(), runner, worker::Settings::of(&config));
                worker.run_with_schedules(shutdown.clone()).await
            }
            Mode::Deployed => Ok(()), // runs in a separate process
        }
    };
    if let Some(listener) = metrics_listener {
        // Served until the process ends, so that the shutdown can be observed, too.
        tokio::spawn(serve_metrics(listener, app.clone(), CancellationToken::new()));
    }
    let web = lifecycle::run(listener, app.clone(), engine.clone(), shutdown.clone());
    tokio::try_join!(web, worker)?;
    app.close().await;
    Ok(())
}

/// Connects, and checks that this version can work with the database.
async fn prepare(config: &Config) -> anyhow::Result<(Stores, App)> {
    let (stores, app) = connect(config).await?;
    // Without these checks the first request would fail, when the operator no longer watches.
    require_current(&app).await?;
    app.oauth().keys().jwks().await.context("could not read the signing keys")?;
    prepare_providers(&app).await?;
    Ok((stores, app))
}

/// Checks the configuration of the identity providers, all at once. A provider that is unavailable is
/// no reason not to start: everything but the sign-in works without it.
async fn prepare_providers(app: &App) -> anyhow::Result<()> {
    let deadline = Deadline::start();
    let providers = app.oauth().providers().iter();
    let prepared = join_all(providers.map(|provider| provider.prepare(deadline))).await;
    for (provider, prepared) in app.oauth().providers().iter().zip(prepared) {
        match prepared {
            Ok(()) => {}
            Err(error) if error.cause == Cause::Unavailable => tracing::warn!(
                dependency = provider.id(), %error,
                "Could not check the identity provider {}; retrying at the next sign-in",
                provider.label()
            ),
            Err(ProviderError { message, cause: Cause::Misconfigured(advice) }) => {
                bail!("{message}. {advice}")
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn listen_on(config: &Config, port: u16, variable: Variable) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(config.http.host, port);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "port {port} is in use, perhaps by another {}. Stop that one, or choose another \
             port: {}",
            config.product.brand().program,
            program::command_with(
                &[(variable, port.checked_add(1).unwrap_or(1024).to_string())],
                ""
            )
        ),
        Err(error) => Err(error).with_context(|| format!("could not listen on {address}")),
    }
}

/// The first Ctrl-C or SIGTERM starts an orderly shutdown; the second ends the process at once.
#[expect(clippy::exit, reason = "the second signal requests it")]
async fn cancel_on_signal(shutdown: CancellationToken) {
    ending::stop_signal().await;
    if io::stderr().is_terminal() {
        say("Shutting down. Press Ctrl-C again to stop immediately.");
    }
    shutdown.cancel();
    ending::stop_signal().await;
    std::process::exit(EXIT_INTERRUPTED);
}

/// The exit status after SIGINT by convention: 128 plus the number of the signal.
const EXIT_INTERRUPTED: i32 = 130;

/// The message to a developer who starts the server on a terminal.
struct Banner<'a>(&'a Config);

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = *self;
        let url = config.public_url.mcp();
        let Brand { program, title, things, .. } = *config.product.brand();
        let data = data(config);
        let reach = if config.http.host.is_loopback() {
            "reachable from this machine only"
        } else {
            "reachable from other machines, because of HOST"
        };
        let token = program::command_with(&[], "token --user me");
        let url_home = format!("{}/", config.public_url);
        let sign_in = match &config.providers()[..] {
            [] => oauth::login::NO_PROVIDER.to_owned(),
            [provider] => provider.texts(things).banner,
            several => {
                let labels: Vec<&str> = several.iter().map(|provider| provider.label()).collect();
                format!("with {}", labels.join(", "))
            }
        };
        writeln!(
            f,
            r#"
{program} is running.

  MCP endpoint   {url}
  {title:14} {data}
  Mode           development, {reach}.
  Sign-in        {sign_in}

To connect a client, give it the address; it opens your browser. {url_home} has more.

  Claude Code    claude mcp add --transport http {things} {url}
                 then /mcp in Claude Code, to sign in
  Cursor         in ~/.cursor/mcp.json
                 {{"mcpServers": {{"{things}": {{"url": "{url}"}}}}}}
  VS Code        in .vscode/mcp.json
                 {{"servers": {{"{things}": {{"type": "http", "url": "{url}"}}}}}}

Without a browser, use a token: {token}

Ctrl-C ends the server."#
        )
    }
}

/// Where the data is stored, without a database password.
fn data(config: &Config) -> String {
    match config.database.url.expose().strip_prefix("sqlite:") {
        Some(file) => {
            let file = file.trim_start_matches("//");
            let file = file.split_once('?').map_or(file, |(file, _)| file);
            let absolute = std::path::absolute(file).unwrap_or_else(|_| file.into());
            absolute.display().to_string()
        }
        None => "in the database of DATABASE_URL".to_owned(),
    }
}
