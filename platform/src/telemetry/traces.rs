//! Traces: spans, sent to a collector by OTLP.
//!
//! A thread of the SDK collects ended spans and sends them every few seconds. Nothing waits for it:
//! when its queue is full, or the collector does not answer, spans are dropped, and the log says so
//! once. Names follow OpenTelemetry's semantic conventions.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue, TraceId, Value,
    trace::{Link, SpanKind, TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingResult, SdkTracerProvider,
        ShouldSample, SpanData, SpanExporter,
    },
};
use tokio::runtime::Handle;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::{outgoing::client_builder, proxies::Proxies, secret::Secret};

/// Where traces are sent, and how many.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, without a trailing slash.
    pub endpoint: String,
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub headers: Vec<(String, Secret)>,
    /// `OTEL_TRACES_SAMPLER_ARG`: the sampled part of all traces, from 0 to 1.
    pub share: f64,
}

/// The maximum number of queued spans, about 4 MB; further spans are dropped.
const QUEUE: usize = 8_192;

/// The maximum number of spans in one request to the collector.
const BATCH: usize = 512;

/// How long a span waits for others to be sent with.
const DELAY: Duration = Duration::from_secs(2);

/// The time limit on a request to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a process that ends waits for the last spans to be sent.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest response of a collector that is read, in bytes. It only says which spans were
/// rejected.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Starts the exporter.
pub(super) fn start(
    settings: &TraceSettings,
    proxies: &Proxies,
    program: &'static str,
    revision: Option<&str>,
) -> anyhow::Result<SdkTracerProvider> {
    let headers: HashMap<String, String> = settings
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(proxies)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", settings.endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .with_headers(headers)
        .build()
        .context("could not create the exporter of traces")?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let sending =
        BatchSpanProcessor::builder(Conventional::new(exporter)).with_batch_config(batches).build();
    let mut attributes = vec![
        KeyValue::new("service.name", program),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ];
    if let Some(revision) = revision {
        attributes.push(KeyValue::new("vcs.ref.head.revision", revision.to_owned()));
    }
    Ok(SdkTracerProvider::builder()
        .with_span_processor(sending)
        .with_sampler(Sample(Sampler::TraceIdRatioBased(settings.share)))
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .build())
}

/// Creates the layer that turns spans of `tracing` into spans of a trace.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("requests"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(wants))
}

fn wants(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && [mcp::trace::TRACED, mcp::trace::FOLLOWED].contains(&metadata.target())
}

/// Samples a part of all traces, but no trace that starts with a client span, such as a statement
/// to the database or a command to Redis: those are the background work that this process does
/// every few seconds.
#[derive(Clone, Debug)]
struct Sample(Sampler);

impl ShouldSample for Sample {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(|it| it.span().span_context().is_valid());
        let sampler = match kind {
            SpanKind::Client if !has_parent => &Sampler::AlwaysOff,
            _ => &self.0,
        };
        sampler.should_sample(parent, trace, name, kind, attributes, links)
    }
}

/// Sends the remaining spans, within a time limit.
pub(super) async fn end(provider: SdkTracerProvider) {
    // The shutdown blocks until the exporter's thread has ended, which needs this runtime.
    let ending = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(END_TIMEOUT));
    match tokio::time::timeout(END_TIMEOUT, ending).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "The last spans were not sent"),
        Ok(Err(_)) | Err(_) => tracing::warn!("The last spans were not sent in time"),
    }
}

/// The collector's name in the field `dependency` of log events.
const OTLP: &str = "otlp";

/// Renames spans according to OpenTelemetry's conventions before they are exported.
#[derive(Debug)]
struct Conventional<E> {
    inner: E,
    /// Whether the last export failed.
    failing: AtomicBool,
}

impl<E> Conventional<E> {
    fn new(inner: E) -> Self {
        Self { inner, failing: AtomicBool::new(false) }
    }

    /// Logs once that spans are lost, and once that they are sent again.
    fn note(&self, sent: &OTelSdkResult) {
        match (sent, self.failing.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(dependency = OTLP, %error, "Could not send traces; spans are lost");
            }
            (Ok(()), true) => tracing::info!(dependency = OTLP, "Traces are sent again"),
            _ => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Conventional<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(rename);
        let sent = self.inner.export(batch).await;
        self.note(&sent);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

fn rename(span: &mut SpanData) {
    let attribute = |name: &str| -> Option<String> {
        let found = span.attributes.iter().find(|it| it.key.as_str() == name)?;
        match &found.value {
            Value::String(text) => Some(text.to_string()),
            _ => None,
        }
    };
    let parts = [
        ["http.request.method", "http.route"],
        ["http.request.method", "server.address"],
        ["mcp.method.name", "gen_ai.tool.name"],
        ["mcp.method.name", "gen_ai.prompt.name"],
        ["mcp.method.name", ""],
        ["gen_ai.operation.name", "gen_ai.tool.name"],
        ["gen_ai.operation.name", "gen_ai.request.model"],
        ["db.operation.name", ""],
        ["http.request.method", ""],
    ];
    let named = parts.into_iter().find_map(|[first, second]| {
        let first = attribute(first)?;
        if second.is_empty() {
            Some(first)
        } else {
            Some(format!("{first} {}", attribute(second)?))
        }
    });
    if let Some(name) = named {
        span.name = name.into();
    }
}

/// Sends requests of the SDK's thread on the runtime of the process.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl Client {
    fn new(proxies: &Proxies) -> anyhow::Result<Self> {
        let http = client_builder(proxies)
            .and_then(|builder| {
                builder
                    .timeout(EXPORT_TIMEOUT)
                    .user_agent(concat!("mcp-telemetry/", env!("CARGO_PKG_VERSION")))
                    .build()
            })
            .context("could not create the HTTP client for traces")?;
        let runtime = Handle::try_current().context("traces require a Tokio runtime")?;
        Ok(Self { http, runtime })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sending = self.runtime.spawn(async move {
            let mut received = http.execute(request.try_into()?).await?;
            let mut body = Vec::new();
            while let Some(chunk) = received.chunk().await? {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err("the collector's response is too large".into());
                }
                body.extend_from_slice(&chunk);
            }
            let mut response = http::Response::new(Bytes::from(body));
            *response.status_mut() = received.status();
            *response.headers_mut() = std::mem::take(received.headers_mut());
            Ok::<_, HttpError>(response)
        });
        sending.await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxies::fake;

    #[tokio::test]
    async fn traces_are_sent_through_a_proxy() {
        let (proxies, head) = fake::start("{}");
        let request = http::Request::post("http://collector.example.com:4318/v1/traces");
        let request = request.body(Bytes::from_static(b"spans")).unwrap();
        let answer = Client::new(&proxies).unwrap().send_bytes(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let line = "POST http://collector.example.com:4318/v1/traces HTTP/1.1";
        assert!(fake::is_request(&head.join().unwrap(), line));
    }
}
