//! A fake language model behind an `OpenAI`-compatible chat completions endpoint. It answers with the
//! number of characters of its input, or with an error that a test asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode, header};
use poem::{Endpoint, Request, Response, Server, endpoint, listener::TcpAcceptor};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The key that the endpoint requires.
pub const API_KEY: &str = "the key of the endpoint";

/// The name of the model.
pub const NAME: &str = "a-small-model";

/// The largest request body in bytes.
const MAX_REQUEST: usize = 1024 * 1024;

/// A request to the endpoint.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The system message.
    pub system: String,
    /// The user message.
    pub user: String,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    /// Status codes that the next requests get instead of a completion.
    refusals: Vec<u16>,
}

/// A running endpoint. It stops when it is dropped.
#[derive(Debug)]
pub struct Model {
    url: String,
    state: Arc<Mutex<State>>,
    running: JoinHandle<()>,
}

impl Model {
    /// Starts an endpoint.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let app = app(Arc::clone(&state));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("a listener can be served");
        let running = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(app).await.expect("the endpoint runs");
        });
        Self { url: format!("http://{address}/v1"), state, running }
    }

    /// The value of `LLM_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All successful requests, in the order of arrival.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// Answers the next request with this status.
    pub fn refuse_next(&self, status: u16) {
        lock(&self.state).refusals.push(status);
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn app(state: Arc<Mutex<State>>) -> impl Endpoint<Output = Response> {
    endpoint::make(move |mut request: Request| {
        let state = Arc::clone(&state);
        async move {
            let shown = request.headers().get(header::AUTHORIZATION).cloned();
            let wanted = format!("Bearer {API_KEY}");
            if shown.is_none_or(|it| it != wanted.as_str()) {
                return Ok(answer(StatusCode::UNAUTHORIZED, &json!({ "error": "no key" })));
            }
            let path = request.uri().path();
            if (request.method(), path) != (&Method::POST, "/v1/chat/completions") {
                return Ok(answer(StatusCode::NOT_FOUND, &json!({ "error": "no such path" })));
            }
            let body = request.take_body().into_bytes_limit(MAX_REQUEST).await?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            Ok::<_, poem::Error>(complete(&state, &body))
        }
    })
}

fn complete(state: &Mutex<State>, body: &Value) -> Response {
    let mut state = lock(state);
    if let Some(status) = state.refusals.pop() {
        let status = StatusCode::from_u16(status).expect("a status");
        return answer(status, &json!({ "error": { "message": "not now" } }));
    }
    let content = |role: &str| {
        let messages = body["messages"].as_array()?;
        let message = messages.iter().find(|it| it["role"] == role)?;
        Some(message["content"].as_str()?.to_owned())
    };
    let (Some(system), Some(user), true) =
        (content("system"), content("user"), body["model"] == NAME)
    else {
        return answer(StatusCode::BAD_REQUEST, &json!({ "error": { "message": "what?" } }));
    };
    let said = format!("I read {} characters.", user.chars().count());
    state.asked.push(Asked { system, user });
    let message = json!({ "role": "assistant", "content": said });
    answer(
        StatusCode::OK,
        &json!({ "object": "chat.completion", "choices": [{ "index": 0, "message": message }] }),
    )
}

fn answer(status: StatusCode, body: &Value) -> Response {
    Response::builder().status(status).content_type("application/json").body(body.to_string())
}
