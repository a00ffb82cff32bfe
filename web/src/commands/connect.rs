//! Connects a command to the services in the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use mcp::Stores;
use platform::clock::SystemClock;
use service::{
    Dependencies, Service,
    config::{Config, Mode},
};

/// Connects to all services and, in development, brings the schema up to date.
pub(super) async fn connect(config: &Config) -> anyhow::Result<(Stores, Service)> {
    let (stores, service) = reach(config).await?;
    if config.mode == Mode::Embedded {
        migrate(&service).await?;
    }
    Ok((stores, service))
}

/// Brings the schema up to date.
pub(super) async fn migrate(service: &Service) -> anyhow::Result<()> {
    let schema = service.db().schema_connection().await.context("could not connect to migrate")?;
    migration::migrate(&schema).await.context("could not migrate the database")
}

/// Connects to all services without changing the schema.
pub(super) async fn reach(config: &Config) -> anyhow::Result<(Stores, Service)> {
    let (stores, given) = Dependencies::configured(config, Arc::new(SystemClock))?;
    let service = Service::connect_with(config, given).await?;
    Ok((stores, service))
}
