//! `fixtures-web` is one instance of the fixtures. It is configured and stopped like a product. Client
//! metadata documents at `example.com` are served by a host inside of it.

use std::{net::SocketAddr, sync::Arc};

use app::{App, Dependencies, config::Config, metrics};
use mcp::Engine;
use platform::clock::SystemClock;
use tests::{documents::DocumentHost, fixtures};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(&fixtures::product_of_environment())?;
    let telemetry = config.start_telemetry("fixtures")?;
    metrics::start(&config.product);
    let listener = TcpListener::bind(SocketAddr::new(config.http.host, config.http.port)).await?;
    let documents = DocumentHost::start().await;
    let (stores, mut given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    given.resolver = documents.resolver();
    given.roots = Some(documents.roots());
    let app = App::connect_with(&config, given).await?;
    let engine = Engine::new(app.catalog(), stores, app::mcp_settings(&app));

    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        ending.cancel();
    });
    web::run(listener, app.clone(), engine, shutdown).await?;
    app.close().await;
    telemetry.end().await;
    Ok(())
}
