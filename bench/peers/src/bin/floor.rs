//! The floor: axum and sqlx, and the answer of the product byte for byte. No protocol, tokens, sessions or
//! limits.

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use peers::{CreateInput, EchoInput, ListInput, Notes};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

#[derive(Serialize)]
struct Response<'a, S> {
    jsonrpc: &'a str,
    id: u8,
    result: CallToolResult<'a, S>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallToolResult<'a, S> {
    content: [Content; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<S>,
    result_type: &'a str,
    #[serde(rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Content {
    r#type: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Implementation<'a>,
}

#[derive(Serialize)]
struct Implementation<'a> {
    name: &'a str,
    version: &'a str,
}

type Answer = Json<Response<'static, Box<RawValue>>>;

fn answer(text: String, structured_content: Option<Box<RawValue>>) -> Answer {
    let server_info = Implementation { name: "notes-mcp", version: "0.1.0" };
    Json(Response {
        jsonrpc: "2.0",
        id: 1,
        result: CallToolResult {
            content: [Content { r#type: "text", text }],
            structured_content,
            result_type: "complete",
            meta: Meta { server_info },
        },
    })
}

fn structured(value: &impl Serialize) -> Result<Answer, StatusCode> {
    let json = to_raw_value(value).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(answer(json.get().to_owned(), Some(json)))
}

fn failed(error: sqlx::Error) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn list(
    State(notes): State<Notes>,
    Json(input): Json<ListInput>,
) -> Result<Answer, StatusCode> {
    structured(&notes.list(input).await.map_err(failed)?)
}

async fn create(
    State(notes): State<Notes>,
    Json(input): Json<CreateInput>,
) -> Result<Answer, StatusCode> {
    structured(&notes.create(input).await.map_err(failed)?)
}

async fn echo(Json(input): Json<EchoInput>) -> Answer {
    answer(input.text, None)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = Router::new()
        .route("/list", post(list))
        .route("/create", post(create))
        .route("/echo", post(echo))
        .with_state(Notes::from_env()?);
    peers::serve(app).await
}
