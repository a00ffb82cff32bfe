//! Logs: one line for an event, as JSON for machines or coloured text for people, to standard error
//! so that standard output stays free for what a command was asked to print.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::LogFormat;

/// Libraries that say more than a reader of our log wants. `LOG` can turn them up again.
const QUIET: &str = "sqlx=warn,sea_orm=warn,sea_orm_migration=warn,";

/// Starts logging. The first call in a process wins, since there is one subscriber in a process;
/// later calls change nothing.
pub fn init(format: LogFormat, filter: &str) {
    let filter = parse_filter(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Pretty => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("Logging was started before");
    }
}

/// Reads what `LOG` may hold: a level, or levels for each module as in `info,service=debug`.
pub(crate) fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET}{filter}"))
}
