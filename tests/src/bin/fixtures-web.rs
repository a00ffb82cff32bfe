//! `fixtures-web`: one instance as a process of its own, with the fixtures and, beside them, what
//! the product offers. It is configured by the environment as the product is, and ends as it does.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use mcp::Engine;
use service::{Dependencies, Service, clock::SystemClock, config::Config, telemetry};
use tests::fixtures::{self, Beside, Gates};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Says `fixtures` to leave the product out, as another version of the server would.
const OFFER: &str = "TEST_OFFER";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    telemetry::init(config.log_format, &config.log);
    let listener = TcpListener::bind(SocketAddr::new(config.host, config.port)).await?;
    let (stores, given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    let service = Service::connect_with(&config, given).await?;
    let gates = match std::env::var(Gates::VARIABLE) {
        Ok(keeper) => Gates::at(keeper.parse().context("where the gates are")?),
        Err(_unset) => Gates::default(),
    };
    let mut catalog = fixtures::catalog(gates);
    if std::env::var(OFFER).as_deref() != Ok("fixtures") {
        catalog = Arc::new(Beside::new(catalog, service::catalog(service.clone())));
    }
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
    Ok(())
}
