//! `fixtures-worker` is a worker for instances of the fixtures. It is configured, probed and stopped
//! like that of the product.
//!
//! It prints `{}` as its first line when it is running.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use app::{App, Dependencies, config::Config, metrics};
use clap::Args;
use mcp::Engine;
use platform::{clock::SystemClock, telemetry};
use tests::fixtures;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tokio_util::sync::CancellationToken;
use worker::{Settings, Worker};

/// Sets the lease in seconds, for tests that kill workers all the time. Jobs of lost workers are reclaimed
/// at the same interval.
const LEASE: &str = "TEST_LEASE";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Ends when its standard input does, so that it never outlives the process that started it.
    #[arg(long)]
    tied: bool,
}

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::from_env(&fixtures::product_of_environment())?;
    telemetry::init(config.logging.format, &config.logging.filter);
    metrics::start(&config.product);
    let (stores, given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    let app = App::connect_with(&config, given).await?;
    let engine = Engine::new(app.catalog(), stores, app::mcp_settings(&app));
    let mut settings = Settings::of(&config);
    if let Ok(seconds) = std::env::var(LEASE) {
        settings.lease = Duration::from_secs(seconds.parse().context("the seconds of a lease")?);
        tokio::spawn(reclaim(app.clone(), settings.lease));
    }
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((config.http.host, config.worker.port)).await?;
    let worker = Worker::new(app.clone(), Arc::new(engine), settings);
    let (probed, pulse) = (app.clone(), worker.pulse());
    tokio::spawn(worker::serve_health(listener, pulse, probed, shutdown.clone()));
    let running = tokio::spawn(worker.run_with_schedules(shutdown.clone()));
    #[expect(clippy::print_stdout, reason = "this is how a program of tests is reached")]
    {
        println!("{{}}");
    }
    let mut nothing = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        _ = terminate.recv() => {}
        _ended = stdin.read_to_end(&mut nothing), if arguments.tied => {}
    }
    shutdown.cancel();
    running.await.context("the worker panicked")??;
    app.close().await;
    Ok(())
}

/// Reclaims the jobs of lost workers at a shorter interval than the schedule.
async fn reclaim(app: App, pause: Duration) {
    let mut turn = interval(pause);
    loop {
        turn.tick().await;
        if let Err(error) = jobs::reclaim(app.jobs()).await {
            tracing::warn!(?error, "Could not reclaim the jobs of lost workers");
        }
    }
}
