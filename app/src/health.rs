//! The health of this process, checked cheaply enough for several probes per second.

use std::time::Duration;

use platform::{
    causes,
    db::{DATABASE, Database},
};
use sea_orm::DbErr;
use tokio::{sync::Mutex, time::Instant};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The database answers.
    Well,
    /// The database answers, but all connections of this process are in use and requests wait for
    /// one. If a statement blocks them all, other instances have the same problem.
    Busy,
    /// The database does not answer.
    NoDatabase,
}

/// The timeout of a check. Probes give up after about two seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a result is reused, so that probes do not load a slow database.
const KEPT: Duration = Duration::from_secs(2);

/// How often a problem that persists is logged again.
const REPEAT: Duration = Duration::from_mins(1);

/// The last result. Concurrent probes share one check.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: Option<(Instant, Health)>,
    /// The last result that was logged, and when.
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
    /// Logs a change, and repeats a problem that persists.
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
