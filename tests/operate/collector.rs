//! A collector of our own: it takes what OTLP over HTTP with protobuf sends, and remembers it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use http::{Method, StatusCode};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as Outcome},
};
use poem::{Request, Response, Server, endpoint, listener::TcpAcceptor};
use prost::Message as _;
use tests::eventually;
use tokio::{net::TcpListener, task::JoinHandle};

/// The header without which nothing is taken.
pub(crate) const KEY: (&str, &str) = ("x-api-key", "the-key-of-the-collector");

/// A running collector. It ends when it is dropped.
pub(crate) struct Collector {
    origin: String,
    spans: Arc<Mutex<Vec<Got>>>,
    running: JoinHandle<()>,
}

/// A span as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) app: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty if it begins the trace.
    pub(crate) parent: String,
    pub(crate) kind: SpanKind,
    pub(crate) failed: bool,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The ids of spans, each with that of its trace.
    pub(crate) links: Vec<(String, String)>,
}

impl Got {
    fn read(app: &str, span: &Span) -> Self {
        Self {
            app: app.to_owned(),
            name: span.name.clone(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: span.kind(),
            failed: span.status.as_ref().is_some_and(|it| it.code() == Outcome::Error),
            attributes: texts(&span.attributes),
            links: span.links.iter().map(|it| (hex(&it.trace_id), hex(&it.span_id))).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, it| {
        write!(text, "{it:02x}").unwrap();
        text
    })
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it))).collect()
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let answering = endpoint::make(move |request| {
            let kept = Arc::clone(&kept);
            async move { take(request, &kept).await }
        });
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let running = tokio::spawn(async move {
            drop(Server::new_with_acceptor(acceptor).run(answering).await);
        });
        Self { origin, spans, running }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn spans(&self) -> Vec<Got> {
        self.spans.lock().unwrap().clone()
    }

    /// The first span that is as it should be, once there is one.
    pub(crate) async fn span(&self, what: &str, is_it: impl Fn(&Got) -> bool) -> Got {
        eventually(&format!("a span of {what}"), async || self.spans().into_iter().find(&is_it))
            .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn take(mut request: Request, kept: &Mutex<Vec<Got>>) -> Response {
    let refused = |status: StatusCode| Response::builder().status(status).finish();
    if (request.method(), request.uri().path()) != (&Method::POST, "/v1/traces") {
        return refused(StatusCode::NOT_FOUND);
    }
    if request.header(KEY.0) != Some(KEY.1) {
        return refused(StatusCode::UNAUTHORIZED);
    }
    if request.content_type() != Some("application/x-protobuf") {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let body = request.take_body().into_bytes().await.unwrap_or_default();
    let Ok(sent) = ExportTraceServiceRequest::decode(body) else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let mut kept = kept.lock().unwrap();
    for group in &sent.resource_spans {
        let resource = group.resource.as_ref().map(|it| texts(&it.attributes));
        let service = resource.unwrap_or_default().remove("service.name").unwrap_or_default();
        for span in group.scope_spans.iter().flat_map(|it| &it.spans) {
            kept.push(Got::read(&service, span));
        }
    }
    Response::builder()
        .content_type("application/x-protobuf")
        .body(ExportTraceServiceResponse::default().encode_to_vec())
}
