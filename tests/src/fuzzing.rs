//! The fuzz targets: those of the crates, and those that send requests to an instance. `fuzz` searches for
//! inputs that violate a property, and the tests run the inputs that are kept in `fuzz/corpus`.

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
pub use mcp::fuzzing::Target;
use mcp::{Caller, Engine, Reply, SealKey, Settings, Stores, UserId};
use tokio::runtime::{Builder, Runtime};

use crate::{PATIENCE, cluster::Cluster, strangers::Strangers};

/// The targets that send requests to an instance: never a panic, never a 5xx.
pub const TARGETS: &[Target] = &[
    ("authorize_query", |query| with_strangers(|strangers| strangers.ask(query))),
    ("cookies", |headers| with_strangers(|strangers| strangers.revisit(headers))),
    ("jwt_header", |header| with_strangers(|strangers| strangers.present(header))),
    ("mcp_body", mcp_body),
    ("metadata_document", |document| with_strangers(|strangers| strangers.introduce(document))),
    ("token_form", |form| with_strangers(|strangers| strangers.exchange(form))),
];

/// The targets that know no product.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    mcp::fuzzing::TARGETS.iter().chain(oauth::fuzzing::TARGETS).chain(TARGETS)
}

/// Runs all inputs that are kept for these targets.
#[expect(clippy::print_stdout, reason = "shows which input violates a property")]
pub fn replay<'a>(targets: impl IntoIterator<Item = &'a Target>) {
    for (name, run) in targets {
        let inputs = kept_inputs(name);
        assert!(!inputs.is_empty(), "fuzz/corpus/{name} has no inputs");
        for path in inputs {
            println!("{}", path.display());
            run(&fs::read(&path).expect("an input can be read"));
        }
    }
}

fn kept_inputs(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = fs::read_dir(folder).expect("every target has a folder");
    files.map(|file| file.expect("the folder can be read").path()).collect()
}

fn with_strangers(run: impl FnOnce(&Strangers)) {
    thread_local! {
        static STRANGERS: OnceCell<Strangers> = const { OnceCell::new() };
    }
    STRANGERS.with(|strangers| run(strangers.get_or_init(Strangers::new)));
}

/// The body of a POST to `/mcp`. The first byte chooses the era and the headers, the rest is the body.
fn mcp_body(bytes: &[u8]) {
    thread_local! {
        static PROTOCOL: OnceCell<Protocol> = const { OnceCell::new() };
    }
    let Some((&choice, body)) = bytes.split_first() else { return };
    PROTOCOL.with(|protocol| protocol.get_or_init(Protocol::start).post(choice, body));
}

/// An engine with the tools of the fixtures, and a session of 2025-03-26.
pub struct Protocol {
    /// Holds the database of the fixtures.
    _cluster: Cluster,
    runtime: Runtime,
    engine: Engine,
    session: HeaderValue,
}

impl Protocol {
    /// Starts the engine and initializes the session.
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{
            "protocolVersion":"2025-03-26","capabilities":{"sampling":{}},
            "clientInfo":{"name":"fuzz","version":"1"}}}"#;
        let (cluster, engine, session) = runtime.block_on(async {
            let settings = Settings {
                seal_keys: vec![SealKey::new([7; 32])],
                now: Arc::new(|| 1_800_000_000),
                page_size: 5,
                jobs: None,
                rate_limiter: None,
                access: None,
            };
            let cluster = Cluster::on_sqlite(1).await;
            let stores = Stores::in_memory(Duration::from_hours(24));
            let engine = Engine::new(cluster.app().catalog(), stores, settings);
            let reply = engine.post(caller(), &standard_headers(), hello.into()).await;
            (cluster, engine, reply.session.expect("initialize creates a session"))
        });
        let session = HeaderValue::try_from(session).expect("session ids are valid values");
        Self { _cluster: cluster, runtime, engine, session }
    }

    /// The id of the session.
    pub fn session(&self) -> &str {
        self.session.to_str().expect("session ids are ASCII")
    }

    /// Posts a body. `None`: there is no reply within [`PATIENCE`].
    pub fn send(&self, headers: &HeaderMap, body: Vec<u8>) -> Option<Reply> {
        self.runtime.block_on(async {
            let posted = self.engine.post(caller(), headers, body.into());
            tokio::time::timeout(PATIENCE, posted).await.ok()
        })
    }

    fn post(&self, choice: u8, body: &[u8]) {
        let mut headers = standard_headers();
        let mut set = |name: &'static str, value: HeaderValue| {
            headers.insert(HeaderName::from_static(name), value);
        };
        let modern = HeaderValue::from_static("2026-07-28");
        match choice % 4 {
            0 => {}
            1 => set("mcp-session-id", self.session.clone()),
            2 => set("mcp-protocol-version", modern),
            _ => {
                set("mcp-protocol-version", modern);
                set("mcp-method", HeaderValue::from_static("tools/call"));
                set("mcp-name", HeaderValue::from_static("test_simple_text"));
            }
        }
        let reply = self.send(&headers, body.to_vec()).expect("every request is answered");
        assert!(!reply.status.is_server_error(), "{}", reply.status);
    }
}

fn caller() -> Caller {
    Caller {
        user: UserId::new("dev:ada"),
        client: "fuzz".into(),
        scopes: BTreeSet::new(),
        grant: "fuzz".into(),
        key: "a-key".into(),
        issued_at: 0,
        expires_at: 1_800_003_600,
        request: None,
    }
}

/// The headers that every POST to `/mcp` needs.
pub fn standard_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert("accept", accept);
    headers
}
