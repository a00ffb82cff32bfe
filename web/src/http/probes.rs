//! The paths of probes.

/// What a platform asks every few seconds: a good answer is logged now and then.
pub(crate) const PROBES: [&str; 3] = ["/healthz", "/livez", METRICS];

/// The metrics of this process.
pub(crate) const METRICS: &str = "/metrics";
