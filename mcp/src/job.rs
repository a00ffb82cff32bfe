//! Jobs: calls that run in a worker and outlive their request.
//!
//! The instance that receives the call of a job tool does not run it. The engine stores the call in
//! [`Jobs`], which is durable, and a worker runs it with
//! [`Engine::run_job`](crate::Engine::run_job), possibly several times: if the process dies,
//! another attempt follows. Depending on its capabilities, the client polls a task handle or keeps
//! the stream of the call open ([`Origin`]).
//!
//! [`Jobs`] is implemented by the product with its database. The engine does not claim jobs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    caller::{Caller, UserId},
    failure::CallFailure,
    json,
    question::{ClientAnswer, Question},
    rpc::{self, RequestId, RpcError},
    store::{StoreError, Writer},
    trace::TraceParent,
    types::{CallToolResult, ClientCapabilities, Content, LogLevel},
    version::ProtocolVersion,
};
pub use crate::{error::Superseded, id::JobId};

/// How the outcome of a job is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// The client has a task handle and polls: the extension `io.modelcontextprotocol/tasks`, or
    /// the experimental tasks of 2025-11-25.
    Task,
    /// A modern call whose response is open. The instance that serves it receives the job's
    /// signals; when the client disconnects, the job is cancelled.
    Call,
    /// A legacy call whose response is a stream. The worker appends to the log of the stream, so no
    /// instance has to keep state for the call.
    Stream {
        /// The writer as which the job appends to the stream.
        writer: Writer,
    },
    /// Another job that waits for this one.
    Parent {
        /// The waiting job.
        job: JobId,
    },
}

/// A call of a tool, with the data that a worker needs to run it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobCall {
    /// The caller. The job has the rights of the token that created it, even after the token has
    /// expired.
    pub caller: Caller,
    /// The protocol revision in which results and questions are encoded.
    pub version: ProtocolVersion,
    /// The capabilities of the client.
    pub capabilities: ClientCapabilities,
    /// The minimum severity of log messages. `None`: the client wants none.
    pub log_level: Option<LogLevel>,
    /// The progress token of the request. `None`: the client wants no progress.
    pub progress_token: Option<RequestId>,
    /// The tool.
    pub tool: String,
    /// The arguments.
    pub arguments: Box<RawValue>,
    /// How the outcome is delivered.
    pub origin: Origin,
    /// The trace context in which the job was created, if that was traced.
    #[serde(default)]
    pub trace: Option<TraceParent>,
}

/// A job to create.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The id, chosen by the caller so that a repeated request creates one job.
    pub id: JobId,
    /// The call to run.
    pub call: JobCall,
    /// The answers that the client gave before the job was created, by the tool's key.
    pub answers: BTreeMap<String, ClientAnswer>,
    /// The timeout of an attempt.
    pub timeout: Duration,
    /// The maximum number of attempts.
    pub attempts: u32,
    /// How long the client wants the result to be kept after the end of the job. The store may
    /// delete it earlier.
    pub ttl: Option<Duration>,
}

/// The status of a job. The last three are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waiting for a worker to start the first or another attempt.
    Queued,
    /// Running, or waiting for its children.
    Running,
    /// Waiting for answers of the client.
    InputRequired,
    /// The tool has returned a result, also one with `isError`.
    Completed,
    /// Ended without a result of the tool; the outcome says why.
    Failed,
    /// Cancelled by the client.
    Cancelled,
}

impl JobStatus {
    /// Whether the status cannot change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// The progress of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The amount of work done. Only increases.
    pub done: f64,
    /// The value of `done` at the end, if known.
    pub total: Option<f64>,
    /// A message for the user.
    pub message: Option<String>,
}

/// The outcome of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// A complete `CallToolResult`.
    Result {
        /// The JSON that is sent to the client.
        result: Box<RawValue>,
        /// Whether the result has `isError`.
        is_error: bool,
        /// Whether the error is a failure of the server.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_fault: bool,
    },
    /// A JSON-RPC error instead.
    Error(RpcError),
}

impl JobOutcome {
    /// Creates an error result with a text for the model.
    pub fn failed(text: impl Into<String>) -> Self {
        let result = CallToolResult::error(text);
        let result = RawValue::from_string(rpc::into_text(rpc::encode(&result)))
            .expect("encoded JSON is valid JSON");
        Self::Result { result, is_error: true, is_fault: false }
    }

    /// Parses the `structuredContent` of the result. The error is a message for a model.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            #[serde(default)]
            content: Vec<Content>,
            #[serde(borrow)]
            structured_content: Option<&'a RawValue>,
        }
        let (result, is_error) = match self {
            Self::Result { result, is_error, .. } => (result, *is_error),
            Self::Error(error) => return Err(error.message.clone().into_owned()),
        };
        let whole: Whole<'_> = json::from_str(result.get()).map_err(|error| error.to_string())?;
        if is_error {
            let text = whole.content.into_iter().find_map(|content| match content {
                Content::Text { text } => Some(text),
                _ => None,
            });
            return Err(text.unwrap_or_default());
        }
        let structured = whole.structured_content.ok_or("the result has no structured content")?;
        json::from_str(structured.get()).map_err(|error| error.to_string())
    }
}

/// The current state of a job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The id.
    pub id: JobId,
    /// The protocol revision in which its results and questions are encoded.
    pub version: ProtocolVersion,
    /// The tool.
    pub tool: String,
    /// The status.
    pub status: JobStatus,
    /// The last progress.
    pub progress: Option<Progress>,
    /// The open questions to the client, by the tool's key. Empty unless the status is
    /// [`JobStatus::InputRequired`].
    pub questions: BTreeMap<String, Question>,
    /// The outcome, once the job has completed or failed.
    pub outcome: Option<JobOutcome>,
    /// How the outcome is delivered.
    pub origin: Origin,
    /// Creation time in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// Time of the last change in milliseconds since the Unix epoch.
    pub updated_at: i64,
    /// How long the job is kept after its creation.
    pub ttl: Duration,
}

impl Job {
    /// The failure of the job's call. `None`: the job has not ended, or has not failed.
    pub(crate) fn failure(&self) -> Option<CallFailure> {
        match (self.status, &self.outcome) {
            // Failed after all attempts, or lost with its workers.
            (JobStatus::Failed, _) | (_, Some(JobOutcome::Result { is_fault: true, .. })) => {
                Some(CallFailure::Fault)
            }
            (_, Some(JobOutcome::Error(error))) => Some(CallFailure::Rpc(error.code)),
            (_, Some(JobOutcome::Result { is_error: true, .. })) => Some(CallFailure::Tool),
            _ => None,
        }
    }

    /// Whether the job ended without a result or with one that has `isError`.
    pub fn has_failed(&self) -> bool {
        match self.status {
            JobStatus::Failed => true,
            JobStatus::Completed => {
                !matches!(self.outcome, Some(JobOutcome::Result { is_error: false, .. }))
            }
            _ => false,
        }
    }
}

/// A page of jobs of a user.
#[derive(Debug, Default)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// The position of the next page, if there is one.
    pub next: Option<String>,
}

/// Why a job was not created.
#[derive(Debug, thiserror::Error)]
pub enum NotEnqueued {
    /// The user has the maximum number of unfinished jobs.
    #[error("the user has {limit} unfinished jobs, the maximum")]
    TooMany {
        /// The maximum.
        limit: u64,
    },
    /// The arguments of the user's unfinished jobs would exceed the maximum size.
    #[error("the arguments of this user's unfinished jobs would exceed {megabytes} MB")]
    TooLarge {
        /// The limit.
        megabytes: u64,
    },
    /// The store is unavailable.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl NotEnqueued {
    /// Returns a sentence for the user that says which limit was reached.
    pub fn sentence(&self) -> String {
        match self {
            Self::TooMany { limit } => {
                let jobs = if *limit == 1 { "job" } else { "jobs" };
                format!("You already have {limit} unfinished {jobs}, the maximum.")
            }
            Self::TooLarge { megabytes } => format!(
                "With this call the arguments of your unfinished jobs would exceed {megabytes} MB, \
                 the maximum."
            ),
            Self::Unavailable(_) => "Jobs are temporarily unavailable.".to_owned(),
        }
    }
}

/// What an engine needs to run calls as jobs.
#[derive(Clone)]
pub struct JobSettings {
    /// The store of jobs.
    pub store: Arc<dyn Jobs>,
    /// The tool that returns the result of a job by its id, if the catalog has one: named in
    /// messages to clients that stop waiting.
    pub result_tool: Option<&'static str>,
}

/// The store of jobs. Every operation is restricted to a user: jobs of other users do not exist.
///
/// Every implementation publishes [`Signal::JobChanged`](crate::Signal::JobChanged) after each
/// change, so that a caller can subscribe first, then read, then wait.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Creates a job. When this returns, the job is durable and visible to every instance. Returns
    /// the existing job if the user has one with this id.
    async fn enqueue(&self, job: NewJob) -> Result<Job, NotEnqueued>;
    /// Loads a job. `Ok(None)`: the user has no such job.
    async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError>;
    /// Loads a page of jobs, newest first, after the position of an earlier page. `Ok(None)`: the
    /// position is invalid.
    async fn list(
        &self,
        user: &UserId,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError> {
        self.list_of_tools(user, None, after, max).await
    }
    /// Loads a page of jobs like [`Self::list`], restricted to `tools` if given.
    async fn list_of_tools(
        &self,
        user: &UserId,
        tools: Option<&[&str]>,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError>;
    /// Finds the newest unfinished job of a call, by its tool and arguments. `Ok(None)`: the user has
    /// none, or it has already ended.
    async fn find_unfinished(
        &self,
        user: &UserId,
        tool: &str,
        arguments: &Value,
    ) -> Result<Option<Job>, StoreError>;
    /// Stores answers of the client; keys that are not open are ignored. The answer to the last
    /// open question queues the job again. Returns the new state. `Ok(None)`: the user has no such
    /// job.
    async fn answer(
        &self,
        user: &UserId,
        id: &JobId,
        answers: BTreeMap<String, ClientAnswer>,
    ) -> Result<Option<Job>, StoreError>;
    /// Cancels a job that has not ended: its status becomes [`JobStatus::Cancelled`] immediately,
    /// even while a worker runs it. Returns the new state. `Ok(None)`: the user has no such job.
    async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError>;
}

/// An attempt to run a job that a worker has claimed.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The job id.
    pub id: JobId,
    /// The number of the attempt, from 1: a fencing token. The store rejects the writes of an
    /// attempt after another one has started. Counts every claim, including those that
    /// ended with a release, with questions to the client or with child jobs.
    pub number: u32,
    /// Whether the job fails if this attempt fails.
    pub last: bool,
    /// The timeout of this attempt.
    pub timeout: Duration,
    /// The call to run.
    pub call: JobCall,
    /// The answers of the client, by the tool's key.
    pub answers: BTreeMap<String, ClientAnswer>,
    /// The outcomes of the children that the tool asked for, by the tool's key.
    pub children: BTreeMap<String, JobOutcome>,
    /// Whether the worker of the previous attempt was lost. The client is informed.
    pub follows_loss: bool,
    /// The last stored progress: later progress must exceed it.
    pub progress: Option<Progress>,
    /// The checkpoint of an earlier attempt.
    pub checkpoint: Option<Value>,
}

/// The storage of a running attempt. Every write is fenced by the number of the attempt.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Stores the progress. May skip values that are superseded soon.
    async fn progress(&self, progress: Progress);
    /// Stores a checkpoint, from which a later attempt continues. An error means that this attempt
    /// is superseded and must stop.
    async fn checkpoint(&self, state: Value) -> Result<(), Superseded>;
}

/// The maximum number of children of a job.
pub const MAX_CHILDREN: usize = 1_000;

/// A job that another job creates and waits for. It has the rights of its parent, and can neither
/// ask the client nor have children.
#[derive(Clone, Debug)]
pub struct Child {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Box<RawValue>,
}

/// The end of an attempt.
#[derive(Debug)]
pub enum AttemptEnd {
    /// The tool has ended; this is the outcome of the job.
    Answered(JobOutcome),
    /// The client must answer these questions, by the tool's key. Then the job runs again, from the
    /// start or from its checkpoint.
    InputRequired(BTreeMap<String, Question>),
    /// These children must end first, by the tool's key. Then the job runs again.
    Children(BTreeMap<String, NewJob>),
    /// A temporary failure. The text is for the log and, after the last attempt, for the model.
    Retry(String),
    /// Stopped: cancelled, superseded, or the worker is shutting down.
    Stopped,
}
