//! Settings of the worker, and of logs and traces.

use platform::telemetry::{LogFormat, TraceSettings};

use super::{
    parse::{log_filter, log_format, number},
    reader::Reader,
    types::Mode,
    variables::{LOG, LOG_FORMAT, WORKER_CONCURRENCY, WORKER_PORT},
};

/// Settings of the worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// `WORKER_CONCURRENCY`: the number of jobs that one worker runs at the same time.
    pub concurrency: u32,
    /// `WORKER_PORT`: the port of probes and metrics.
    pub port: u16,
}

impl WorkerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let concurrency = reader.parse(WORKER_CONCURRENCY, |text| number(text, 1, 1_000));
        let port = reader.parse(WORKER_PORT, |text| number(text, 1, u16::MAX));
        Self { concurrency: concurrency.unwrap_or(16), port: port.unwrap_or(8081) }
    }
}

/// Settings of logs and traces.
#[derive(Clone, Debug)]
pub struct LoggingConfig {
    /// `LOG`, validated.
    pub filter: String,
    /// `LOG_FORMAT`.
    pub format: LogFormat,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` and related variables; `None` if nothing is traced.
    pub traces: Option<TraceSettings>,
}

impl LoggingConfig {
    pub(super) fn read(reader: &mut Reader<'_>, mode: Mode) -> Self {
        Self {
            filter: reader.parse(LOG, log_filter).unwrap_or(LOG.default.into()),
            format: reader.parse(LOG_FORMAT, log_format).unwrap_or(match mode {
                Mode::Embedded => LogFormat::Pretty,
                Mode::Deployed => LogFormat::Json,
            }),
            traces: reader.traces(),
        }
    }
}
