//! Properties of list cursors and of resumed streams.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::runtime::{Builder, Runtime};

use super::{
    Engine, Settings,
    lists::{page, read_cursor, write_cursor},
};
use crate::{
    caller::{Caller, UserId},
    catalog::{Catalog, ServerInfo},
    headers,
    reply::ReplyBody,
    rpc::RequestId,
    seal::SealKey,
    store::{
        CatalogDigest, EventId, EventNumber, Session, SessionId, Stores, StreamId, StreamKey,
        Writer,
    },
    types::{ClientCapabilities, Implementation, LogLevel},
    version::ProtocolVersion,
};

/// The number of inputs after which the server starts anew, so that its streams have not expired.
const INPUTS_PER_SERVER: u32 = 4_096;

/// The number of messages on each stream.
const MESSAGES: EventNumber = 3;

const IN_MEMORY: &str = "the store is in memory";

/// The users, each with one session.
const USERS: [&str; 2] = ["dev:ada", "dev:bob"];

/// A cursor is refused, or is exactly what the server writes for its position.
pub(crate) fn list_cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((position, inner)) = read_cursor(text) {
        assert_eq!(write_cursor(position, inner.as_deref()), text);
    }
    let all: [usize; 25] = std::array::from_fn(|index| index);
    if let Ok((items, next)) = page(&all, Some(text), 10) {
        let start = items.first().copied().unwrap_or(all.len());
        assert_eq!(write_cursor(start, None), text);
        assert_eq!(items, &all[start..all.len().min(start + 10)]);
        let end = start + items.len();
        assert_eq!(next, (end < all.len()).then(|| write_cursor(end, None)));
    }
}

/// A `Last-Event-ID`. Its first byte chooses the user and the session: only the events after that one,
/// of the same stream and of a session of the user, are sent.
pub(crate) fn stream_resume(bytes: &[u8]) {
    thread_local! {
        static SERVER: RefCell<Option<(u32, Server)>> = const { RefCell::new(None) };
    }
    let Some((&choice, id)) = bytes.split_first() else { return };
    let Ok(id) = HeaderValue::from_bytes(id) else { return };
    SERVER.with_borrow_mut(|server| {
        if server.as_ref().is_none_or(|(inputs, _)| *inputs >= INPUTS_PER_SERVER) {
            *server = Some((0, Server::start()));
        }
        if let Some((inputs, server)) = server {
            *inputs += 1;
            server.resume(usize::from(choice & 1), usize::from(choice >> 1 & 1), &id);
        }
    });
}

/// An engine with a session of each user. Each session has two streams of calls that have ended, and a
/// standalone stream.
struct Server {
    runtime: Runtime,
    engine: Engine,
}

impl Server {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let stores = Stores::in_memory(Duration::from_hours(24));
        let settings = Settings {
            seal_keys: vec![SealKey::new([7; 32])],
            now: Arc::new(|| 1_800_000_000),
            page_size: Settings::PAGE_SIZE,
            jobs: None,
            rate_limiter: None,
            access: None,
        };
        let info = ServerInfo { implementation: implementation("fuzz"), instructions: None };
        let engine = runtime.block_on(async {
            for user in 0..USERS.len() {
                fill(&stores, user).await;
            }
            Engine::new(Catalog::new(info), stores, settings)
        });
        Self { runtime, engine }
    }

    fn resume(&self, user: usize, owner: usize, id: &HeaderValue) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(headers::LAST_EVENT_ID, id.clone());
        let session = HeaderValue::try_from(session_id(owner).as_str());
        headers.insert(headers::SESSION_ID, session.expect("a session id is a valid value"));
        let (status, events) = self.runtime.block_on(async {
            let reply = self.engine.get(caller(USERS[user]), &headers).await;
            let mut text = Vec::new();
            if let ReplyBody::Events(mut body) = reply.body {
                // What is there already: the standalone stream does not end.
                while let Some(Some(chunk)) = body.next().now_or_never() {
                    text.extend_from_slice(&chunk);
                }
            }
            (reply.status, String::from_utf8(text).expect("an event stream is UTF-8"))
        });
        let last = id.to_str().ok().and_then(|text| EventId::parse(text.trim()));
        let last =
            last.filter(|id| id.stream.is_standalone() || call_streams().contains(&id.stream));
        match last {
            _ if user != owner => assert_eq!(status, StatusCode::NOT_FOUND),
            None => assert_eq!(status, StatusCode::BAD_REQUEST),
            Some(last) => {
                assert_eq!(status, StatusCode::OK);
                check(&events, owner, &last);
                return;
            }
        }
        assert_eq!(events, "");
    }
}

/// Checks that the events are the remaining ones of the stream, in their order.
fn check(events: &str, owner: usize, last: &EventId) {
    let mut messages = Vec::new();
    for line in events.lines() {
        if let Some(id) = line.strip_prefix("id: ") {
            let id = EventId::parse(id).expect("a sent event id is valid");
            assert_eq!(id.stream, last.stream);
            assert!(id.number >= last.number, "{id} is before {last}");
        }
        if let Some(data) = line.strip_prefix("data: ").filter(|data| data.contains("\"marker\"")) {
            messages.push(data.to_owned());
        }
    }
    let remaining = last.number.saturating_add(1)..=MESSAGES;
    let expected: Vec<String> =
        remaining.map(|number| message(owner, &last.stream, number)).collect();
    assert_eq!(messages, expected);
}

async fn fill(stores: &Stores, user: usize) {
    let session = session_id(user);
    let record = Session {
        user: caller(USERS[user]).user,
        version: ProtocolVersion::V2025_11_25,
        capabilities: ClientCapabilities::default(),
        client_info: Some(implementation("a-client")),
        log_level: LogLevel::Info,
        subscriptions: BTreeSet::new(),
        catalog: CatalogDigest::default(),
        began: None,
    };
    stores.sessions.create(&session, &record).await.expect(IN_MEMORY);
    let standalone = StreamId::standalone();
    for number in 1..=MESSAGES {
        let message = message(user, &standalone, number);
        stores.log.append(&session, &message).await.expect(IN_MEMORY);
    }
    for stream in call_streams() {
        let key = StreamKey { session: session.clone(), stream: stream.clone() };
        let request = RequestId::Number(1);
        let lease = Duration::from_mins(1);
        stores.log.open(&key, &[(request.clone(), None)], lease).await.expect(IN_MEMORY);
        let writer = Writer { key, request, term: 0 };
        for number in 1..MESSAGES {
            let message = message(user, &stream, number);
            stores.log.write(&writer, number, &message).await.expect(IN_MEMORY);
        }
        let answer = message(user, &stream, MESSAGES);
        stores.log.finish(&writer, Some(&answer)).await.expect(IN_MEMORY);
    }
}

fn call_streams() -> [StreamId; 2] {
    [1, 2].map(|byte| StreamId::from_bits(&[byte; 16]))
}

fn session_id(user: usize) -> SessionId {
    SessionId::from_bits(&[if user == 0 { 10 } else { 11 }; 16])
}

fn message(user: usize, stream: &StreamId, number: EventNumber) -> String {
    let stream = stream.as_str();
    format!(r#"{{"jsonrpc":"2.0","method":"marker","params":{{"is":"{user} {stream} {number}"}}}}"#)
}

fn implementation(name: &str) -> Implementation {
    Implementation {
        name: name.to_owned(),
        title: None,
        version: "1".to_owned(),
        description: None,
        website_url: None,
        icons: Vec::new(),
    }
}

/// A caller with this user.
pub(crate) fn caller(user: &str) -> Caller {
    Caller {
        user: UserId::new(user),
        client: "fuzz".into(),
        scopes: BTreeSet::new(),
        grant: "fuzz".into(),
        key: "a-key".into(),
        issued_at: 0,
        expires_at: i64::MAX,
        request: None,
    }
}
