//! Serves one instance, as the program of a product does.

use std::net::SocketAddr;

use app::{App, config::Config};
use mcp::Engine;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Binds the configured address, before anything that takes longer.
pub(crate) async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(config.http.host, config.http.port);
    Ok(TcpListener::bind(address).await?)
}

/// Serves until `SIGTERM`, and closes the connections of the instance.
pub(crate) async fn until_terminated(
    listener: TcpListener,
    app: App,
    engine: Engine,
) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        ending.cancel();
    });
    web::run(listener, app.clone(), engine, shutdown).await?;
    app.close().await;
    Ok(())
}
