//! The Model Context Protocol, server side, for any catalog of tools, resources and prompts.
//!
//! One endpoint serves both eras: *modern* requests (2026-07-28), which are self-contained, and
//! *legacy* sessions (2025-11-25, 2025-06-18, 2025-03-26). Any instance can serve any request:
//! state that outlives a request is in [`store`].
//!
//! | task | items |
//! |---|---|
//! | write a tool, resource or prompt | [`Tool`], [`Resource`], [`Prompt`], [`Call`] |
//! | serve them | [`CatalogOf`], [`Engine`], [`Reply`] |
//! | run calls as jobs in a worker | [`job`] |
//! | trace calls | [`trace`] |
//! | parse JSON of a client | [`json`] |
//! | implement stores | [`store`] |
//! | understand how the era of a request is determined | `engine::dispatch` |
//! | understand how a response becomes a stream | `engine::legacy::response`, `engine::modern` |

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

/// The target of `tracing` events for metrics, at level `debug`. Each has one of these fields, a
/// number: `replayed` (events sent to a client that resumed a stream), `missed` and `lost` (events
/// dropped from a stream before the client resumed, or while it was connected), `asked` and
/// `answered` (questions to a modern client).
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
