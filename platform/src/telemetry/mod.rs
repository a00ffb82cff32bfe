//! Logs and traces of a process.
//!
//! Logs: one line for each event, as JSON for machines or as colored text for people, on standard
//! error, so that standard output is free for the output of commands. Traces: spans, sent to a
//! collector if one is configured.

mod fields;
mod repeated;
mod traces;

use std::{
    io::IsTerminal as _,
    panic::{self, PanicHookInfo},
    time::Duration,
};

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, ParseError, filter_fn},
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use self::repeated::WithoutRepeats;
pub use self::traces::TraceSettings;
use crate::{descriptors, metrics, proxies::Proxies};

/// The default levels, before those of `LOG`: errors only, plus exceptions for libraries that log
/// more than a reader of the log needs, and for spans that are only for traces. `LOG` can override
/// them.
const QUIET: &str = "error,sqlx=warn,sea_orm=warn,sea_orm_migration=warn,tokio_cron_scheduler=warn,mcp::traced=off,";

/// The library whose events and spans below WARN are never logged, whatever `LOG` says: its spans
/// contain all options of a database connection, including the password.
const MUTE: &str = "sea_orm";

fn is_safe(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with(MUTE) || *metadata.level() <= Level::WARN
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// The settings of logs and traces.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// The format of log lines.
    pub format: LogFormat,
    /// `LOG`: a level, or `module=level` pairs.
    pub filter: &'a str,
    /// Where traces are sent; `None` if they are not.
    pub traces: Option<&'a TraceSettings>,
    /// The proxies on the way to the trace collector.
    pub proxies: &'a Proxies,
    /// The revision of the program, for traces.
    pub revision: Option<&'a str>,
}

/// Handle to the running telemetry, to end it.
#[derive(Debug)]
#[must_use = "the last spans are lost unless it is ended"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the remaining spans, within a time limit.
    pub async fn end(self) {
        if let Some(traces) = self.traces {
            traces::end(traces).await;
        }
    }
}

/// Starts logging, and tracing if it is configured. `program` is the service name in traces. The
/// first call in a process wins, since a process has one subscriber. Must be called within a tokio
/// runtime.
pub fn start(settings: &Settings<'_>, program: &'static str) -> anyhow::Result<Telemetry> {
    let traces = match settings.traces {
        Some(traces) => Some(traces::start(traces, settings.proxies, program, settings.revision)?),
        None => None,
    };
    subscribe(settings.format, settings.filter, traces.as_ref());
    descriptors::raise_limit();
    Ok(Telemetry { traces })
}

/// Starts logging without tracing. The first call in a process wins; later calls change nothing.
pub fn init(format: LogFormat, filter: &str) {
    subscribe(format, filter, None);
}

fn subscribe(format: LogFormat, filter: &str, traces: Option<&SdkTracerProvider>) {
    let filter = parse_filter(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Pretty => lines
            .with_target(false)
            .fmt_fields(fields::Plain)
            .map_event_format(WithoutRepeats::new)
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .fmt_fields(fields::Json)
            .map_event_format(WithoutRepeats::new)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(filter_fn(is_safe))))
        .with(Counting.with_filter(filter_fn(Counting::wants)));
    // Not `with(None)`: a layer without a filter enables every span, although nothing records it.
    let started = match traces {
        Some(traces) => subscriber.with(traces::layer(traces)).try_init(),
        None => subscriber.try_init(),
    };
    if started.is_ok() {
        log_panics();
    } else {
        tracing::debug!("Logging has already been started");
    }
}

/// Parses the value of `LOG`: a level, or levels for each module as in `info,oauth=debug`.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET}{filter}"))
}

/// Logs panics as ordinary events, with a backtrace.
fn log_panics() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        let message = info.payload_as_str().unwrap_or("a payload that is not text");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        metrics::PANICS.increment([]);
        tracing::error!(%location, %backtrace, "Panic: {message}");
    }));
}

/// Updates the metrics that are derived from events: log lines for the operator, and what the
/// engine marks as [`mcp::COUNTED`].
struct Counting;

impl Counting {
    fn wants(metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN || metadata.target() == mcp::COUNTED
    }
}

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => metrics::LOG_EVENTS.increment(["error"]),
            Level::WARN => metrics::LOG_EVENTS.increment(["warn"]),
            _ => {}
        }
        if event.metadata().target() == mcp::COUNTED {
            event.record(&mut CountingFields);
        }
    }
}

/// Adds the fields of a counted event to their metrics.
struct CountingFields;

impl Visit for CountingFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "sessions_created" => metrics::MCP_SESSIONS.add(["created"], value),
            "sessions_deleted" => metrics::MCP_SESSIONS.add(["deleted"], value),
            "sessions_evicted" => metrics::MCP_SESSIONS.add(["evicted"], value),
            "sessions_unknown" => metrics::MCP_SESSIONS.add(["unknown"], value),
            "session_seconds" => {
                metrics::MCP_SESSION_DURATION.observe([], Duration::from_secs(value));
            }
            "appended" => metrics::MCP_STREAM_EVENTS.add(["appended"], value),
            "sent" => metrics::MCP_STREAM_EVENTS.add(["sent"], value),
            "replayed" => metrics::MCP_STREAM_EVENTS.add(["replayed"], value),
            "missed" => metrics::MCP_STREAM_EVENTS.add(["missed"], value),
            "lost" => metrics::MCP_STREAM_EVENTS.add(["lost"], value),
            "asked" => metrics::MCP_QUESTIONS.add(["asked"], value),
            "answered" => metrics::MCP_QUESTIONS.add(["answered"], value),
            "late" => metrics::MCP_QUESTIONS.add(["late"], value),
            "withdrawn" => metrics::MCP_QUESTIONS.add(["withdrawn"], value),
            "cancelled" => metrics::MCP_CANCELLATIONS.add(["legacy"], value),
            "content_unknown_key" => {
                metrics::CONTENT_DECRYPTION_FAILURES.add(["unknown_key"], value);
            }
            "content_damaged" => metrics::CONTENT_DECRYPTION_FAILURES.add(["damaged"], value),
            "taken_over" => metrics::MCP_CALLS_TAKEN_OVER.add([], value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}
