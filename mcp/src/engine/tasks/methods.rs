//! The methods about tasks, of both eras.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{stream::announce, wire::LegacyTask};
use crate::{
    caller::Caller,
    caller_jobs::{CallerJobs, JobAccessError},
    engine::{Inner, request::read_params},
    job::{Job, JobId, JobStatus, Origin},
    question::{Answer, MAX_ANSWER_BYTES},
    rpc::RpcError,
    store::StoreError,
};

/// How many tasks a page of `tasks/list` has.
const PAGE: usize = 50;

/// How many answers one `tasks/update` may bring.
const MAX_ANSWERS: usize = 64;

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
