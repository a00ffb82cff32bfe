//! Calls that run in a worker, outlive their request and can be found again by their id.
//!
//! A tool that runs as a job is not run by the instance that receives the call.
//! The engine keeps the call in [`Jobs`], which is durable, and a worker runs it by
//! the engine too, possibly several times: an attempt that dies with
//! its process is followed by another one. What the client gets meanwhile depends on what it can do:
//! a task handle that it polls, or the call's own stream ([`Origin`]).
//!
//! [`Jobs`] is implemented by the product, over its database. The engine never claims a job.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    caller::{Caller, UserId},
    failure::CallFailure,
    json,
    question::{Answer, Question},
    rpc::{self, RequestId, RpcError},
    store::{StoreError, Writer},
    trace::TraceParent,
    types::{CallToolResult, ClientCapabilities, Content, LogLevel},
    version::ProtocolVersion,
};
pub use crate::{error::Superseded, id::JobId};

/// How the client that started a job hears of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// It has a task handle, and asks. Of both eras: the extension `io.modelcontextprotocol/tasks`,
    /// and the experimental tasks of 2025-11-25.
    Task,
    /// A modern call that stays open. Whoever holds its socket follows the job's signals; when the
    /// client disconnects, the job is cancelled.
    Call,
    /// A legacy call whose answer is a stream. The worker appends to the stream's log, so that
    /// nobody needs to be alive in between.
    Stream {
        /// The call, and the name under which the job writes.
        writer: Writer,
    },
    /// Another job, which waits for this one.
    Parent {
        /// The job that waits.
        job: JobId,
    },
}

/// A call of a tool, with everything that any process needs to run it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobCall {
    /// On whose behalf: with the rights of the token that started the job, however long it takes.
    pub caller: Caller,
    /// The revision that results and questions are written for.
    pub version: ProtocolVersion,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// The least severity of log messages that the client wants, if it wants any.
    pub log_level: Option<LogLevel>,
    /// The client's token for progress, if it wants any.
    pub progress_token: Option<RequestId>,
    /// The tool.
    pub tool: String,
    /// Its arguments, as they were sent.
    pub arguments: Box<RawValue>,
    /// How the client hears of the job.
    pub origin: Origin,
    /// Where in a trace the job was started, if that was traced.
    #[serde(default)]
    pub trace: Option<TraceParent>,
}

/// A job to be.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Which one it will be. Chosen by who asks for it, so that asking twice makes one job.
    pub id: JobId,
    /// What to run.
    pub call: JobCall,
    /// Answers that the client gave before the job began, by the tool's own key.
    pub answers: BTreeMap<String, Answer>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many attempts there are.
    pub attempts: u32,
    /// How long the client wants the result to be kept once the job has ended. The store may keep it
    /// for less.
    pub ttl: Option<Duration>,
}

/// Where a job is in its life. The last three are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for a worker: at first, or for another attempt.
    Queued,
    /// A worker runs it, or it waits for its children.
    Running,
    /// It waits for the client.
    InputRequired,
    /// The tool has given a result, of whatever kind.
    Completed,
    /// There is no result.
    Failed,
    /// The client did not want it any more.
    Cancelled,
}

impl JobStatus {
    /// Whether nothing changes any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Only ever grows.
    pub done: f64,
    /// What `done` will be at the end, if that is known.
    pub total: Option<f64>,
    /// For people.
    pub message: Option<String>,
}

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// What the tool gave: a whole `CallToolResult`.
    Result {
        /// As it goes to the client.
        result: Box<RawValue>,
        /// Whether the tool says that it failed.
        is_error: bool,
        /// Whether the server is to blame for that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_fault: bool,
    },
    /// A JSON-RPC error instead.
    Error(RpcError),
}

impl JobOutcome {
    /// There is no result, and this is what the model should know about it.
    pub fn failed(text: impl Into<String>) -> Self {
        let result = CallToolResult::error(text);
        let result = RawValue::from_string(rpc::into_text(rpc::encode(&result)))
            .expect("what was encoded as JSON is JSON");
        Self::Result { result, is_error: true, is_fault: false }
    }

    /// The `structuredContent` of a result. Otherwise what went wrong, for a model.
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
        let whole: Whole<'_> = json::from_str(result.get()).map_err(|it| it.to_string())?;
        if is_error {
            let text = whole.content.into_iter().find_map(|it| match it {
                Content::Text { text } => Some(text),
                _ => None,
            });
            return Err(text.unwrap_or_default());
        }
        let structured = whole.structured_content.ok_or("the result has no structured content")?;
        json::from_str(structured.get()).map_err(|it| it.to_string())
    }
}

/// A job as it is now.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which one.
    pub id: JobId,
    /// The revision that its results and questions are written for.
    pub version: ProtocolVersion,
    /// The tool.
    pub tool: String,
    /// Where it is in its life.
    pub status: JobStatus,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What the client must answer, by the tool's own key. Empty unless the status is
    /// [`JobStatus::InputRequired`].
    pub questions: BTreeMap<String, Question>,
    /// What came of it, once it has completed or failed.
    pub outcome: Option<JobOutcome>,
    /// How the client hears of it.
    pub origin: Origin,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub updated_at: i64,
    /// How long it is kept after its creation.
    pub ttl: Duration,
}

impl Job {
    /// How the call failed that the job is, if the job has ended and failed.
    pub(crate) fn failure(&self) -> Option<CallFailure> {
        match (self.status, &self.outcome) {
            // Given up after errors that the server is to blame for, or lost with its workers.
            (JobStatus::Failed, _) | (_, Some(JobOutcome::Result { is_fault: true, .. })) => {
                Some(CallFailure::Fault)
            }
            (_, Some(JobOutcome::Error(error))) => Some(CallFailure::Rpc(error.code)),
            (_, Some(JobOutcome::Result { is_error: true, .. })) => Some(CallFailure::Tool),
            _ => None,
        }
    }

    /// Whether it ended without what was asked for: without a result, or with one that says that the
    /// tool failed.
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

/// Some jobs of a user.
#[derive(Debug, Default)]
pub struct JobPage {
    /// The newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// Why a job was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotEnqueued {
    /// The user has as many unfinished jobs as one may have.
    #[error("{limit} jobs of this user are unfinished")]
    TooMany {
        /// How many that is.
        limit: u64,
    },
    /// The arguments of the user's unfinished jobs would be larger together than allowed.
    #[error("the arguments of this user's unfinished jobs would exceed {megabytes} MB")]
    TooLarge {
        /// The limit.
        megabytes: u64,
    },
    /// The store cannot be reached.
    #[error(transparent)]
    Away(#[from] StoreError),
}

/// What an engine needs in order to make jobs of calls.
#[derive(Clone)]
pub struct JobSettings {
    /// Where they are kept.
    pub store: Arc<dyn Jobs>,
    /// The tool that gives the result of a job by its id, if the catalog has one: clients that lose
    /// patience are told of it.
    pub result_tool: Option<&'static str>,
}

/// Jobs, as the engine of any instance sees them. Everything begins with the owner: somebody else's
/// job does not exist.
///
/// Every implementation publishes [`Signal::JobChanged`](crate::Signal::JobChanged) after each
/// change, so that a follower can subscribe first, then look, then wait.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Keeps a new job. Returns only when every instance will find it, even after a crash. If the
    /// user has a job of that id already, gives that one.
    async fn enqueue(&self, job: NewJob) -> Result<Job, NotEnqueued>;
    /// Looks at a job.
    async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError>;
    /// A user's jobs, after a position that an earlier page gave. `Ok(None)`: that cannot be read.
    async fn list(
        &self,
        user: &UserId,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError> {
        self.list_of_tools(user, None, after, max).await
    }
    /// The same, of these tools only, if any are given.
    async fn list_of_tools(
        &self,
        user: &UserId,
        tools: Option<&[&str]>,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError>;
    /// Notes answers of the client. Keys that are not open are ignored. The job is queued again
    /// with the last open one. Gives the job as it is then, or nothing if there is no such job.
    async fn answer(
        &self,
        user: &UserId,
        id: &JobId,
        answers: BTreeMap<String, Answer>,
    ) -> Result<Option<Job>, StoreError>;
    /// Cancels a job that has not ended: its status is [`JobStatus::Cancelled`] at once, whatever a
    /// worker is doing. Gives the job as it is then, or nothing if there is no such job.
    async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError>;
}

/// A job that a worker has claimed: one attempt to run it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which job.
    pub id: JobId,
    /// Which attempt: 1 is the first. Every write of an attempt is void once another has begun. It
    /// counts every time that the job was claimed, also those that did not fail but were released,
    /// asked the client or waited for children.
    pub number: u32,
    /// Whether no other attempt follows if this one fails.
    pub last: bool,
    /// How long this one may take.
    pub timeout: Duration,
    /// What to run.
    pub call: JobCall,
    /// What the client has answered, by the tool's own key.
    pub answers: BTreeMap<String, Answer>,
    /// What became of the children that the tool asked for, by the tool's own key.
    pub children: BTreeMap<String, JobOutcome>,
    /// The last progress that was noted: it may only grow.
    pub progress: Option<Progress>,
    /// What an earlier attempt has left to go on from.
    pub checkpoint: Option<Value>,
}

/// An attempt writes here while it runs. Every write is fenced by the number of the attempt.
#[async_trait]
pub trait Notebook: Send + Sync {
    /// Notes how far the attempt is. May be thrown away if another one follows soon.
    async fn progress(&self, progress: Progress);
    /// Keeps what a later attempt needs to go on instead of starting over. Fails if this attempt is
    /// over: then it must not go on.
    async fn checkpoint(&self, state: Value) -> Result<(), Superseded>;
}

/// How many jobs one job may ask for in all.
pub const MAX_CHILDREN: usize = 1_000;

/// A job that a job asks for, and waits for. It has the rights of the job that asks, and cannot ask
/// the client, nor for jobs of its own.
#[derive(Clone, Debug)]
pub struct Child {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Box<RawValue>,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum AttemptEnd {
    /// There is an answer for the client.
    Answered(JobOutcome),
    /// The client must answer these first. Then the job is run again from the start, or from its
    /// checkpoint.
    InputRequired(BTreeMap<String, Question>),
    /// These jobs must end first, by the tool's own key. Then the job is run again.
    Children(BTreeMap<String, NewJob>),
    /// It did not work, and may work later. The text is for the log and, after the last attempt, for
    /// the model.
    Retry(String),
    /// It was stopped: cancelled, superseded, or the worker is about to go.
    Stopped,
}
