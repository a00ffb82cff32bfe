//! The command `migrate`: applies, reverts and lists migrations.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use app::{App, config::Config};
use clap::Subcommand;
use platform::terminal::say;

use super::connect::{migrate, reach};

/// Commands for the database schema.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the schema up to date (the default)
    Up,
    /// Revert the newest migrations, and delete the data in the tables and columns that they added
    Down {
        /// Number of migrations
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        steps: u32,
    },
    /// List the migrations, and whether the database has them
    Status,
}

/// Executes a command. A deployment runs `up` before it starts new instances; concurrent runs take
/// turns.
pub(super) async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    let (_, app) = reach(&config).await?;
    match command {
        Command::Up => {
            migrate(&app).await?;
            say("The schema is up to date.");
        }
        Command::Down { steps } => {
            let schema = app.db().schema_connection().await.context("could not connect")?;
            app.product()
                .schema()
                .revert(&schema, steps)
                .await
                .context("could not revert the migrations")?;
            say(format_args!("Migrations reverted: {steps}."));
            return list(&app).await;
        }
        Command::Status => return list(&app).await,
    }
    Ok(())
}

async fn list(app: &App) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for step in
        app.product().schema().status(app.db()).await.context("could not read the schema")?
    {
        let state = if step.applied { "applied" } else { "missing" };
        lines.push(format!("{state}  {}", step.name));
    }
    writeln!(io::stdout(), "{}", lines.join("\n")).context("could not print the migrations")
}

/// Fails if the schema lacks migrations of this version.
pub(super) async fn require_current(app: &App) -> anyhow::Result<()> {
    let steps =
        app.product().schema().status(app.db()).await.context("could not read the schema")?;
    let missing: Vec<_> =
        steps.into_iter().filter(|step| !step.applied).map(|step| step.name).collect();
    if let Some(first) = missing.first() {
        bail!(
            "the database lacks {} of this version's migrations, from {first} on. Run `{} \
             migrate up` first",
            missing.len(),
            app.product().brand().program
        );
    }
    Ok(())
}
