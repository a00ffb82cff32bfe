//! `fixtures-web`: one instance as a process of its own, with the fixtures and, beside them, what
//! the product offers. It is configured by the environment as the product is, and ends as it does. The
//! documents of clients at `example.com` are on a host of its own.

use std::{net::SocketAddr, sync::Arc};

use mcp::Engine;
use platform::clock::SystemClock;
use service::{Dependencies, Service, config::Config};
use tests::{documents::DocumentHost, fixtures};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let telemetry = config.start_telemetry("notes-mcp")?;
    let listener = TcpListener::bind(SocketAddr::new(config.host, config.port)).await?;
    let documents = DocumentHost::start().await;
    let (stores, mut given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    given.resolver = documents.resolver();
    given.roots = Some(documents.roots());
    let service = Service::connect_with(&config, given).await?;
    let catalog = fixtures::of_process(&service)?;
    let engine = Engine::new(catalog, stores, service::mcp_settings(&service));

    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        ending.cancel();
    });
    web::run(listener, service.clone(), engine, shutdown).await?;
    service.close().await;
    telemetry.end().await;
    Ok(())
}
