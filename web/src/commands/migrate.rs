//! `notes-mcp migrate`

use anyhow::Context as _;
use service::config::Config;

/// Brings the schema up to date. A deployment calls it before it starts new instances; several at
/// once take turns.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let (_, service) = super::connect(&config).await?;
    migration::migrate(service.db()).await.context("could not migrate the database")?;
    super::say("The schema is up to date.");
    Ok(())
}
