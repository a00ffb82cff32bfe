//! Paths that platforms and monitoring poll.

/// The paths of all probes. Successful responses are logged at a reduced rate, and a full instance
/// still answers them.
pub(crate) const PROBES: [&str; 3] = ["/healthz", "/livez", METRICS];

/// The metrics in the format of Prometheus.
pub(crate) const METRICS: &str = "/metrics";
