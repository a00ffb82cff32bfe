//! What a process says of itself while it runs.
//!
//! Logs: one line for an event, as JSON for machines or coloured text for people, to standard error
//! so that standard output stays free for what a command was asked to print. Traces: spans, to a
//! collector, if one is configured.

mod fields;
mod repeated;
mod traces;

use std::{
    io::IsTerminal as _,
    panic::{self, PanicHookInfo},
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

/// What holds for everything that `LOG` does not name: errors are logged. Libraries that say more than
/// a reader of our log wants, and spans that only a trace shows: `LOG` can turn them up again.
const QUIET: &str = "error,sqlx=warn,sea_orm=warn,sea_orm_migration=warn,tokio_cron_scheduler=warn,mcp::traced=off,";

/// What nobody can turn up: in the spans of this library are all options of a connection to the
/// database, with its password.
const MUTE: &str = "sea_orm";

fn is_safe(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with(MUTE) || *metadata.level() <= Level::WARN
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// What a process logs and traces.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// How log lines look.
    pub format: LogFormat,
    /// `LOG`: a level, or `module=level` pairs.
    pub filter: &'a str,
    /// Where traces go, if anywhere.
    pub traces: Option<&'a TraceSettings>,
    /// For the way to the trace collector.
    pub proxies: &'a Proxies,
    /// The revision of the program, for traces.
    pub revision: Option<&'a str>,
}

/// What was started, so that it can end.
#[derive(Debug)]
#[must_use = "the last spans are lost unless it is ended"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends what is left, for a bounded time.
    pub async fn end(self) {
        if let Some(traces) = self.traces {
            traces::end(traces).await;
        }
    }
}

/// Starts logging, and tracing if that is configured, under the name of the program. The first call
/// in a process wins, since there is one subscriber in a process. Must be called within a tokio
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

/// Starts logging alone. The first call in a process wins; later calls change nothing.
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
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(filter_fn(is_safe))))
        .with(Counting.with_filter(filter_fn(Counting::wants)))
        .with(traces.map(traces::layer))
        .try_init();
    if started.is_ok() {
        log_panics();
    } else {
        tracing::debug!("Logging was started before");
    }
}

/// Reads what `LOG` may hold: a level, or levels for each module as in `info,oauth=debug`.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET}{filter}"))
}

/// A panic becomes a line like any other, with the way that led to it.
fn log_panics() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        let message = info.payload_as_str().unwrap_or("something that is no text");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        metrics::PANICS.count([]);
        tracing::error!(%location, %backtrace, "A panic, which is a defect: {message}");
    }));
}

/// Counts what only events tell: lines that an operator should read, and what the engine says may be
/// counted.
struct Counting;

impl Counting {
    fn wants(metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN || metadata.target() == mcp::COUNTED
    }
}

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => metrics::LOG_EVENTS.count(["error"]),
            Level::WARN => metrics::LOG_EVENTS.count(["warn"]),
            _ => {}
        }
        if event.metadata().target() == mcp::COUNTED {
            event.record(&mut CountingFields);
        }
    }
}

/// Counts the fields of an event that has one to count.
struct CountingFields;

impl Visit for CountingFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "missed" => metrics::MCP_STREAM_EVENTS.add(["missed"], value),
            "lost" => metrics::MCP_STREAM_EVENTS.add(["lost"], value),
            "replayed" => metrics::MCP_STREAM_EVENTS.add(["replayed"], value),
            "asked" => metrics::MCP_QUESTIONS.add(["asked"], value),
            "answered" => metrics::MCP_QUESTIONS.add(["answered"], value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}
