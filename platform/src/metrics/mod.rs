//! Metrics: definitions, recording and the export to Prometheus.
//!
//! [`names`] lists all of them. Code that records a metric calls a method of its entry there, so a
//! name or a label that is not in the list does not compile. Names follow the conventions of
//! OpenTelemetry where there is one, in the spelling of Prometheus. Every label has a closed set of
//! values: never a path, a user, a client or a session.
//!
//! The recorder is global to the process (as is the subscriber of `tracing`): instances in one
//! process share it. Until [`start`] is called, recording costs nothing.

mod names;

use std::{sync::OnceLock, time::Duration};

use ::metrics::{Label, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use self::names::*;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only increases, until the process ends.
    Counter,
    /// A current value.
    Gauge,
    /// A distribution of durations, in buckets bounded by [`SECONDS`] or [`LONG_SECONDS`].
    Histogram,
}

/// A metric with `N` labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric<const N: usize> {
    /// Its name in Prometheus, including the unit.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: [&'static str; N],
    /// What it measures, in one sentence.
    pub help: &'static str,
}

/// The definition of a metric, independent of the number of its labels.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it measures.
    pub help: &'static str,
}

/// The upper bounds of the buckets of histograms, in seconds. Must contain 0.5, where the objective
/// for `/mcp` is measured.
pub const SECONDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The upper bounds for histograms of what may stay open for hours: streams and sessions.
pub const LONG_SECONDS: [f64; 8] = [1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

impl<const N: usize> Metric<N> {
    /// Returns the definition of this metric.
    pub const fn about(&'static self) -> About {
        About {
            name: self.name,
            kind: self.kind,
            unit: self.unit,
            labels: &self.labels,
            help: self.help,
        }
    }

    /// Increments a counter by 1.
    pub fn increment(&self, values: [&str; N]) {
        self.add(values, 1);
    }

    /// Increments a counter by `more`.
    pub fn add(&self, values: [&str; N], more: u64) {
        ::metrics::counter!(self.name, self.labels_with(values)).increment(more);
    }

    /// Sets a counter to a total that was counted elsewhere.
    pub fn total(&self, values: [&str; N], total: u64) {
        ::metrics::counter!(self.name, self.labels_with(values)).absolute(total);
    }

    /// Sets a gauge.
    pub fn set(&self, values: [&str; N], value: f64) {
        ::metrics::gauge!(self.name, self.labels_with(values)).set(value);
    }

    /// Sets a gauge to NaN, because its value is unknown: a gap in a graph instead of an outdated
    /// value.
    pub fn unknown(&self, values: [&str; N]) {
        self.set(values, f64::NAN);
    }

    /// Increments a gauge until the result is dropped.
    #[must_use]
    pub fn hold(&self, values: [&str; N]) -> Held {
        let gauge = ::metrics::gauge!(self.name, self.labels_with(values));
        gauge.increment(1.0);
        Held(gauge)
    }

    /// Records a duration in a histogram.
    pub fn observe(&self, values: [&str; N], time: Duration) {
        ::metrics::histogram!(self.name, self.labels_with(values)).record(time);
    }

    fn labels_with(&self, values: [&str; N]) -> Vec<Label> {
        self.labels
            .iter()
            .zip(values)
            .map(|(name, value)| Label::new(*name, SharedString::from_owned(value.to_owned())))
            .collect()
    }
}

/// Decrements its gauge when it is dropped.
pub struct Held(::metrics::Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts recording in this process. Later calls change nothing.
pub fn start() {
    RECORDER.get_or_init(|| {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL {
            if metric.kind == Kind::Histogram {
                let buckets: &[f64] =
                    if LONG.contains(&metric.name) { &LONG_SECONDS } else { &SECONDS };
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                    .expect("the list of buckets is not empty");
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if ::metrics::set_global_recorder(recorder).is_err() {
            tracing::error!(
                "Another metrics recorder is installed; this process records no metrics"
            );
        }
        for metric in ALL {
            describe(metric);
        }
        zero();
        handle
    });
}

/// Returns whether this process records metrics.
pub fn started() -> bool {
    RECORDER.get().is_some()
}

fn describe(metric: &About) {
    let (name, unit, help) = (metric.name, metric.unit, metric.help);
    match metric.kind {
        Kind::Counter => ::metrics::describe_counter!(name, unit, help),
        Kind::Gauge => ::metrics::describe_gauge!(name, unit, help),
        Kind::Histogram => ::metrics::describe_histogram!(name, unit, help),
    }
}

/// Initializes counters with 0: Prometheus sees no increase in a counter that starts at 1.
fn zero() {
    for event in STREAM_EVENT_KINDS {
        MCP_STREAM_EVENTS.add([event], 0);
    }
    for event in SESSION_EVENT_KINDS {
        MCP_SESSIONS.add([event], 0);
    }
    for event in QUESTION_EVENT_KINDS {
        MCP_QUESTIONS.add([event], 0);
    }
    for era in ERAS {
        MCP_CANCELLATIONS.add([era], 0);
    }
    for kind in STREAM_KINDS {
        MCP_STREAMS.add([kind], 0);
        MCP_STREAMS_OPEN.set([kind], 0.0);
    }
    for reason in DECRYPTION_FAILURES {
        CONTENT_DECRYPTION_FAILURES.add([reason], 0);
    }
    for level in LOG_LEVELS {
        LOG_EVENTS.add([level], 0);
    }
    MCP_STREAM_RESUMES.add([], 0);
    MCP_CALLS_TAKEN_OVER.add([], 0);
    DB_CONNECTION_TIMEOUTS.add([], 0);
    PANICS.add([], 0);
    REDIS_RECONNECTS.add([], 0);
    HTTP_ACTIVE_REQUESTS.set([], 0.0);
}

/// Renders all metrics in the text format of Prometheus. Empty if recording has not been started.
pub fn rendered() -> String {
    RECORDER.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// The interval of [`run_upkeep_loop`].
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Runs the upkeep of the recorder every few seconds, which bounds the memory that histograms use
/// between two scrapes. Never returns.
pub async fn run_upkeep_loop() {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Some(recorder) = RECORDER.get() {
            recorder.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is defined twice");
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(plain(name) && metric.labels.iter().all(|it| plain(it)), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            if metric.kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            assert_eq!(metric.unit == Unit::Seconds, name.contains("_seconds"), "{name}");
            assert_eq!(metric.unit == Unit::Bytes, name.ends_with("_bytes"), "{name}");
            assert!(metric.help.ends_with('.') && metric.help.len() < 200, "{name}");
        }
        assert!(LONG.iter().all(|it| names.contains(it)));
    }
}
