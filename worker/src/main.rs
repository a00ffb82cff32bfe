//! `notes-mcp-worker`: runs what is not a request, until it is told to end.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use mcp::Stores;
use service::{Service, clock::SystemClock, config::Config, telemetry};
use tokio_util::sync::CancellationToken;

/// The environment is wrong, so that trying again is no use: `EX_USAGE` of sysexits.
const EXIT_USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(problems) => {
            drop(writeln!(io::stderr(), "{problems}")); // nobody to tell if that fails
            return ExitCode::from(EXIT_USAGE);
        }
    };
    telemetry::init(config.log_format, &config.log);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("The worker failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stores = Stores::in_memory(config.session_ttl);
    let service = Service::connect(&config, Arc::new(SystemClock), stores.bus.clone()).await?;
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            signal().await;
            shutdown.cancel();
        }
    });
    tracing::info!("There are no jobs in this version: waiting to be told to end");
    worker::run(service.clone(), shutdown).await?;
    service.close().await;
    Ok(())
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    tokio::signal::ctrl_c().await.expect("Ctrl-C can be handled");
}
