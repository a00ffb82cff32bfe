//! What the benchmark compares the product with: the same SQL and the same JSON behind a bare poem
//! handler, without MCP, sessions, tokens or limits.
//!
//! `POST /list` answers as `tools/call notes_list` does, `POST /create` as `notes_create`. Takes
//! its configuration from the environment as the product does, and the notes of `dev:bench`.

use std::sync::Arc;

use mcp::{Stores, UserId};
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
use service::{
    Service,
    config::Config,
    notes::{self, Body, Draft, Listing, Tags, Title},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let stores = Stores::in_memory(config.session_ttl);
    let service = Service::connect(&config, Arc::new(SystemClock), stores.bus).await?;
    let app = Route::new().at("/list", post(list)).at("/create", post(create)).data(service);
    Server::new(TcpListener::bind(("127.0.0.1", config.port))).run(app).await?;
    Ok(())
}

fn user() -> UserId {
    UserId::new("dev:bench")
}

#[handler]
async fn list(Data(service): Data<&Service>, Json(_): Json<Value>) -> Response {
    match notes::list(service.db(), &user(), Listing::default()).await {
        Ok(page) => answer(&page),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[handler]
async fn create(Data(service): Data<&Service>, Json(_): Json<Value>) -> Response {
    let draft = Draft {
        title: Title::parse("A note of the benchmark").expect("short enough"),
        body: Body::parse("The quick brown fox jumps over the lazy dog.").expect("short enough"),
        tags: Tags::default(),
    };
    match notes::create(service, &user(), draft).await {
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
