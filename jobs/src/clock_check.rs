//! Keeps a worker whose clock is wrong from claiming jobs and from running schedules.
//!
//! Leases and retentions are times: a worker whose clock is ahead would take jobs away from the
//! workers that run them, and delete results and exports too early; leases that it writes with a
//! clock that is behind have already expired. Compares the clock of the machine with that of the
//! database, which all workers share.

use std::time::Duration;

use platform::db::Database;
use tokio::{sync::Mutex, time::Instant};

/// The largest difference with which a worker continues: a sixth of a lease. The alert `ClockSkew`
/// has the same limit.
const MAX_SKEW: Duration = Duration::from_secs(5);

/// How long a result is reused, so that a busy worker compares rarely.
const LIFETIME: Duration = Duration::from_secs(5);

/// The result of the last comparison. Concurrent callers share one.
#[derive(Debug, Default)]
pub(crate) struct ClockCheck(Mutex<Option<(Instant, bool)>>);

impl ClockCheck {
    /// Whether the clock agrees with that of the database; up to 5 s old.
    pub(crate) async fn is_right(&self, db: &Database) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, is_right)) = *last
            && at.elapsed() < LIFETIME
        {
            return is_right;
        }
        let is_right = is_right(db).await;
        *last = Some((Instant::now(), is_right));
        is_right
    }
}

/// Whether the clock agrees with that of the database. Logs it if not. `true` if the database does
/// not answer: what follows fails then, too.
async fn is_right(db: &Database) -> bool {
    let Ok(skew) = db.clock_skew().await else { return true };
    let is_right = skew <= MAX_SKEW;
    if !is_right {
        tracing::error!(
            dependency = "clock",
            ?skew,
            "The clock of this machine and that of the database differ by more than {MAX_SKEW:?}; \
             claiming no jobs and running no schedules until they agree"
        );
    }
    is_right
}
