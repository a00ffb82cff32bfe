//! Calls that wait for the client.

use std::time::Duration;

use async_trait::async_trait;

use super::{StoreError, StoredCall, Writer};
use crate::{id::SessionId, question::Answer, rpc::RequestId};

/// A question that a call asks its client.
#[derive(Clone, Debug)]
pub struct OpenQuestion {
    /// The id of our request to the client.
    pub id: String,
    /// The tool's own key.
    pub key: String,
    /// The request.
    pub message: String,
}

/// What an answer led to.
#[derive(Debug)]
pub enum Answered {
    /// No such question: answered already, too late, or never asked in this session.
    Unknown,
    /// Noted; other questions of the same call are still open.
    Waiting,
    /// That was the last one, and the call is the caller's to run, under this name. Only one caller
    /// ever gets this for one round of questions.
    Complete(Writer, StoredCall),
}

/// Calls that wait for the client. A question is taken by one atomic step.
#[async_trait]
pub trait Questions: Send + Sync {
    /// Keeps a call for at most `ttl` and appends its questions to its stream, in one step. Its lease
    /// lasts `lease` longer. Returns only when every instance will find it; false if the call is no
    /// longer the writer's. What was kept already is not kept twice.
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError>;
    /// Takes a question and notes its answer. With the last one, the call gets a lease and can be
    /// taken over like any running one.
    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: Answer,
        lease: Duration,
    ) -> Result<Answered, StoreError>;
    /// Takes a waiting call away because the client cancelled it. Whoever gets it has to finish it.
    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError>;
}
