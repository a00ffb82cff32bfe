//! Calls that wait for answers of the client.

use std::time::Duration;

use async_trait::async_trait;

use super::{StoreError, StoredCall, Writer};
use crate::{id::SessionId, question::ClientAnswer, rpc::RequestId};

/// A question that was sent to the client and is not answered yet.
#[derive(Clone, Debug)]
pub struct OpenQuestion {
    /// The JSON-RPC id of the server's request.
    pub id: String,
    /// The tool's key of the question.
    pub key: String,
    /// The encoded JSON-RPC request.
    pub message: String,
}

/// The effect of an answer.
#[derive(Debug)]
pub enum Answered {
    /// There is no such question: already answered, expired, or not asked in this session.
    Unknown,
    /// Stored; other questions of the same call are still open.
    Waiting,
    /// This was the last open question: the caller must run the call, as this writer. Exactly one
    /// caller receives this for each round of questions.
    Complete(Writer, StoredCall),
}

/// Calls that wait for answers of the client. Answering a question is atomic.
#[async_trait]
pub trait Questions: Send + Sync {
    /// Stores a call for at most `ttl` and appends its questions to its stream, atomically. The
    /// lease of the run is extended to `ttl + lease`. When this returns, every instance can find
    /// the call. `false`: the writer is no longer current. Idempotent.
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError>;
    /// Removes a question and stores its answer, atomically. The answer to the last question starts
    /// the next run of the call under `lease`, so that it can be taken over if the caller dies.
    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: ClientAnswer,
        lease: Duration,
    ) -> Result<Answered, StoreError>;
    /// Removes a waiting call because the client cancelled it. The caller that receives the writer
    /// must finish the request. `Ok(None)`: no such call waits.
    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError>;
}
