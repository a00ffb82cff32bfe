//! Why a tool, resource or prompt did not answer, in terms of what the caller can conclude.

use crate::{question::Capability, rpc::RpcError};

/// A source of an error, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a tool, resource or prompt did not answer.
///
/// There is no `Display`: what a model, a client and a log may read are three different texts, and
/// the engine chooses.
#[derive(Debug)]
pub enum ToolError {
    /// The arguments are wrong. The text goes to the model, which may correct itself.
    Input(String),
    /// What was named does not exist, or is not the caller's: the two must not be told apart.
    NotFound(String),
    /// It cannot be done now. The text goes to the model and says what to do about it.
    Failed(String),
    /// It did not work, and may work later without anybody doing anything: a job is tried again.
    /// The text goes to the model when nobody tries again.
    Retry(String),
    /// It cannot be done until an operator of the server changes something. Counted as a failure of
    /// the server; a job is not tried again. The text goes to the model.
    Fault(String),
    /// Something that this server depends on, such as its database, is unavailable. Counted as a
    /// failure of the server; a job is tried again. The text goes to the model and says what to do.
    Unavailable(String),
    /// The client must answer first. Made by [`crate::Call`] only.
    InputRequired(InputRequired),
    /// The client cannot do something that the call needs.
    MissingCapability(Capability),
    /// The access token lacks this scope. The client is asked to sign in for it, as for a tool that
    /// needs the scope itself.
    MissingScope(&'static str),
    /// A JSON-RPC error, as it is.
    Rpc(RpcError),
    /// Jobs that this one asked for must end first. Made by [`crate::Call`] only.
    Children(ChildrenWanted),
    /// This attempt of a job is over: another one has begun, or the job has ended.
    Superseded(Superseded),
    /// Our fault. The source goes to the log, never to the wire. A job is tried again.
    Internal(BoxError),
}

/// Another attempt has begun, the job has ended, or the store cannot be reached: this attempt stops.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this attempt is over")]
pub struct Superseded;

/// Proof that questions were noted in the call. Only [`crate::Call`] makes one.
#[derive(Debug)]
pub struct InputRequired(pub(crate) ());

/// Proof that children were noted in the call. Only [`crate::Call`] makes one.
#[derive(Debug)]
pub struct ChildrenWanted(pub(crate) ());

impl From<Superseded> for ToolError {
    fn from(superseded: Superseded) -> Self {
        Self::Superseded(superseded)
    }
}

impl ToolError {
    /// Our fault, with its source for the log.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }
}
