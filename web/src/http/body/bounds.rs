//! How much of a body is read, and for how long.

use std::time::Duration;

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest body, in bytes.
    pub bytes: usize,
    /// From the end of the head until the whole body has arrived.
    pub time: Duration,
}

/// From the end of the head, how long a body may take before [`LEAST_RATE`] holds.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The slowest that a body may arrive, on average after [`GRACE`], in bytes per second: a tenth of
/// what a poor mobile connection sends. The largest body has to be faster than that to be in time.
const LEAST_RATE: u32 = 8 * 1024;

impl Bounds {
    /// When a body of which so much has arrived must have sent more, from its beginning.
    pub(super) fn time_for(&self, received: usize) -> Duration {
        let received = u32::try_from(received).unwrap_or(u32::MAX);
        self.time.min(GRACE + Duration::from_secs(1) * received / LEAST_RATE)
    }
}
