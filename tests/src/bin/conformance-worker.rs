//! `conformance-worker`: a worker for instances of the fixtures, as a process of its own. It is
//! configured by the environment as the product is, answers probes, and ends as it does.
//!
//! Says `{}` on its first line when it works.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use mcp::Engine;
use platform::{clock::SystemClock, telemetry};
use service::{Dependencies, Service, config::Config, jobs};
use tests::fixtures;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tokio_util::sync::CancellationToken;
use worker::{Settings, Worker};

/// The seconds of a lease that is shorter than in production, for tests in which workers die all the
/// time. Jobs whose worker is lost are looked for as often.
const LEASE: &str = "TEST_LEASE";

#[derive(Parser)]
struct Arguments {
    /// Ends when its standard input does, so that it never outlives whoever started it.
    #[arg(long)]
    tied: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = Config::from_env()?;
    telemetry::init(config.log_format, &config.log);
    let (stores, given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    let service = Service::connect_with(&config, given).await?;
    let catalog = fixtures::of_process(&service)?;
    let engine = Engine::new(catalog, stores, service::mcp_settings(&service));
    let mut settings = Settings::of(&config);
    if let Ok(seconds) = std::env::var(LEASE) {
        settings.lease = Duration::from_secs(seconds.parse().context("the seconds of a lease")?);
        tokio::spawn(take_over(service.clone(), settings.lease));
    }
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((config.host, config.worker_port)).await?;
    let worker = Worker::new(service.clone(), Arc::new(engine), settings);
    let (probed, pulse) = (service.clone(), worker.pulse());
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
    service.close().await;
    Ok(())
}

/// Takes over the jobs of lost workers, more often than the schedule does.
async fn take_over(service: Service, pause: Duration) {
    let mut turn = interval(pause);
    loop {
        turn.tick().await;
        if let Err(error) = jobs::take_over(&service).await {
            tracing::warn!(error = ?error, "Lost jobs were not looked for: {error}");
        }
    }
}
