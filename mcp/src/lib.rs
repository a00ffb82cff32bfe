//! The Model Context Protocol, server side, for any catalog of tools, resources and prompts.
//!
//! One endpoint serves both eras: *modern* requests (2026-07-28), which are self-contained, and
//! *legacy* sessions (2025-11-25, 2025-06-18, 2025-03-26). Any instance can serve any request:
//! state that outlives a request is in [`store`].
//!
//! | task | items |
//! |---|---|
//! | write a tool, resource or prompt | [`Tool`], [`Resource`], [`Prompt`], [`Call`] |
//! | show the result of a tool in the conversation | [`View`], [`views`] |
//! | serve them | [`Catalog`], [`Engine`], [`http::Endpoint`] |
//! | add your own checks around the engine | [`http`], [`Reply`] |
//! | run calls as jobs in a worker | [`job`] |
//! | trace calls | [`trace`] |
//! | parse JSON of a client | [`json`] |
//! | implement stores | [`store`] |
//! | understand how the era of a request is determined | `engine::dispatch` |
//! | understand how a response becomes a stream | `engine::legacy::response`, `engine::modern` |
//!
//! # Example
//!
//! An endpoint with one tool, with the stores in memory. `examples/server.rs` is a complete server
//! that also has a resource and a prompt.
//!
//! ```
//! use std::{collections::BTreeSet, sync::Arc, time::Duration};
//!
//! use async_trait::async_trait;
//! use http::Request;
//! use http_body_util::BodyExt as _;
//! use mcp::{
//!     AnyTool, Call, Caller, Catalog, Engine, Implementation, SealKey, ServerInfo, Settings, Stores,
//!     Text, Tool, ToolError, UserId,
//!     http::{Access, Endpoint, TokenError, TokenVerifier},
//! };
//! use serde_json::{Value, json};
//!
//! struct Greet;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Input {
//!     /// Who to greet.
//!     name: String,
//! }
//!
//! impl Tool<()> for Greet {
//!     const NAME: &'static str = "greet";
//!     const TITLE: &'static str = "Greet";
//!     const DESCRIPTION: &'static str = "Greets someone by name.";
//!     type Input = Input;
//!     type Output = Text;
//!
//!     async fn call(&self, _: &Call, _: &(), input: Input) -> Result<Text, ToolError> {
//!         Ok(Text(format!("Hello, {}!", input.name)))
//!     }
//! }
//!
//! static TOOLS: &[&dyn AnyTool<()>] = &[&Greet];
//!
//! /// Stands for the verification of tokens of an authorization server.
//! struct Tokens;
//!
//! #[async_trait]
//! impl TokenVerifier for Tokens {
//!     async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
//!         if token != "ada" {
//!             return Err(TokenError::Invalid);
//!         }
//!         Ok(Caller {
//!             user: UserId::new("example:1"),
//!             client: "a-client".into(),
//!             scopes: BTreeSet::new(),
//!             grant: "a-grant".into(),
//!             key: "a-key".into(),
//!             issued_at: 1_800_000_000,
//!             expires_at: 1_800_003_600,
//!             request: None,
//!         })
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() {
//!     let implementation = Implementation {
//!         name: "greeter".to_owned(),
//!         title: None,
//!         version: "1.0.0".to_owned(),
//!         description: None,
//!         website_url: None,
//!         icons: Vec::new(),
//!     };
//!     let info = ServerInfo { implementation, instructions: None };
//!     let catalog = Catalog::new(info).with((), TOOLS, &[], &[]);
//!     let settings = Settings {
//!         seal_keys: vec![SealKey::new([7; 32])], // 256 random bits, equal on all instances
//!         now: Arc::new(|| 1_800_000_000),        // the system clock
//!         page_size: Settings::PAGE_SIZE,
//!         jobs: None,
//!         rate_limiter: None,
//!         access: None,
//!     };
//!     let stores = Stores::in_memory(Duration::from_hours(24));
//!     let engine = Engine::new(catalog, stores, settings);
//!     let access = Access::new("https://example.com/mcp", Arc::new(Tokens));
//!     let endpoint = Endpoint::new(engine, access).unwrap();
//!
//!     // An HTTP server passes on requests like this one.
//!     let body = json!({
//!         "jsonrpc": "2.0",
//!         "id": 1,
//!         "method": "tools/call",
//!         "params": {
//!             "name": "greet",
//!             "arguments": { "name": "Ada" },
//!             "_meta": {
//!                 "io.modelcontextprotocol/protocolVersion": "2026-07-28",
//!                 "io.modelcontextprotocol/clientCapabilities": {},
//!             },
//!         },
//!     });
//!     let request = Request::post("/mcp")
//!         .header("host", "example.com")
//!         .header("authorization", "Bearer ada")
//!         .header("content-type", "application/json")
//!         .header("accept", "application/json, text/event-stream")
//!         .header("mcp-protocol-version", "2026-07-28")
//!         .header("mcp-method", "tools/call")
//!         .header("mcp-name", "greet")
//!         .body(body.to_string())
//!         .unwrap();
//!     let response = endpoint.handle(request).await;
//!
//!     assert_eq!(response.status(), 200);
//!     let body = response.into_body().collect().await.unwrap().to_bytes();
//!     let response: Value = serde_json::from_slice(&body).unwrap();
//!     assert_eq!(response["result"]["content"][0]["text"], "Hello, Ada!");
//!
//!     // A page of another site cannot call the endpoint, even with a token.
//!     let request = Request::post("/mcp")
//!         .header("host", "example.com")
//!         .header("origin", "https://evil.example")
//!         .header("authorization", "Bearer ada")
//!         .body(String::new())
//!         .unwrap();
//!     assert_eq!(endpoint.handle(request).await.status(), 403);
//! }
//! ```

mod call;
mod caller;
mod caller_jobs;
mod catalog;
mod confirm;
mod content_keys;
mod engine;
mod environment;
mod error;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod headers;
pub mod http;
mod id;
pub mod job;
pub mod json;
mod params;
mod question;
mod rate_limit;
mod reply;
mod rpc;
mod seal;
mod sse;
pub mod store;
pub mod trace;
mod types;
mod version;
pub mod views;

/// The target of `tracing` events for metrics, at level `debug`. Each has one of these fields, an
/// unsigned number:
///
/// | field | meaning |
/// |---|---|
/// | `sessions_created`, `sessions_deleted`, `sessions_evicted`, `sessions_unknown` | legacy sessions: created, deleted by the client, evicted, requested but unknown |
/// | `session_seconds` | the lifetime of a session that its client deleted |
/// | `appended`, `sent`, `replayed` | events of legacy streams: appended to a log, sent, sent to a client that resumed the stream |
/// | `missed`, `lost` | events dropped from a log before the client resumed, or while it was connected |
/// | `asked`, `answered`, `late`, `withdrawn` | questions to the client: asked, answered, answered too late; calls that were cancelled while they waited for an answer |
/// | `cancelled` | legacy calls that the client cancelled |
/// | `taken_over` | legacy calls that this instance took over from one that stopped responding |
pub const COUNTED: &str = "mcp::counted";

pub use call::Call;
pub use caller::{AccessCheck, Caller, UserId};
pub use caller_jobs::{CallerJobs, JobAccessError};
pub use catalog::{
    AnyPrompt, AnyResource, AnyTool, Catalog, HeaderParam, MatchedUri, NoInput, Prompt,
    PromptArgument, PromptDefinition, PromptEntry, Resource, ResourceKind, ResourcePage,
    ResourceSlot, ResourceTemplate, RunMode, ServerInfo, Text, Tool, ToolDefinition, ToolEntry,
    ToolOutput, View,
};
pub use confirm::{ConfirmToken, Confirmation, ConfirmationWanted, Step};
pub use content_keys::{CannotOpen, ContentKey, ContentKeys};
pub use engine::{Engine, Settings};
pub use environment::{Environment, Simulated};
pub use error::{BoxError, ChildrenWanted, InputRequired, ToolError};
pub use failure::{CallFailure, LateFailure};
pub use question::{Capability, ClientAnswer, Elicited, Question, Root, SampleRequest, Sampled};
pub use rate_limit::{Quota, RateDecision, RateLimiter, RequestCost};
pub use reply::{About, Reply, ReplyBody};
pub use rpc::{RequestId, RpcError, codes};
pub use seal::SealKey;
pub use store::{Bus, Signal, StoreError, Stores};
pub use types::{
    Annotations, CallToolResult, ClientCapabilities, Completion, Content, ElicitationCapability,
    Icon, Implementation, LogLevel, PromptMessage, PromptResult, ResourceContents, ResourceData,
    ResourceEntry, Role, ToolAnnotations,
};
pub use version::ProtocolVersion;
