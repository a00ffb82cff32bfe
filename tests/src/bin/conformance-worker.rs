//! `conformance-worker`: a worker for the instances of `conformance-web`, as a process of its own.
//!
//! It is configured by the environment that `conformance-web` says. Says `{}` on its first line when
//! it works, and ends when its standard input does.

use std::sync::Arc;

use anyhow::Context as _;
use mcp::{Engine, Stores};
use service::{Service, clock::SystemClock, config::Config};
use tests::fixtures::{self, Gates};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;
use worker::Worker;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let redis = config.redis.as_ref().context("REDIS_URL is missing")?;
    let stores = Stores::in_redis(&mcp::store::redis::Settings {
        url: redis.url.expose().to_owned(),
        prefix: redis.prefix.clone(),
        session_ttl: config.session_ttl,
    })?;
    let service = Service::connect(&config, Arc::new(SystemClock), stores.bus.clone()).await?;
    let catalog = fixtures::catalog(Gates::default());
    let engine = Engine::new(catalog, stores, service::mcp_settings(&service));
    let shutdown = CancellationToken::new();
    let worker = Worker::new(service, Arc::new(engine), worker::Settings::of(&config));
    let running = tokio::spawn(worker.run(shutdown.clone()));
    #[expect(clippy::print_stdout, reason = "this is how a program of tests is reached")]
    {
        println!("{{}}");
    }
    let mut ignored = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut ignored)
        .await
        .context("could not wait for the end of standard input")?;
    shutdown.cancel();
    running.await.context("the worker did not end well")
}
