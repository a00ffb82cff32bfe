//! A client: what it has seen, its session (2025-11-25) and the requests of the session.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use mcp::{Caller, UserId};
use tokio::time::timeout;

use super::{
    cluster::Cluster,
    network::{Connection, Head, HttpRequest, Method, headers},
    plan::ToolKind,
    properties::Property,
    random::Random,
    record::{CallRecord, ListenRecord, ModernRecord},
    world::{EPOCH, World, pass},
};

/// The user who presents the ids and states of other users.
pub(super) const INTRUDER: &str = "sim:mallory";

/// How long a client waits for the next bytes of a stream: longer than the interval of keep-alives.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// How long a client waits for the head of a response.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(12);

/// The pause before a failed request is repeated, in milliseconds.
pub(super) const RETRY: u64 = 400;

const REVISION: &str = "2025-11-25";

/// A client.
pub(super) struct Client {
    pub(super) cluster: Arc<Cluster>,
    pub(super) number: usize,
    ids: AtomicI64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    calls: Vec<CallRecord>,
    modern: Vec<ModernRecord>,
    /// The outcomes of requests that answered questions a second time, and the keys of their calls.
    repeated: Vec<(String, Result<String, String>)>,
    listened: Vec<ListenRecord>,
    /// When the client has called `touch`, in milliseconds, and whether the call is certain to run.
    touched: Vec<(u64, bool)>,
    /// Ids that the client has seen, which another user may try.
    seen: Seen,
}

/// Ids that a client has seen.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) event: Option<String>,
    pub(super) question: Option<String>,
    pub(super) task: Option<String>,
    /// The tool, the arguments and the state of a modern call that has asked.
    pub(super) state: Option<(ToolKind, String, String)>,
}

/// A session of a client.
pub(super) struct Session {
    pub(super) id: String,
    /// How often the store had lost its data when the session began.
    losses: u64,
    /// Whether the client has asked to end it.
    ended: AtomicBool,
}

impl Session {
    /// Whether the session may be unknown to the server.
    pub(super) fn may_be_lost(&self, cluster: &Cluster) -> bool {
        self.ended.load(Ordering::Relaxed) || cluster.store.losses() > self.losses
    }
}

/// The answer to a short request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Client {
    pub(super) fn new(cluster: &Arc<Cluster>, number: usize) -> Arc<Self> {
        Arc::new(Self {
            cluster: Arc::clone(cluster),
            number,
            ids: AtomicI64::new(1),
            state: Mutex::default(),
        })
    }

    pub(super) fn world(&self) -> &Arc<World> {
        &self.cluster.world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_id(&self) -> i64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The user of the client.
    pub(super) fn user(&self) -> String {
        format!("sim:{}", self.number)
    }

    pub(super) fn record(&self, call: CallRecord) {
        self.state().calls.push(call);
    }

    pub(super) fn calls(&self) -> Vec<CallRecord> {
        self.state().calls.clone()
    }

    pub(super) fn see_event(&self, id: &str) {
        self.state().seen.event = Some(id.to_owned());
    }

    pub(super) fn see_question(&self, id: &str) {
        self.state().seen.question = Some(id.to_owned());
    }

    pub(super) fn see_task(&self, id: &str) {
        self.state().seen.task = Some(id.to_owned());
    }

    pub(super) fn see_state(&self, tool: ToolKind, arguments: &str, state: &str) {
        self.state().seen.state = Some((tool, arguments.to_owned(), state.to_owned()));
    }

    pub(super) fn record_modern(&self, call: ModernRecord) {
        self.state().modern.push(call);
    }

    /// Records the response to a request that answered questions a second time.
    pub(super) fn record_repeated(&self, key: &str, outcome: Result<String, String>) {
        self.state().repeated.push((key.to_owned(), outcome));
    }

    /// The calls and tasks of the modern client.
    pub(super) fn modern_calls(&self) -> Vec<ModernRecord> {
        let state = self.state();
        let mut calls = state.modern.clone();
        for call in &mut calls {
            let repeated = state.repeated.iter().filter(|(key, _)| *key == call.key);
            call.responses.extend(repeated.map(|(_, outcome)| outcome.clone()));
        }
        calls
    }

    pub(super) fn record_listened(&self, listened: ListenRecord) {
        self.state().listened.push(listened);
    }

    /// The streams for changes.
    pub(super) fn listened(&self) -> Vec<ListenRecord> {
        self.state().listened.clone()
    }

    /// The client calls `touch` now. `is_certain`: it will not cancel the call.
    pub(super) fn touches(&self, is_certain: bool) {
        let now = self.world().now();
        self.state().touched.push((now, is_certain));
    }

    /// When the client has called `touch`, and whether the call is certain to run without faults.
    pub(super) fn touched(&self) -> Vec<(u64, bool)> {
        self.state().touched.clone()
    }

    pub(super) fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    /// The current session; starts one if there is none.
    pub(super) async fn session(&self, random: &mut Random) -> Arc<Session> {
        loop {
            if let Some(session) = self.state().session.clone() {
                return session;
            }
            let losses = self.cluster.store.losses();
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{},"method":"initialize","params":{{"protocolVersion":"{REVISION}","capabilities":{{"elicitation":{{}}}},"clientInfo":{{"name":"simulation","version":"1"}}}}}}"#,
                self.next_id()
            );
            let request = HttpRequest {
                method: Method::Post,
                headers: headers(&[
                    ("accept", "application/json, text/event-stream"),
                    ("content-type", "application/json"),
                ]),
                body: body.into(),
            };
            let mut connection =
                Connection::open(&self.cluster, random, caller(&self.user()), request).await;
            if let Some(head) = self.head(&mut connection).await
                && let Some(id) = head.session
            {
                let session = Session { id, losses, ended: AtomicBool::new(false) };
                let session = Arc::new(session);
                let mut state = self.state();
                return Arc::clone(state.session.get_or_insert(session));
            }
            pass(RETRY).await;
        }
    }

    /// Opens a connection for a request of a session.
    pub(super) async fn send(
        &self,
        random: &mut Random,
        session: &Session,
        user: &str,
        (method, extra): (Method, &[(&'static str, &str)]),
        body: String,
    ) -> Connection {
        let mut sent = headers(&[
            ("mcp-session-id", session.id.as_str()),
            ("mcp-protocol-version", REVISION),
            ("content-type", "application/json"),
        ]);
        sent.extend(headers(extra));
        if !sent.contains_key("accept") {
            sent.extend(headers(&[("accept", "application/json, text/event-stream")]));
        }
        let request = HttpRequest { method, headers: sent, body: body.into() };
        Connection::open(&self.cluster, random, caller(user), request).await
    }

    /// Waits for the head of a response. `None`: the connection was lost, or the client has lost
    /// patience.
    pub(super) async fn head(&self, connection: &mut Connection) -> Option<Head> {
        timeout(HEAD_TIMEOUT, connection.head()).await.ok().flatten()
    }

    /// Sends a short request and reads its response. `None`: the connection was lost.
    pub(super) async fn short(
        &self,
        random: &mut Random,
        session: &Session,
        user: &str,
        request: (Method, &[(&'static str, &str)]),
        body: String,
    ) -> Option<Answer> {
        let mut connection = self.send(random, session, user, request, body).await;
        let head = self.head(&mut connection).await?;
        let mut body = Vec::new();
        if !head.is_events {
            while let Some(chunk) = connection.chunk().await {
                body.extend_from_slice(&chunk);
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Some(Answer { status: head.status, body })
    }

    /// Sends a message until the server accepts it. `false`: the session is lost.
    pub(super) async fn deliver(
        &self,
        random: &mut Random,
        session: &Session,
        message: &str,
    ) -> bool {
        while !self.world().is_over() {
            let request = (Method::Post, [].as_slice());
            let answer =
                self.short(random, session, &self.user(), request, message.to_owned()).await;
            match answer.map(|answer| answer.status) {
                Some(StatusCode::ACCEPTED) => return true,
                Some(StatusCode::NOT_FOUND) => {
                    self.lost(session);
                    return false;
                }
                _ => pass(RETRY).await,
            }
        }
        false
    }

    /// Sends `ping`.
    pub(super) async fn ping(&self, random: &mut Random) {
        let session = self.session(random).await;
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"ping"}}"#, self.next_id());
        let answer = self.short(random, &session, &self.user(), (Method::Post, &[]), body).await;
        if answer.is_some_and(|answer| answer.status == StatusCode::NOT_FOUND) {
            self.lost(&session);
        }
    }

    /// The server does not know a session.
    pub(super) fn lost(&self, session: &Session) {
        if !session.may_be_lost(&self.cluster) {
            let what = format!("client {} has lost its session", self.number);
            self.world().violated(Property::SessionsLast, what);
        }
        let mut state = self.state();
        if state.session.as_ref().is_some_and(|current| current.id == session.id) {
            state.session = None;
        }
    }

    /// Ends the session; the next request starts another.
    pub(super) async fn start_again(&self, random: &mut Random) {
        let Some(session) = self.state().session.clone() else {
            return;
        };
        session.ended.store(true, Ordering::Relaxed);
        loop {
            let request = (Method::Delete, [].as_slice());
            let user = self.user();
            let answer = self.short(random, &session, &user, request, String::new()).await;
            match answer.map(|answer| answer.status) {
                Some(StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) => break,
                _ => pass(RETRY).await,
            }
        }
        self.lost(&session);
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"ping"}}"#, self.next_id());
        let answer = self.short(random, &session, &self.user(), (Method::Post, &[]), body).await;
        if answer.is_some_and(|answer| answer.status.is_success()) {
            let what = format!("client {}: a deleted session answers", self.number);
            self.world().violated(Property::SessionsLast, what);
        }
    }

    /// Another user presents the ids of this client.
    pub(super) async fn intrude(&self, random: &mut Random) {
        let session = self.session(random).await;
        let seen = self.seen();
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned();
        let mut answers = vec![
            self.short(random, &session, INTRUDER, (Method::Post, &[]), ping).await,
            self.short(random, &session, INTRUDER, (Method::Delete, &[]), String::new()).await,
        ];
        if let Some(event) = &seen.event {
            let resume = [("last-event-id", event.as_str()), ("accept", "text/event-stream")];
            let request = (Method::Get, resume.as_slice());
            answers.push(self.short(random, &session, INTRUDER, request, String::new()).await);
        }
        if let Some(question) = &seen.question {
            let body = answer_body(question, "intruder");
            answers.push(self.short(random, &session, INTRUDER, (Method::Post, &[]), body).await);
        }
        for Answer { status, body } in answers.into_iter().flatten() {
            if status != StatusCode::NOT_FOUND && status != StatusCode::SERVICE_UNAVAILABLE {
                let what = format!("another user got {status} for a session: {body}");
                self.world().violated(Property::UsersAreSeparate, what);
            }
        }
    }
}

/// The response of a client to a question.
pub(super) fn answer_body(question: &str, value: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":"{question}","result":{{"action":"accept","content":{{"value":"{value}"}}}}}}"#
    )
}

/// A caller with a token of this user.
pub(super) fn caller(user: &str) -> Caller {
    Caller {
        user: UserId::new(user),
        client: "simulation".into(),
        scopes: BTreeSet::new(),
        grant: "grant".into(),
        key: "key".into(),
        issued_at: EPOCH,
        expires_at: EPOCH + 24 * 3600,
        request: None,
    }
}
