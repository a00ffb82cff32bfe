//! The modern side of a client (2026-07-28): every request is complete, and any instance can serve it.
//! A client cancels a call by closing its response.

pub(super) mod call;
pub(super) mod intrude;
pub(super) mod listen;
pub(super) mod task;
mod wire;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::timeout;

use self::wire::{Answer, Meaning};
use super::{
    client::{Client, HEAD_TIMEOUT, SILENCE, caller},
    network::{Connection, HttpRequest, Method, headers},
    properties::Property,
    random::Random,
    sse,
};

const REVISION: &str = "2026-07-28";

/// How long a client waits that accepts no event streams: there are no keep-alives, and the head comes
/// with the end of the call.
const JSON_TIMEOUT: Duration = Duration::from_mins(1);

/// A request.
struct Request<'a> {
    method: &'static str,
    /// The value of the header `Mcp-Name`, if the method has one.
    name: Option<&'a str>,
    /// The members of `params`, each followed by a comma.
    params: &'a str,
    /// Whether the client declares the tasks extension.
    has_tasks: bool,
    accept: &'static str,
}

/// Both formats.
const ANY: &str = "application/json, text/event-stream";

/// An open response.
struct Response {
    id: i64,
    connection: Connection,
    head_timeout: Duration,
    /// The messages that were received and not read yet.
    ready: Vec<String>,
    /// `None`: the head has not been received. Otherwise whether the body consists of events.
    is_events: Option<bool>,
}

impl Client {
    /// Sends a modern request as a user.
    async fn send_modern(&self, random: &mut Random, user: &str, request: Request<'_>) -> Response {
        let Request { method, name, params, has_tasks, accept } = request;
        let id = self.next_id();
        let extensions =
            if has_tasks { r#","extensions":{"io.modelcontextprotocol/tasks":{}}"# } else { "" };
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{REVISION}","io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{}}{extensions}}},"progressToken":"t"}}}}}}"#
        );
        let mut sent = headers(&[
            ("mcp-protocol-version", REVISION),
            ("mcp-method", method),
            ("content-type", "application/json"),
            ("accept", accept),
        ]);
        if let Some(name) = name {
            sent.extend(headers(&[("mcp-name", name)]));
        }
        self.world().note(|| format!("client {} as {user}: {body}", self.number));
        let request = HttpRequest { method: Method::Post, headers: sent, body: body.into() };
        let connection = Connection::open(&self.cluster, random, caller(user), request).await;
        let has_events = accept.contains("text/event-stream");
        let head_timeout = if has_events { HEAD_TIMEOUT } else { JSON_TIMEOUT };
        Response { id, connection, head_timeout, ready: Vec::new(), is_events: None }
    }

    /// Sends a request and reads its response. `None`: the connection was lost, or the request was
    /// refused and may be repeated.
    async fn ask_modern(
        &self,
        random: &mut Random,
        user: &str,
        request: Request<'_>,
    ) -> Option<Answer> {
        let mut response = self.send_modern(random, user, request).await;
        while let Some(meaning) = response.next(self).await {
            if let Meaning::Response(id, answer) = meaning {
                response.check_id(self, &id);
                return Some(answer);
            }
        }
        None
    }

    /// Sends `server/discover`.
    pub(super) async fn discover(self: &Arc<Self>, random: &mut Random) {
        let request = Request {
            method: "server/discover",
            name: None,
            params: "",
            has_tasks: false,
            accept: ANY,
        };
        if let Some(answer) = self.ask_modern(random, &self.user(), request).await
            && !matches!(answer, Answer::Complete(Ok(_)))
        {
            let what = format!("client {}: server/discover: {answer:?}", self.number);
            self.world().violated(Property::OnlyLostWithInstance, what);
        }
    }
}

impl Response {
    /// Waits for the next message. `None`: the response has ended, was lost, or was refused.
    async fn next(&mut self, client: &Client) -> Option<Meaning> {
        loop {
            if let Some(message) = self.ready.pop() {
                let (number, id) = (client.number, self.id);
                client.world().note(|| format!("client {number}, request {id}: {message}"));
                let meaning = Meaning::of(&message);
                if meaning.is_none() {
                    let what = format!("client {number}, request {id}: received {message}");
                    client.world().violated(Property::OneResponse, what);
                }
                return meaning;
            }
            let is_events = if let Some(is_events) = self.is_events {
                is_events
            } else {
                let head = timeout(self.head_timeout, self.connection.head()).await.ok()??;
                // Errors of a request have the status 400, and 404 for an unknown method.
                if head.status != StatusCode::OK && head.status != StatusCode::BAD_REQUEST {
                    client.world().note(|| format!("request {}: {}", self.id, head.status));
                    return None;
                }
                *self.is_events.insert(head.is_events)
            };
            let chunk = timeout(SILENCE, self.connection.chunk()).await.ok()??;
            let text = String::from_utf8_lossy(&chunk);
            if is_events {
                let data = sse::events(&text).filter_map(|event| {
                    if event.id.is_some() {
                        let what = format!("request {}: an event has an id: {text}", self.id);
                        client.world().violated(Property::EventsOnceInOrder, what);
                    }
                    event.data.map(str::to_owned)
                });
                self.ready = data.collect();
                self.ready.reverse();
            } else {
                self.ready.push(text.into_owned());
            }
        }
    }

    /// Checks that a response belongs to this request.
    fn check_id(&self, client: &Client, id: &str) {
        if id != self.id.to_string() {
            let what = format!("client {}: a response to {id} for {}", client.number, self.id);
            client.world().violated(Property::OneResponse, what);
        }
    }
}
