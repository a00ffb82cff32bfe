//! A small server with a tool, a resource and a prompt.
//!
//! ```sh
//! cargo run -p mcp --example server -- a-secret-token
//! curl http://127.0.0.1:8080/mcp -H 'Authorization: Bearer a-secret-token' \
//!     -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
//!     -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
//!          "capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mcp::{
    AnyPrompt, AnyResource, AnyTool, Call, Caller, Catalog, Engine, Implementation, MatchedUri,
    Prompt, PromptMessage, PromptResult, Resource, ResourceContents, SealKey, ServerInfo, Settings,
    Stores, Text, Tool, ToolAnnotations, ToolError, UserId,
    http::{Access, Endpoint, TokenError, TokenVerifier},
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::TcpListener;

/// The bookmarks of each user. A real server has a database.
#[derive(Clone, Default)]
struct Bookmarks(Arc<Mutex<BTreeMap<UserId, Vec<String>>>>);

impl Bookmarks {
    fn add(&self, user: &UserId, url: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(user.clone()).or_default().push(url);
    }

    fn list(&self, user: &UserId) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(user).map(|urls| urls.join("\n")).unwrap_or_default()
    }
}

/// The tool `bookmarks_add`.
struct Add;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddInput {
    /// The address of the page.
    url: String,
}

impl Tool<Bookmarks> for Add {
    const NAME: &'static str = "bookmarks_add";
    const TITLE: &'static str = "Add a bookmark";
    const DESCRIPTION: &'static str = "Adds a page to the user's bookmarks.";
    const ANNOTATIONS: ToolAnnotations =
        ToolAnnotations { destructive_hint: Some(false), ..ToolAnnotations::NONE };
    type Input = AddInput;
    type Output = Text;

    async fn call(
        &self,
        call: &Call,
        bookmarks: &Bookmarks,
        input: AddInput,
    ) -> Result<Text, ToolError> {
        if !input.url.starts_with("https://") {
            // The model reads this message and corrects its call.
            return Err(ToolError::Input("`url` must begin with https://".to_owned()));
        }
        bookmarks.add(call.user(), input.url);
        Ok(Text("Added.".to_owned()))
    }
}

/// The resource `bookmarks://all`.
struct All;

impl Resource<Bookmarks> for All {
    const URI: &'static str = "bookmarks://all";
    const NAME: &'static str = "all";
    const TITLE: &'static str = "All bookmarks";
    const DESCRIPTION: &'static str = "The user's bookmarks, one in each line.";
    const MIME_TYPE: &'static str = "text/plain";

    async fn read(
        &self,
        call: &Call,
        bookmarks: &Bookmarks,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        let list = bookmarks.list(call.user());
        Ok(vec![ResourceContents::text(uri.uri.as_str(), Self::MIME_TYPE, list)])
    }
}

/// The prompt `choose`.
struct Choose;

#[derive(Deserialize, JsonSchema)]
struct ChooseArguments {
    /// What to read about.
    topic: String,
}

impl Prompt<Bookmarks> for Choose {
    const NAME: &'static str = "choose";
    const TITLE: &'static str = "Choose something to read";
    const DESCRIPTION: &'static str = "Chooses one of the bookmarks.";
    type Arguments = ChooseArguments;

    async fn get(
        &self,
        call: &Call,
        bookmarks: &Bookmarks,
        arguments: ChooseArguments,
    ) -> Result<PromptResult, ToolError> {
        let list = bookmarks.list(call.user());
        let text = format!("Which page is about {}, and why?\n\n{list}", arguments.topic);
        Ok(PromptResult { description: None, messages: vec![PromptMessage::user(text)] })
    }
}

static TOOLS: &[&dyn AnyTool<Bookmarks>] = &[&Add];
static RESOURCES: &[&dyn AnyResource<Bookmarks>] = &[&All];
static PROMPTS: &[&dyn AnyPrompt<Bookmarks>] = &[&Choose];

/// Accepts a single token. A real server verifies the tokens of an authorization server.
struct OneToken(String);

#[async_trait]
impl TokenVerifier for OneToken {
    async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token != self.0 {
            return Err(TokenError::Invalid);
        }
        Ok(Caller {
            user: UserId::new("example:me"),
            client: "any".into(),
            scopes: BTreeSet::new(),
            grant: "none".into(),
            key: "none".into(),
            issued_at: now(),
            expires_at: now() + 3600,
            request: None,
        })
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn endpoint(token: String, public_url: String) -> Result<Endpoint, Box<dyn std::error::Error>> {
    let implementation = Implementation {
        name: "bookmarks".to_owned(),
        title: Some("Bookmarks".to_owned()),
        version: "1.0.0".to_owned(),
        description: None,
        website_url: None,
        icons: Vec::new(),
    };
    let info = ServerInfo { implementation, instructions: None };
    let catalog = Catalog::new(info).with(Bookmarks::default(), TOOLS, RESOURCES, PROMPTS);
    let settings = Settings {
        // A restart makes the open questions of clients invalid. A server with several instances
        // needs the same key on all of them.
        seal_keys: vec![SealKey::new(rand::random())],
        now: Arc::new(now),
        page_size: Settings::PAGE_SIZE,
        jobs: None,
        rate_limiter: None,
        access: None,
    };
    let engine = Engine::new(catalog, Stores::in_memory(Duration::from_hours(24)), settings);
    Ok(Endpoint::new(engine, Access::new(public_url, Arc::new(OneToken(token))))?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::args().nth(1).ok_or("usage: server TOKEN")?;
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    let endpoint = endpoint(token, format!("http://{}/mcp", listener.local_addr()?))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let endpoint = endpoint.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let endpoint = endpoint.clone();
            async move { Ok::<_, std::convert::Infallible>(endpoint.handle(request).await) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new()) // limits the time of request heads
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection failed");
            }
        });
    }
}
