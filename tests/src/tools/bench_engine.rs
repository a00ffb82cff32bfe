//! `bench-engine TOKEN` is a server on the crate `mcp` alone, with one trivial tool, for `bench/instructions`.

use std::{collections::BTreeSet, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use clap::Args;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mcp::{
    AnyTool, Call, Caller, Catalog, Engine, Implementation, SealKey, ServerInfo, Settings, Stores,
    Text, Tool, ToolAnnotations, ToolError, UserId,
    http::{Access, Endpoint, TokenError, TokenVerifier},
};
use platform::clock::{Clock as _, SystemClock};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The only token that is accepted.
    token: String,
}

struct Echo;

#[derive(Deserialize, JsonSchema)]
struct EchoInput {
    /// What is returned.
    text: String,
}

impl Tool<()> for Echo {
    const NAME: &'static str = "echo";
    const TITLE: &'static str = "Echo";
    const DESCRIPTION: &'static str = "Returns its argument.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = EchoInput;
    type Output = Text;

    async fn call(&self, _: &Call, (): &(), input: EchoInput) -> Result<Text, ToolError> {
        Ok(Text(input.text))
    }
}

struct OneToken(String);

#[async_trait]
impl TokenVerifier for OneToken {
    async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token != self.0 {
            return Err(TokenError::Invalid);
        }
        Ok(Caller {
            user: UserId::new("dev:bench"),
            client: "bench".into(),
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
    SystemClock.now().timestamp()
}

static TOOLS: &[&dyn AnyTool<()>] = &[&Echo];

fn endpoint(token: String, public_url: String) -> anyhow::Result<Endpoint> {
    let implementation = Implementation {
        name: "echo".to_owned(),
        title: None,
        version: "0.1.0".to_owned(),
        description: None,
        website_url: None,
        icons: Vec::new(),
    };
    let info = ServerInfo { implementation, instructions: None };
    let catalog = Catalog::new(info).with((), TOOLS, &[], &[]);
    let settings = Settings {
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

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let port = std::env::var("PORT").context("PORT is missing")?.parse()?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let public_url = std::env::var("PUBLIC_URL").context("PUBLIC_URL is missing")?;
    let endpoint = endpoint(arguments.token, format!("{public_url}/mcp"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let endpoint = endpoint.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let endpoint = endpoint.clone();
            async move { Ok::<_, Infallible>(endpoint.handle(request).await) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection failed");
            }
        });
    }
}
