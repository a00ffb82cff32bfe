//! `bench-bare` is the baseline of the benchmark: the same SQL and the same JSON as the product behind a
//! plain poem handler, without MCP, sessions, tokens or limits.
//!
//! `POST /list` responds like `tools/call notes_list`, `POST /create` like `notes_create`, for the users of
//! [`bench_users`] in turn. It is configured by the environment like the product.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use app::{App, config::Config};
use mcp::{Stores, UserId};
use notes::store::{self, Listing};
use platform::clock::SystemClock;
use poem::{
    EndpointExt as _, IntoResponse, Response, Route, Server, handler,
    http::StatusCode,
    listener::TcpListener,
    post,
    web::{Data, Json},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::bench_users;

pub(crate) async fn main(users: usize) -> anyhow::Result<()> {
    let config = Config::from_env(&notes::product())?;
    let stores = Stores::in_memory(config.session_ttl);
    let app = App::connect(&config, Arc::new(SystemClock), stores.bus).await?;
    let users =
        Arc::new(Users { users: bench_users::ids(users).collect(), next: AtomicUsize::new(0) });
    let routes = Route::new().at("/list", post(list)).at("/create", post(create));
    let server = Server::new(TcpListener::bind(("127.0.0.1", config.http.port)));
    server.run(routes.data(app).data(users)).await?;
    Ok(())
}

/// The users, in turn.
struct Users {
    users: Vec<UserId>,
    next: AtomicUsize,
}

impl Users {
    fn next(&self) -> &UserId {
        &self.users[self.next.fetch_add(1, Ordering::Relaxed) % self.users.len()]
    }
}

#[handler]
async fn list(
    Data(app): Data<&App>,
    Data(users): Data<&Arc<Users>>,
    Json(_): Json<Value>,
) -> Response {
    match store::list(app.db(), users.next(), Listing::default()).await {
        Ok(page) => answer(&page),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[handler]
async fn create(
    Data(app): Data<&App>,
    Data(users): Data<&Arc<Users>>,
    Json(_): Json<Value>,
) -> Response {
    let draft = bench_users::draft();
    match store::create(app.state(), users.next(), draft).await {
        Ok(note) => answer(&note),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'a str,
    id: u8,
    result: Content<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    content: [Value; 1],
    structured_content: &'a RawValue,
}

fn answer(structured: &impl Serialize) -> Response {
    let text = serde_json::to_string(structured).expect("plain data");
    let structured_content: &RawValue = serde_json::from_str(&text).expect("it was just written");
    let content = [json!({ "type": "text", "text": text })];
    let result = Content { content, structured_content };
    Json(Answer { jsonrpc: "2.0", id: 1, result }).into_response()
}
