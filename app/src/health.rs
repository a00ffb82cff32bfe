//! Whether the program can do its work, cheaply enough to be asked every second by several probes.

use std::time::Duration;

use platform::{
    causes,
    db::{DATABASE, Database},
};
use sea_orm::DbErr;
use tokio::{sync::Mutex, time::Instant};

/// What a probe learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The database answers.
    Well,
    /// The database answers, but all connections of this process are in use and requests wait for
    /// one. Other instances are no better off if a statement holds them all.
    Busy,
    /// The database does not answer.
    NoDatabase,
}

/// The longest that a check takes. Probes give up after about two seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer holds, so that probes do not become load when the database is slow.
const KEPT: Duration = Duration::from_secs(2);

/// How often the log repeats that something is still wrong.
const REPEAT: Duration = Duration::from_mins(1);

/// The last answer. Probes that come at the same time share one check.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: Option<(Instant, Health)>,
    /// What the log said last, and when.
    logged: Option<(Instant, Health)>,
}

impl Cache {
    /// Checks the database, in at most a second. The result may be two seconds old.
    pub(crate) async fn check(&self, db: &Database, max_connections: u32) -> Health {
        let mut kept = self.0.lock().await;
        if let Some((at, health)) = kept.last
            && at.elapsed() < KEPT
        {
            return health;
        }
        let pinged = db.probe(CHECK_TIMEOUT).await;
        let health = match &pinged {
            Err(_) => Health::NoDatabase,
            Ok(()) if db.status().exhausted => Health::Busy,
            Ok(()) => Health::Well,
        };
        kept.log(health, pinged.err().as_ref(), max_connections);
        kept.last = Some((Instant::now(), health));
        health
    }
}

impl Kept {
    /// Logs a change, and now and then that something is still wrong.
    fn log(&mut self, health: Health, error: Option<&DbErr>, max_connections: u32) {
        let said = self.logged.map_or(Health::Well, |(_, health)| health);
        let repeats = self.logged.is_none_or(|(at, _)| at.elapsed() >= REPEAT);
        if health == said && (health == Health::Well || !repeats) {
            return;
        }
        match health {
            Health::Well => tracing::info!(dependency = DATABASE, "The database answers again"),
            Health::Busy => tracing::warn!(
                max_connections,
                "All {max_connections} database connections are in use and requests wait; the \
                 database answers. Look for locks and slow statements"
            ),
            Health::NoDatabase => {
                let error = error.map(|error| causes::one_line(error)).unwrap_or_default();
                tracing::warn!(dependency = DATABASE, error, "The database does not answer");
            }
        }
        self.logged = Some((Instant::now(), health));
    }
}
