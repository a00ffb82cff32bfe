//! A language model of our own, behind an endpoint that speaks the chat completions of `OpenAI`. It
//! says how many characters it was given, and every way in which it can be wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode, header};
use poem::{Endpoint, Request, Response, Server, endpoint, listener::TcpAcceptor};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// What the endpoint wants to be shown.
pub const API_KEY: &str = "the key of the endpoint";

/// The name of the model.
pub const NAME: &str = "a-small-model";

/// The largest request that is read.
const MAX_REQUEST: usize = 1024 * 1024;

/// A request, as the endpoint saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What the model is to do.
    pub system: String,
    /// What it is given.
    pub user: String,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    /// Statuses that the next requests get instead of an answer.
    refusals: Vec<u16>,
}

/// A running endpoint. It ends when it is dropped.
#[derive(Debug)]
pub struct Model {
    url: String,
    state: Arc<Mutex<State>>,
    running: JoinHandle<()>,
}

impl Model {
    /// Starts one.
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

    /// Everything that it was asked and has answered, in the order of arrival.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// The next request gets this status.
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
