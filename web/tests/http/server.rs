//! One instance to send requests to.

use std::sync::Arc;

use app::{App, config::Config};
use mcp::{Engine, Stores, UserId};
use oauth::access_token::NewToken;
use platform::clock::SystemClock;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// An instance with its own database.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) app: App,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<anyhow::Result<()>>,
    _data: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let data = TempDir::new().unwrap();
        let config = Config::read(&tests::fixtures::product(), |name| match name {
            "PUBLIC_URL" => Some(url.clone()),
            "DATA_DIR" => Some(data.path().to_str().unwrap().to_owned()),
            "ALLOWED_ORIGINS" => Some("https://app.example".to_owned()),
            "SHUTDOWN_TIMEOUT" => Some("1s".to_owned()),
            _ => None,
        })
        .unwrap();
        let stores = Stores::in_memory(config.session_ttl);
        let app = App::connect(&config, Arc::new(SystemClock), stores.bus.clone()).await;
        let app = app.unwrap();
        let schema = app.db().schema_connection().await.unwrap();
        tests::fixtures::product().schema().migrate(&schema).await.unwrap();
        let catalog = app.catalog();
        let engine = Engine::new(catalog, stores, app::mcp_settings(&app));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(web::run(listener, app.clone(), engine, shutdown.clone()));
        Self { port, url, client: Client::new(), app, shutdown, running, _data: data }
    }

    pub(crate) async fn token(&self, scopes: &[&str]) -> String {
        let new = NewToken {
            user: UserId::new("dev:alice"),
            client: "test".to_owned(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            session_id: "test".to_owned(),
            signed_in_at: None,
            ttl: None,
            dpop_key: None,
        };
        self.app.oauth().tokens().mint(new).await.unwrap()
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A `tools/call` of the stateless revision, which needs no session.
    pub(crate) fn call(&self, token: &str, tool: &str, arguments: &Value) -> RequestBuilder {
        let body = serde_json::json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": tool,
                "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        self.request("POST", "/mcp")
            .bearer_auth(token)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(body.to_string())
    }

    pub(crate) async fn raw(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }
}
