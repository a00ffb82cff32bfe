//! The body of a POST to `/mcp`, in both eras and in a session: never a panic, never a 5xx.
//!
//! The first byte of the input chooses the headers, the rest is the body.

#![no_main]

use std::{cell::OnceCell, collections::BTreeSet, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use mcp::{Caller, Engine, SealKey, Settings, Stores, UserId};
use tests::fixtures::{self, Gates};
use tokio::runtime::{Builder, Runtime};

struct Target {
    runtime: Runtime,
    engine: Engine,
    session: HeaderValue,
}

thread_local! {
    static TARGET: OnceCell<Target> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    TARGET.with(|target| {
        let target = target.get_or_init(start);
        let mut headers = standard_headers();
        let mut set = |name: &'static str, value: HeaderValue| {
            headers.insert(HeaderName::from_static(name), value);
        };
        match choice % 4 {
            0 => {}
            1 => set("mcp-session-id", target.session.clone()),
            2 => set(
                "mcp-protocol-version",
                HeaderValue::from_static("2026-07-28"),
            ),
            _ => {
                set(
                    "mcp-protocol-version",
                    HeaderValue::from_static("2026-07-28"),
                );
                set("mcp-method", HeaderValue::from_static("tools/call"));
                set("mcp-name", HeaderValue::from_static("test_simple_text"));
            }
        }
        let body = body.to_vec().into();
        let reply = target
            .runtime
            .block_on(target.engine.post(caller(), &headers, body));
        assert!(!reply.status.is_server_error(), "{}", reply.status);
    });
});

fn start() -> Target {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime starts");
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{
        "protocolVersion":"2025-03-26","capabilities":{"sampling":{}},
        "clientInfo":{"name":"fuzz","version":"1"}}}"#;
    let (engine, session) = runtime.block_on(async {
        let settings = Settings {
            seal_keys: vec![SealKey::new([7; 32])],
            now: Arc::new(|| 1_800_000_000),
            page_size: 5,
            jobs: None,
            rate_limiter: None,
            access: None,
        };
        let stores = Stores::in_memory(Duration::from_secs(3600));
        let engine = Engine::new(fixtures::catalog(Gates::default()), stores, settings);
        let reply = engine
            .post(caller(), &standard_headers(), hello.into())
            .await;
        (engine, reply.session.expect("initialize creates a session"))
    });
    let session = HeaderValue::try_from(session).expect("session ids are valid header values");
    Target {
        runtime,
        engine,
        session,
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

fn standard_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert("accept", accept);
    headers
}
