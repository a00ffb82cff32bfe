//! The health of this process. A check is cheap enough for several probes per second.

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
    /// The database responds.
    Well,
    /// The database responds, but all connections of this process are in use, and requests wait for
    /// one. If one statement blocks all of them, other instances have the same problem.
    Busy,
    /// The database does not respond.
    NoDatabase,
}

/// The timeout of a check. Probes give up after about two seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a result is reused, so that probes do not load a slow database.
const RESULT_LIFETIME: Duration = Duration::from_secs(2);

/// How often a persistent problem is logged.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The last result. Concurrent probes share one check.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<CacheState>);

#[derive(Debug, Default)]
struct CacheState {
    last: Option<(Instant, Health)>,
    /// The last result that was logged, and when.
    logged: Option<(Instant, Health)>,
}

impl Cache {
    /// Checks the database within a second. The result may be up to two seconds old.
    pub(crate) async fn check(&self, db: &Database, max_connections: u32) -> Health {
        let mut state = self.0.lock().await;
        if let Some((at, health)) = state.last
            && at.elapsed() < RESULT_LIFETIME
        {
            return health;
        }
        let pinged = db.probe(CHECK_TIMEOUT).await;
        let health = match &pinged {
            Err(_) => Health::NoDatabase,
            Ok(()) if db.status().exhausted => Health::Busy,
            Ok(()) => Health::Well,
        };
        state.log(health, pinged.err().as_ref(), max_connections);
        state.last = Some((Instant::now(), health));
        health
    }
}

impl CacheState {
    /// Logs a change of the health, and repeats a persistent problem.
    fn log(&mut self, health: Health, error: Option<&DbErr>, max_connections: u32) {
        let last_logged = self.logged.map_or(Health::Well, |(_, health)| health);
        let is_due = self.logged.is_none_or(|(at, _)| at.elapsed() >= LOG_INTERVAL);
        if health == last_logged && (health == Health::Well || !is_due) {
            return;
        }
        match health {
            Health::Well => tracing::info!(
                dependency = DATABASE,
                "The database responds to health checks again"
            ),
            Health::Busy => tracing::warn!(
                max_connections,
                "All {max_connections} database connections are in use, and requests wait for one; \
                 the database responds. Look for locks and slow statements"
            ),
            Health::NoDatabase => {
                let error = error.map(|error| causes::one_line(error)).unwrap_or_default();
                tracing::warn!(
                    dependency = DATABASE,
                    error,
                    "The database does not respond to health checks"
                );
            }
        }
        self.logged = Some((Instant::now(), health));
    }
}
