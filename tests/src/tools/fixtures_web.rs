//! `fixtures-web` is one instance of the fixtures. It is configured and stopped like a product. Client
//! metadata documents at `example.com` are served by a host inside of it.

use std::sync::Arc;

use app::{App, Dependencies, config::Config, metrics};
use mcp::Engine;
use platform::clock::SystemClock;
use tests::{documents::DocumentHost, fixtures};

use crate::serving;

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(&fixtures::product_of_environment())?;
    let telemetry = config.start_telemetry("fixtures")?;
    metrics::start(&config.product);
    let listener = serving::bind(&config).await?;
    let documents = DocumentHost::start().await;
    let (stores, mut given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    given.resolver = documents.resolver();
    given.roots = Some(documents.roots());
    let app = App::connect_with(&config, given).await?;
    let engine = Engine::new(app.catalog(), stores, app::mcp_settings(&app));
    serving::until_terminated(listener, app, engine).await?;
    telemetry.end().await;
    Ok(())
}
