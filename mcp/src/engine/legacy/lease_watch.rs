//! Decides when the calls of a stream count as lost.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::retry::HEARTBEAT;

/// How long a writer with a lapsed lease has to renew it. During an outage of the store no lease
/// can be renewed; afterwards a live writer renews its lease within a heartbeat.
const GRACE: Duration = HEARTBEAT.saturating_add(Duration::from_secs(1));

/// Watches the leases of the writers of a stream.
#[derive(Default)]
pub(super) struct LeaseWatch {
    /// When to check the leases again.
    pub(super) check_at: Option<Instant>,
    /// Since when a lease has been observed as lapsed.
    lapsed_since: Option<Instant>,
}

impl LeaseWatch {
    /// Records the time until the first lease lapses, as read from the log. Returns whether lapsed
    /// calls must be taken over now: a lease has been lapsed for [`GRACE`], and `is_idle`, that is,
    /// the reader has sent everything that it has read.
    pub(super) fn observe(&mut self, lapses: Option<Duration>, is_idle: bool) -> bool {
        let now = Instant::now();
        match lapses {
            None => self.check_at = None,
            Some(left) if !left.is_zero() => {
                self.lapsed_since = None;
                // Slightly later than the lease, so that one check suffices.
                self.check_at = Some(now + left + HEARTBEAT);
            }
            Some(_) => {
                let deadline = *self.lapsed_since.get_or_insert(now) + GRACE;
                if now >= deadline && is_idle {
                    *self = Self::default();
                    return true;
                }
                self.check_at = Some(deadline.max(now));
            }
        }
        false
    }
}
