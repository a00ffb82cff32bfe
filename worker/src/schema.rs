//! Waits for the database schema of this version.

use std::time::Duration;

use anyhow::{Context as _, bail};
use app::App;
use tokio::time::{Instant, sleep};

use crate::settings::STALL_LIMIT;

/// Pause between two checks of the schema.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker waits for its schema. A deployment migrates within minutes of starting a
/// worker, or not at all.
const LIMIT: Duration = Duration::from_mins(15);

/// Waits until the database has all migrations of this version, and logs once that it waits. Does
/// not migrate: a deployment has a separate step for that.
pub async fn await_schema(app: &App) -> anyhow::Result<()> {
    let program = app.product().brand().program;
    let since = Instant::now();
    let mut logged = false;
    let mut failing_since = None;
    loop {
        let steps = match app.product().schema().status(app.db()).await {
            Ok(steps) => steps,
            Err(error) => {
                let failing = *failing_since.get_or_insert_with(Instant::now);
                if failing.elapsed() >= STALL_LIMIT {
                    return Err(error).context("could not read the schema");
                }
                tracing::debug!(%error, "Could not read the schema; retrying");
                sleep(INTERVAL).await;
                continue;
            }
        };
        failing_since = None;
        let missing = steps.iter().filter(|step| !step.applied).count();
        if missing == 0 {
            return Ok(());
        }
        if since.elapsed() >= LIMIT {
            bail!("the database still lacks {missing} migrations. Run `{program} migrate up`");
        }
        if !logged {
            tracing::warn!(
                missing,
                "Waiting: the database lacks {missing} migrations of this version. Run `{program} \
                 migrate up`"
            );
            logged = true;
        }
        sleep(INTERVAL).await;
    }
}
