//! `conformance-worker`: a worker for instances of the fixtures, as a process of its own. It is
//! configured by the environment as the product is, and ends as it does.
//!
//! Says `{}` on its first line when it works.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use mcp::Engine;
use service::{Dependencies, Service, clock::SystemClock, config::Config};
use tests::fixtures::{self, Gates};
use tokio::{
    io::AsyncReadExt as _,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use worker::Worker;

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
    let (stores, given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    let service = Service::connect_with(&config, given).await?;
    let gates = match std::env::var(Gates::VARIABLE) {
        Ok(keeper) => Gates::at(keeper.parse().context("where the gates are")?),
        Err(_unset) => Gates::default(),
    };
    let catalog = fixtures::catalog(gates);
    let engine = Engine::new(catalog, stores, service::mcp_settings(&service));
    let shutdown = CancellationToken::new();
    let worker = Worker::new(service.clone(), Arc::new(engine), worker::Settings::of(&config));
    let running = tokio::spawn(worker.run_with_schedules(shutdown.clone()));
    #[expect(clippy::print_stdout, reason = "this is how a program of tests is reached")]
    {
        println!("{{}}");
    }
    let mut terminate = signal(SignalKind::terminate())?;
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
