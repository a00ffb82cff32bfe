//! Limits on the size of a request body and on the time that it may take.

use std::time::Duration;

/// Limits on a request body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The maximum size, in bytes.
    pub bytes: usize,
    /// The time from the end of the request head until the whole body has arrived.
    pub time: Duration,
}

/// Time after the end of the request head before [`MIN_RATE`] applies.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The minimum average rate of a body after [`GRACE`], in bytes per second: a tenth of what a poor
/// mobile connection sends. The largest body must arrive faster than this to meet [`Bounds::time`].
const MIN_RATE: u32 = 8 * 1024;

impl Bounds {
    /// The time, since the beginning of the body, by which the next bytes must arrive after
    /// `received` bytes.
    pub(super) fn time_for(&self, received: usize) -> Duration {
        let received = u32::try_from(received).unwrap_or(u32::MAX);
        self.time.min(GRACE + Duration::from_secs(1) * received / MIN_RATE)
    }
}
