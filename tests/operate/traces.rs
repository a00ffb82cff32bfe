//! Traces, as a collector gets them from real processes.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp},
    github::GitHub,
    model::{self, Model},
    processes::{Fleet, Kind, Plan},
    schema::Revision,
};

use crate::collector::{Collector, Got, KEY};

/// A place of a caller, as it would say it.
struct Place {
    trace: &'static str,
    span: &'static str,
}

impl Place {
    fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

const OUTER: Place = Place { trace: "4bf92f3577b34da6a3ce929d0e0e4736", span: "00f067aa0ba902b7" };
const INNER: Place = Place { trace: "0af7651916cd43dd8448eb211c80319c", span: "b7ad6b7169203331" };

const BODY: &str = "Nobody traces what is written here";

fn traced(collector: &Collector) -> Plan {
    traced_as(Kind::Product(notes::product), collector)
}

fn traced_as(kind: Kind, collector: &Collector) -> Plan {
    Plan::new(kind)
        .instances(1)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", collector.origin())
        .with("OTEL_EXPORTER_OTLP_HEADERS", format!("{}={}", KEY.0, KEY.1))
}

async fn create(fleet: &Fleet, headers: &[(&str, &str)], meta: Option<&Place>) {
    let mut client = fleet.web(0).modern(fleet.token("ada").await);
    for (name, value) in headers {
        client = client.with_header(name, value);
    }
    if let Some(place) = meta {
        client = client.with_meta("traceparent", place.traceparent().into());
    }
    client.tool("notes_create", json!({ "title": "Traced", "body": BODY })).await.output();
}

fn is_call(it: &Got) -> bool {
    it.name == "tools/call notes_create"
}

#[tokio::test]
async fn a_call_is_followed_from_its_client_through_the_tool_to_the_database() {
    let collector = Collector::start().await;
    let mut fleet = traced(&collector).start().await;

    create(&fleet, &[("traceparent", &OUTER.traceparent())], None).await;
    let call = collector.span("the tool", |it| is_call(it) && it.trace == OUTER.trace).await;
    let request = collector.span("the request", |it| it.id == call.parent).await;
    assert_eq!((&*request.name, request.kind), ("POST /mcp", SpanKind::Server));
    assert_eq!(request.parent, OUTER.span, "the client is its parent");
    assert_eq!(request.app, "notes-mcp");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/mcp"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(request.attributes.get(name).map(String::as_str), Some(value), "{request:?}");
    }
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "notes_create"),
        ("gen_ai.operation.name", "execute_tool"),
        ("mcp.protocol.version", "2026-07-28"),
    ] {
        assert_eq!(call.attributes.get(name).map(String::as_str), Some(value), "{call:?}");
    }
    let sql = |it: &Got| {
        it.trace == call.trace
            && it.attributes.get("db.system.name").is_some_and(|system| system == "postgresql")
    };
    let statement = collector.span("a statement", sql).await;
    assert_eq!(statement.kind, SpanKind::Client);
    assert_eq!(statement.attributes.get("db.operation.name"), Some(&statement.name));

    // What the message says counts for the call, and the request that brought it is linked.
    create(&fleet, &[("traceparent", &OUTER.traceparent())], Some(&INNER)).await;
    let call = collector.span("the tool", |it| is_call(it) && it.trace == INNER.trace).await;
    assert_eq!(call.parent, INNER.span);
    let [(trace, request)] = &call.links[..] else { panic!("{call:?}") };
    assert_eq!(trace, OUTER.trace);
    let request = collector.span("the request", |it| it.id == *request).await;
    assert_eq!(request.name, "POST /mcp");

    // What is malformed is as good as absent.
    let before = collector.spans().len();
    create(&fleet, &[("traceparent", "00-zz-zz-01")], None).await;
    let news = |it: &Got| is_call(it) && ![OUTER.trace, INNER.trace].contains(&&*it.trace);
    let call = collector.span("a new trace", news).await;
    let request = collector.span("its request", |it| it.id == call.parent).await;
    assert_eq!(request.parent, "", "it begins the trace");
    assert!(collector.spans().len() > before);

    // A tool that says no, and a route that is none.
    let client = fleet.web(0).modern(fleet.token("ada").await);
    client.tool("notes_get", json!({ "id": "none" })).await;
    let failed = collector.span("a failure", |it| it.name == "tools/call notes_get").await;
    assert!(failed.failed, "{failed:?}");
    assert_eq!(failed.attributes["error.type"], "tool_error");

    // A session, which is in Redis.
    let legacy = fleet.web(0).legacy(fleet.token("ada").await, Revision::November2025).await;
    legacy.tool("notes_list", json!({})).await.output();
    let listed = |it: &Got| it.name == "tools/call notes_list";
    let listed = collector.span("a legacy call", listed).await;
    assert_eq!(listed.attributes["mcp.protocol.version"], "2025-11-25");
    let redis = |it: &Got| {
        it.trace == listed.trace
            && it.attributes.get("db.system.name").is_some_and(|system| system == "redis")
    };
    assert_eq!(collector.span("Redis", redis).await.kind, SpanKind::Client);

    // The end sends what is left, and probes were not traced.
    fleet.drain(0).await;
    for span in collector.spans() {
        let text = format!("{span:?}");
        assert!(!text.contains(BODY) && !text.contains("Traced"), "{text}");
        assert!(!text.contains("healthz") && !text.contains("livez"), "{text}");
        let is_lonely = span.parent.is_empty() && span.kind == SpanKind::Client;
        assert!(!is_lonely, "what nobody asked for is not traced: {text}");
    }
}

#[tokio::test]
async fn a_job_points_at_the_call_that_started_it() {
    let collector = Collector::start().await;
    let mut fleet = traced(&collector).workers(1).start().await;
    let client = fleet.web(0).modern(fleet.token("ada").await).with_capabilities(json!({}));
    let text = json!([{ "title": "Traced", "body": BODY }]).to_string();
    client.tool("notes_import", json!({ "text": text })).await.output();

    let call = collector.span("the call", |it| it.name == "tools/call notes_import").await;
    let job = collector.span("the job", |it| it.name == "execute_tool notes_import").await;
    assert_eq!(job.kind, SpanKind::Consumer);
    assert_eq!(job.links, [(call.trace.clone(), call.id.clone())]);
    assert!(job.parent.is_empty() && job.trace != call.trace, "a trace of its own: {job:?}");
    let sql = |it: &Got| it.trace == job.trace && it.attributes.contains_key("db.system.name");
    collector.span("a statement of the job", sql).await;

    fleet.drain(0).await;
    let sent = collector.spans();
    assert!(sent.iter().all(|it| ["notes-mcp", "notes-mcp-worker"].contains(&&*it.app)));
}

#[tokio::test]
async fn a_sign_in_is_followed_to_github() {
    let collector = Collector::start().await;
    let github = GitHub::start().await;
    let fleet = traced(&collector).with_github(&github).start().await;
    let browser = Browser::of(fleet.origin(), fleet.web(0));
    ClientApp::register(fleet.web(0)).await.connect(&browser).await;

    let back = |it: &Got| it.name == "GET /oauth/github/callback";
    let back = collector.span("the way back", back).await;
    for name in ["POST 127.0.0.1", "GET 127.0.0.1"] {
        let asked = |it: &Got| it.name == name && it.trace == back.trace;
        let asked = collector.span("a question to GitHub", asked).await;
        assert_eq!(asked.kind, SpanKind::Client);
        assert_eq!(asked.attributes["http.response.status_code"], "200");
    }
    for span in collector.spans() {
        for secret in github.secrets() {
            assert!(!format!("{span:?}").contains(&secret), "{span:?}");
        }
    }
}

#[tokio::test]
async fn the_document_of_a_client_is_fetched_in_the_trace_of_whoever_asks_for_it() {
    let collector = Collector::start().await;
    let fleet = traced_as(Kind::Fixtures, &collector).start().await;
    let good = "https://app.example.com/client";
    // Its certificate is another's.
    let bad = "https://app.example.org/secret-path";
    for (id, status, host) in [(good, 303, "app.example.com"), (bad, 400, "app.example.org")] {
        let client_app = ClientApp::known(id);
        let page = fleet.web(0).get(&client_app.asks().path()).await;
        assert_eq!(page.status, status, "{}", page.text());
        let fetch = |it: &Got| it.name == format!("GET {host}");
        let fetch = collector.span("the fetch", fetch).await;
        assert_eq!((fetch.kind, fetch.failed), (SpanKind::Client, status != 303), "{fetch:?}");
        let expected = if fetch.failed {
            ("error.type", "unreachable")
        } else {
            ("http.response.status_code", "200")
        };
        assert_eq!(fetch.attributes[expected.0], expected.1, "{fetch:?}");
        assert_eq!(fetch.attributes["server.port"], "443");
        let request = collector.span("the request", |it| it.id == fetch.parent).await;
        assert_eq!(request.name, "GET /authorize");
    }
    for span in collector.spans() {
        assert!(!format!("{span:?}").contains("secret-path"), "{span:?}");
    }
}

#[tokio::test]
async fn a_job_is_followed_to_the_language_model() {
    let collector = Collector::start().await;
    let model = Model::start().await;
    let fleet = traced(&collector)
        .workers(1)
        .with("LLM_URL", model.url())
        .with("LLM_MODEL", model::NAME)
        .with("LLM_API_KEY", model::API_KEY)
        .start()
        .await;
    create(&fleet, &[], None).await;
    let client = fleet.web(0).modern(fleet.token("ada").await).with_capabilities(json!({}));
    client.tool("notes_digest", json!({})).await.output();
    model.refuse_next(400);
    assert!(client.tool("notes_digest", json!({})).await.tool_error().contains("400"));

    let name = format!("chat {}", model::NAME);
    for failed in [false, true] {
        let asked = |it: &Got| it.name == name && it.failed == failed;
        let asked = collector.span("a question to the model", asked).await;
        assert_eq!(asked.kind, SpanKind::Client);
        assert_eq!(asked.attributes["gen_ai.request.model"], model::NAME);
        assert_eq!(asked.attributes.contains_key("error.type"), failed, "{asked:?}");
        let job = collector.span("the job", |it| it.id == asked.parent).await;
        assert_eq!(job.name, "execute_tool notes_digest");
        let sent = collector.span("its request", |it| it.parent == asked.id).await;
        assert_eq!((&*sent.name, sent.failed), ("POST 127.0.0.1", failed));
        let status = if failed { "400" } else { "200" };
        assert_eq!(sent.attributes["http.response.status_code"], status);
    }
    for span in collector.spans() {
        let text = format!("{span:?}");
        assert!(!text.contains(BODY) && !text.contains("I read"), "{text}");
        assert!(!text.contains(model::API_KEY), "{text}");
    }
}

#[tokio::test]
async fn a_collector_that_does_not_answer_delays_nobody() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let plan = Plan::new(Kind::Product(notes::product)).instances(1);
    let mut fleet = plan.with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).start().await;
    create(&fleet, &[], None).await;
    // It has begun to send, so the end would have to wait.
    let (_held, _) = tests::in_time("spans are sent", silent.accept()).await.unwrap();
    create(&fleet, &[], None).await;
    fleet.drain(0).await;
    let log = fleet.instance(0).log();
    assert!(log.contains("The last spans were not sent"), "{log}");
}

#[tokio::test]
async fn a_part_of_all_traces_is_kept_and_a_caller_cannot_change_that() {
    let collector = Collector::start().await;
    let mut fleet = traced(&collector).with("OTEL_TRACES_SAMPLER_ARG", "0").start().await;
    create(&fleet, &[("traceparent", &OUTER.traceparent())], Some(&INNER)).await;
    fleet.drain(0).await;
    assert_eq!(collector.spans(), []);
}
