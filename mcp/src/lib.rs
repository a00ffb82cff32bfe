//! The Model Context Protocol, server side, for any catalog of tools, resources and prompts.
//!
//! One endpoint serves both eras: *modern* requests (2026-07-28), which carry everything
//! themselves, and *legacy* sessions (2025-11-25, 2025-06-18, 2025-03-26). Neither keeps anything
//! in this process that another instance would miss: what must outlive a request is in [`store`].
//!
//! | to … | look at |
//! |---|---|
//! | write a tool, resource or prompt | [`Tool`], [`Resource`], [`Prompt`], [`Call`] |
//! | serve them | [`CatalogOf`], [`Engine`], [`Reply`] |
//! | run calls in another process, later | [`job`] |
//! | see a call in a trace | [`trace`] |
//! | read JSON of a client | [`json`] |
//! | keep sessions elsewhere | [`store`] |
//! | see how a request is told apart | `engine::dispatch` |
//! | see how a call becomes a stream | `engine::legacy::response`, `engine::modern` |

mod admission;
mod call;
mod caller;
mod caller_jobs;
mod catalog;
mod engine;
mod error;
mod failure;
mod headers;
mod id;
pub mod job;
pub mod json;
mod question;
mod reply;
mod rpc;
mod seal;
mod sse;
pub mod store;
pub mod trace;
mod types;
mod version;

/// The target of events of `tracing` that a product may want to count, at level `debug`. Each has one
/// of these fields, a number: `replayed` (events of a stream sent to a client that came back for
/// them), `asked` and `answered` (questions to a modern client).
pub const COUNTED: &str = "mcp::counted";

pub use admission::{Admission, Quota, Requests, Verdict};
pub use call::Call;
pub use caller::{AccessCheck, Caller, UserId};
pub use caller_jobs::{CallerJobs, JobAccessError};
pub use catalog::{
    AnyPrompt, AnyResource, AnyTool, Catalog, CatalogOf, HeaderParam, MatchedUri, NoInput, Prompt,
    PromptArgument, PromptDefinition, PromptEntry, Resource, ResourceKind, ResourcePage,
    ResourceSlot, ResourceTemplate, Run, ServerInfo, Text, Tool, ToolDefinition, ToolEntry,
    ToolOutput,
};
pub use engine::{Engine, Settings};
pub use error::{BoxError, ChildrenWanted, InputRequired, ToolError};
pub use failure::{CallFailure, LateFailure};
pub use question::{Answer, Capability, Elicited, Question, Root, SampleRequest, Sampled};
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
