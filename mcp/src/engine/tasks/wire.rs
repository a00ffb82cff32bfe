//! Jobs as tasks: the extension `io.modelcontextprotocol/tasks` of 2026-07-28, and the experimental
//! tasks of 2025-11-25. The two differ in every name that they can, so they share only the job.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat};
use futures_util::{
    future::select_all,
    stream::{self, StreamExt as _, TryStreamExt as _},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{messages::outcome, stream::announce};
use crate::{
    caller::Caller,
    caller_jobs::{CallerJobs, JobAccessError},
    engine::{Inner, notifications::SubscriptionMeta, request::read_params},
    job::{Job, JobId, JobOutcome, JobStatus, Origin},
    question::{Answer, InputRequest, MAX_ANSWER_BYTES, input_requests},
    rpc::{self, RequestId, RpcError, codes},
    store::{StoreError, Subscription, Topic},
    types::ClientCapabilities,
};

/// What a modern client declares that can hold a task handle.
pub(in crate::engine) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// How often a client should look, in milliseconds.
const POLL_INTERVAL: u64 = 500;

/// How many tasks a page of `tasks/list` has.
const PAGE: usize = 50;

/// How many answers one `tasks/update` may bring.
const MAX_ANSWERS: usize = 64;

/// Whether this request declares that its client can hold a task handle.
pub(in crate::engine) fn declared(capabilities: &ClientCapabilities) -> bool {
    capabilities.extensions.contains_key(EXTENSION)
}

/// A request that only a client with tasks may send.
pub(in crate::engine) fn not_declared() -> RpcError {
    RpcError::new(
        codes::MISSING_CLIENT_CAPABILITY,
        format!("this needs a client that declares the extension `{EXTENSION}`"),
    )
    .with_data(json!({ "requiredCapabilities": { "extensions": { EXTENSION: {} } } }))
}

/// Why a request about a task is refused.
pub(in crate::engine) enum TaskError {
    Rpc(RpcError),
    /// The token lacks the scope of the task's tool.
    Scope(&'static str),
    Unavailable(StoreError),
}

impl From<RpcError> for TaskError {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<JobAccessError> for TaskError {
    fn from(error: JobAccessError) -> Self {
        match error {
            JobAccessError::MissingScope(scope) => Self::Scope(scope),
            JobAccessError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl From<StoreError> for TaskError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

fn unknown() -> TaskError {
    // Somebody else's task does not exist either.
    RpcError::invalid_params("there is no such task, or it is kept no longer").into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskParams {
    task_id: String,
}

/// The task that a request names, if the caller may see it.
pub(in crate::engine) async fn find(
    engine: &Inner,
    caller: &Caller,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Job, TaskError> {
    let TaskParams { task_id } = read_params(method, params)?;
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let id = JobId::parse(&task_id).ok_or_else(unknown)?;
    access.of(caller).get(&id).await?.ok_or_else(unknown)
}

fn time(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What people may read about how far it is.
fn message(job: &Job) -> Option<&str> {
    job.progress.as_ref()?.message.as_deref()
}

// ------------------------------------------------------------------------------------ 2026-07-28

/// A task as 2026-07-28 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::engine) struct ModernTask<'a> {
    task_id: &'a JobId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    created_at: String,
    last_updated_at: String,
    ttl_ms: u64,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    input_requests: BTreeMap<String, InputRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
}

impl<'a> ModernTask<'a> {
    /// The handle that answers the call.
    pub(in crate::engine) fn handle(job: &'a Job) -> Self {
        Self {
            task_id: &job.id,
            status: modern_status(job),
            status_message: message(job),
            created_at: time(job.created_at),
            last_updated_at: time(job.updated_at),
            ttl_ms: milliseconds(job.ttl),
            poll_interval_ms: POLL_INTERVAL,
            input_requests: BTreeMap::new(),
            result: None,
            error: None,
        }
    }

    /// With all that there is to know.
    pub(in crate::engine) fn detailed(job: &'a Job) -> Self {
        let mut task = Self::handle(job);
        task.input_requests = input_requests(&job.questions);
        match task.status {
            "completed" | "failed" => match outcome(job) {
                JobOutcome::Result { result, .. } => task.result = Some(result),
                JobOutcome::Error(error) => task.error = Some(error),
            },
            _ => {}
        }
        task
    }

    /// What a follower tells again only when it changes.
    fn state(&self) -> TaskState {
        let message = self.status_message.map(str::to_owned);
        (self.status, message, self.input_requests.keys().cloned().collect())
    }
}

/// A result is a result here, also one that says that the tool failed.
fn modern_status(job: &Job) -> &'static str {
    match (job.status, &job.outcome) {
        (JobStatus::Queued | JobStatus::Running, _) => "working",
        (JobStatus::InputRequired, _) => "input_required",
        (JobStatus::Cancelled, _) => "cancelled",
        (JobStatus::Completed | JobStatus::Failed, Some(JobOutcome::Result { .. })) => "completed",
        (JobStatus::Completed | JobStatus::Failed, _) => "failed",
    }
}

/// A method of the extension.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum TaskMethod {
    Get,
    Update,
    Cancel,
}

impl TaskMethod {
    pub(in crate::engine) fn parse(name: &str) -> Option<Self> {
        [Self::Get, Self::Update, Self::Cancel].into_iter().find(|it| it.name() == name)
    }

    pub(in crate::engine) fn name(self) -> &'static str {
        match self {
            Self::Get => "tasks/get",
            Self::Update => "tasks/update",
            Self::Cancel => "tasks/cancel",
        }
    }
}

/// Serves a method of the extension. Gives the job to show, or nothing but an acknowledgment.
pub(in crate::engine) async fn modern(
    engine: &Inner,
    caller: &Caller,
    method: TaskMethod,
    params: Option<&RawValue>,
) -> Result<Option<Job>, TaskError> {
    let job = find(engine, caller, method.name(), params).await?;
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let jobs = access.of(caller);
    match method {
        TaskMethod::Get => Ok(Some(job)),
        TaskMethod::Update => {
            update(&jobs, &job, params).await?;
            Ok(None)
        }
        TaskMethod::Cancel => {
            if let Some(job) = jobs.cancel(&job.id).await? {
                announce(engine, &job).await?;
            }
            Ok(None)
        }
    }
}

async fn update(
    jobs: &CallerJobs<'_>,
    job: &Job,
    params: Option<&RawValue>,
) -> Result<(), TaskError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        input_responses: BTreeMap<String, Value>,
    }
    let Params { input_responses } = read_params(TaskMethod::Update.name(), params)?;
    if input_responses.len() > MAX_ANSWERS {
        let error = format!("`inputResponses` may have at most {MAX_ANSWERS} entries");
        return Err(RpcError::invalid_params(error).into());
    }
    let answers = checked(job, input_responses)?;
    if !answers.is_empty() {
        jobs.answer(&job.id, answers).await?;
    }
    Ok(())
}

/// The answers to open questions; others are ignored. What answers no question as it should is an
/// error now, not one of the tool later.
pub(in crate::engine) fn checked(
    job: &Job,
    responses: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Answer>, RpcError> {
    let mut answers = BTreeMap::new();
    for (key, response) in responses {
        let Some(question) = job.questions.get(&key) else {
            continue;
        };
        let length = serde_json::to_vec(&response).map_or(0, |json| json.len());
        if length > MAX_ANSWER_BYTES {
            return Err(RpcError::invalid_params(format!(
                "`inputResponses.{key}` has {length} bytes, of at most {MAX_ANSWER_BYTES}"
            )));
        }
        let answer = Answer::Result(response);
        if let Err(problem) = question.check(&answer) {
            return Err(RpcError::invalid_params(format!(
                "`inputResponses.{key}` does not answer its question: {problem}"
            )));
        }
        answers.insert(key, answer);
    }
    Ok(answers)
}

// ------------------------------------------------------------------------------------ 2025-11-25

/// A task as 2025-11-25 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::engine) struct LegacyTask<'a> {
    task_id: &'a JobId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    created_at: String,
    last_updated_at: String,
    ttl: u64,
    poll_interval: u64,
}

impl<'a> LegacyTask<'a> {
    pub(in crate::engine) fn new(job: &'a Job) -> Self {
        Self {
            task_id: &job.id,
            status: legacy_status(job),
            status_message: message(job),
            created_at: time(job.created_at),
            last_updated_at: time(job.updated_at),
            ttl: milliseconds(job.ttl),
            poll_interval: POLL_INTERVAL,
        }
    }
}

/// A result that says that the tool failed is a failure here.
fn legacy_status(job: &Job) -> &'static str {
    match job.status {
        JobStatus::Queued | JobStatus::Running => "working",
        JobStatus::InputRequired => "input_required",
        JobStatus::Cancelled => "cancelled",
        JobStatus::Completed | JobStatus::Failed if job.has_failed() => "failed",
        JobStatus::Completed | JobStatus::Failed => "completed",
    }
}

/// The handle that answers a call.
#[derive(Serialize)]
pub(in crate::engine) struct Created<'a> {
    pub(in crate::engine) task: LegacyTask<'a>,
}

/// A page of `tasks/list`: the tool calls of the user that the token may see, whichever way their
/// results go.
pub(in crate::engine) async fn list(
    engine: &Inner,
    caller: &Caller,
    params: Option<&RawValue>,
) -> Result<Value, TaskError> {
    #[derive(Deserialize)]
    struct Params {
        cursor: Option<String>,
    }
    let Params { cursor } = read_params("tasks/list", params)?;
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let page = access.of(caller).list(cursor.as_deref(), PAGE).await?.ok_or_else(|| {
        RpcError::invalid_params("`cursor` is not one that this server gave; list from the start")
    })?;
    let shown = page.jobs.iter().filter(|it| !matches!(it.origin, Origin::Parent { .. }));
    let tasks: Vec<_> = shown.map(LegacyTask::new).collect();
    let mut result = json!({ "tasks": tasks });
    if let Some(next) = page.next {
        result["nextCursor"] = next.into();
    }
    Ok(result)
}

/// `tasks/cancel`: cancelled before it is answered, and refused if the task has ended.
pub(in crate::engine) async fn cancel(
    engine: &Inner,
    caller: &Caller,
    job: &Job,
) -> Result<Job, TaskError> {
    let ended = || RpcError::invalid_params("the task has ended already");
    if job.status.is_final() {
        return Err(ended().into());
    }
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let job = access.of(caller).cancel(&job.id).await?.ok_or_else(unknown)?;
    if job.status != JobStatus::Cancelled {
        return Err(ended().into());
    }
    // It is cancelled, whether or not its stream can be told now: a worker tells it later.
    if let Err(error) = announce(engine, &job).await {
        tracing::warn!(
            dependency = error.dependency(), error = %error,
            "The end of a job could not be told: {error}"
        );
    }
    Ok(job)
}

/// What 2025-11-25 sessions are told in `initialize`.
pub(in crate::engine) fn legacy_capability() -> Value {
    json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } })
}

// ---------------------------------------------------------------------------------- notifications

/// How many tasks a listen stream looks at together when it begins.
const AT_ONCE: usize = 8;

/// The tasks that one listen stream follows (2026-07-28).
pub(in crate::engine) struct FollowedTasks {
    tasks: Vec<Followed>,
}

struct Followed {
    id: JobId,
    signals: Subscription,
    /// Whether it may have changed since somebody looked.
    changed: bool,
    /// What the client was told last.
    told: Option<TaskState>,
}

/// What a client is told again only when it changes.
type TaskState = (&'static str, Option<String>, Vec<String>);

#[derive(Serialize)]
struct TaskNotification<'a> {
    #[serde(flatten)]
    task: ModernTask<'a>,
    #[serde(rename = "_meta")]
    meta: SubscriptionMeta<'a>,
}

impl Followed {
    /// Nothing if the caller may not see it.
    async fn start(
        engine: &Inner,
        caller: &Caller,
        id: &JobId,
    ) -> Result<Option<Self>, StoreError> {
        let Some(access) = &engine.job_access else {
            return Ok(None);
        };
        // First listen, then look: whatever changes in between is heard.
        let signals = engine.stores.bus.subscribe(Topic::Job(id.clone())).await?;
        let seen = match access.of(caller).get(id).await {
            Ok(job) => job.is_some(),
            Err(JobAccessError::MissingScope(_)) => false,
            Err(JobAccessError::Unavailable(error)) => return Err(error),
        };
        Ok(seen.then(|| Self { id: id.clone(), signals, changed: true, told: None }))
    }
}

impl FollowedTasks {
    /// Begins to listen to those that the caller may see.
    pub(in crate::engine) async fn start(
        engine: &Inner,
        caller: &Caller,
        ids: &BTreeSet<JobId>,
    ) -> Result<Self, StoreError> {
        // No closure: the compiler could not tell that the future of the request may move.
        let mut starts = Vec::with_capacity(ids.len());
        for id in ids {
            starts.push(Followed::start(engine, caller, id));
        }
        let tasks: Vec<_> = stream::iter(starts).buffered(AT_ONCE).try_collect().await?;
        Ok(Self { tasks: tasks.into_iter().flatten().collect() })
    }

    pub(in crate::engine) fn ids(&self) -> BTreeSet<JobId> {
        self.tasks.iter().map(|it| it.id.clone()).collect()
    }

    pub(in crate::engine) fn look_again(&mut self) {
        for followed in &mut self.tasks {
            followed.changed = true;
        }
    }

    /// Waits until something may have changed. Safe to cancel.
    pub(in crate::engine) async fn changed(&mut self) {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        if self.tasks.iter().any(|it| it.changed) {
            return;
        }
        let signals = self.tasks.iter_mut().map(|it| Box::pin(it.signals.recv()));
        let index = select_all(signals).await.1;
        self.tasks[index].changed = true;
    }

    /// What there is to tell.
    pub(in crate::engine) async fn news(
        &mut self,
        engine: &Inner,
        caller: &Caller,
        subscription: &RequestId,
    ) -> Vec<String> {
        let mut news = Vec::new();
        for followed in self.tasks.iter_mut().filter(|it| it.changed) {
            followed.changed = false;
            let Some(jobs) = engine.jobs() else {
                break;
            };
            let job = match jobs.get(&caller.user, &followed.id).await {
                Ok(Some(job)) => job,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), error = %error,
                        "A task cannot be looked at: {error}"
                    );
                    continue;
                }
            };
            let task = ModernTask::detailed(&job);
            let state = Some(task.state());
            if followed.told != state {
                followed.told = state;
                let params = TaskNotification { task, meta: SubscriptionMeta { subscription } };
                news.push(rpc::encode_notification("notifications/tasks", Some(&params)));
            }
        }
        news
    }
}
