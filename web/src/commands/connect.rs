//! Connects a command to the services in the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use app::{
    App, Dependencies,
    config::{Config, Mode},
};
use mcp::Stores;
use platform::clock::SystemClock;

/// Connects to all services and, in development, brings the schema up to date.
pub(super) async fn connect(config: &Config) -> anyhow::Result<(Stores, App)> {
    let (stores, app) = reach(config).await?;
    if config.mode == Mode::Embedded {
        migrate(&app).await?;
    }
    Ok((stores, app))
}

/// Brings the schema up to date.
pub(super) async fn migrate(app: &App) -> anyhow::Result<()> {
    let schema = app.db().schema_connection().await.context("could not connect to migrate")?;
    app.product().schema().migrate(&schema).await.context("could not migrate the database")
}

/// Connects to all services without changing the schema.
pub(super) async fn reach(config: &Config) -> anyhow::Result<(Stores, App)> {
    let (stores, given) = Dependencies::configured(config, Arc::new(SystemClock))?;
    let app = App::connect_with(config, given).await?;
    Ok((stores, app))
}
