//! The errors of tools, resources and prompts, by what the caller can conclude from them.

use crate::{question::Capability, rpc::RpcError};

/// The source of an error, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a tool, resource or prompt has no result.
///
/// There is no `Display`: the texts for the model, the client and the log differ, and the engine
/// chooses among them.
#[derive(Debug)]
pub enum ToolError {
    /// The arguments are invalid. The text goes to the model, which may correct them.
    Input(String),
    /// The named object does not exist or belongs to another user; the text must not reveal which.
    NotFound(String),
    /// The operation failed. The text goes to the model and says what to do.
    Failed(String),
    /// A temporary failure: a job is retried. The text goes to the model if there is no further
    /// attempt.
    Retry(String),
    /// A failure that an operator of the server must fix. Counted as a failure of the server; a job
    /// is not retried. The text goes to the model.
    Fault(String),
    /// A dependency of the server, such as its database, is unavailable. Counted as a failure of
    /// the server; a job is retried. The text goes to the model and says what to do.
    Unavailable(String),
    /// The client must answer questions first. Created by [`crate::Call`] only.
    InputRequired(InputRequired),
    /// The client lacks a capability that the call requires.
    MissingCapability(Capability),
    /// The access token lacks this scope. The client is asked to obtain it, as for a tool that
    /// requires the scope itself.
    MissingScope(&'static str),
    /// A JSON-RPC error, sent unchanged.
    Rpc(RpcError),
    /// Child jobs must end first. Created by [`crate::Call`] only.
    Children(ChildrenWanted),
    /// This attempt of a job is superseded: another one has started, or the job has ended.
    Superseded(Superseded),
    /// A bug or an unexpected failure of the server. The source goes to the log, never to the
    /// client. A job is retried.
    Internal(BoxError),
}

/// The attempt must stop: another one has started, the job has ended, or the store is unavailable.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this attempt of the job is no longer current")]
pub struct Superseded;

/// Proof that questions were recorded in the call. Created by [`crate::Call`] only.
#[derive(Debug)]
pub struct InputRequired(pub(crate) ());

/// Proof that child jobs were recorded in the call. Created by [`crate::Call`] only.
#[derive(Debug)]
pub struct ChildrenWanted(pub(crate) ());

impl From<Superseded> for ToolError {
    fn from(superseded: Superseded) -> Self {
        Self::Superseded(superseded)
    }
}

impl ToolError {
    /// Creates [`Self::Internal`].
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }
}
