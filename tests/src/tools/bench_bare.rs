//! `bench-bare` is the baseline of the benchmark: the same SQL and the same JSON as the product behind a
//! plain poem handler, without MCP, sessions, tokens or limits.
//!
//! `POST /list` responds like `tools/call notes_list`, `POST /create` like `notes_create`, for the user
//! `dev:bench`. It is configured by the environment like the product.

use std::sync::Arc;

use app::{App, config::Config};
use mcp::{Stores, UserId};
use notes::store::{self, Body, Draft, Listing, Tags, Title};
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

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(&notes::product())?;
    let stores = Stores::in_memory(config.session_ttl);
    let app = App::connect(&config, Arc::new(SystemClock), stores.bus).await?;
    let client_app = Route::new().at("/list", post(list)).at("/create", post(create)).data(app);
    Server::new(TcpListener::bind(("127.0.0.1", config.http.port))).run(client_app).await?;
    Ok(())
}

fn user() -> UserId {
    UserId::new("dev:bench")
}

#[handler]
async fn list(Data(app): Data<&App>, Json(_): Json<Value>) -> Response {
    match store::list(app.db(), &user(), Listing::default()).await {
        Ok(page) => answer(&page),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[handler]
async fn create(Data(app): Data<&App>, Json(_): Json<Value>) -> Response {
    let draft = Draft {
        title: Title::parse("A note of the benchmark").expect("short enough"),
        body: Body::parse("The quick brown fox jumps over the lazy dog.").expect("short enough"),
        tags: Tags::default(),
    };
    match store::create(app.state(), &user(), draft).await {
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
