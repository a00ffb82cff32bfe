//! Messages of jobs on the streams of legacy sessions.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::messages::outcome;
use crate::{
    caller::UserId,
    engine::{
        Inner,
        retry::{WRITE_TIMEOUT, retry_for},
    },
    job::{Job, JobId, JobOutcome, Origin},
    json,
    question::Question,
    rpc::{self, RequestId, RpcError},
    store::{Mark, StoreError, Writer},
    version::ProtocolVersion,
};

/// The `_meta` key that relates a message to a task (2025-11-25).
pub(in crate::engine) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The lease of a request that a job answers. Long, because a job may wait in the queue; a reader
/// of the stream checks the job much more often.
pub(in crate::engine) const JOB_LEASE: Duration = Duration::from_hours(1);

/// The lease of a request between its hand-over and the creation of its job: longer than the
/// retries of the creation plus the database timeouts. If the job does not exist when it lapses,
/// the instance has died, and the request fails.
pub(in crate::engine) const START_LEASE: Duration = Duration::from_secs(25);

/// The mark of a progress message, so that a worker that has lost its job cannot send old progress.
pub(super) fn progress_mark(done: f64) -> Mark {
    Mark { name: "progress".to_owned(), value: done }
}

/// Appends the outcome or the questions of a job to the stream of its call, if it has one. Other
/// clients are notified by the signal that [`crate::job::Jobs`] publishes with every change.
pub(in crate::engine) async fn notify_client(engine: &Inner, job: &Job) -> Result<(), StoreError> {
    if let Origin::Stream { writer } = &job.origin {
        if job.status.is_final() {
            let answer = rpc::into_text(answer(&writer.request, job, None));
            engine.stores.log.finish(writer, Some(&answer)).await?;
        } else {
            ask(engine, writer, job, None).await?;
        }
    }
    Ok(())
}

/// Cancels a job whose client has disconnected or cancelled the call. Failures are only logged: no
/// caller waits for the result.
pub(in crate::engine) async fn cancel(engine: &Inner, user: &UserId, id: &JobId) {
    let Some(jobs) = engine.jobs() else {
        return;
    };
    let cancelled = match retry_for(WRITE_TIMEOUT, || jobs.cancel(user, id)).await {
        Ok(Some(job)) => notify_client(engine, &job).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = cancelled {
        tracing::warn!(
            dependency = error.dependency(), %error, job = %id,
            "Could not cancel a job; it continues"
        );
    }
}

/// Encodes the response of a job that has ended, to its call or to `tasks/result`. `related`: the
/// task id, if the client has one.
pub(in crate::engine) fn answer(
    request: &RequestId,
    job: &Job,
    related: Option<&JobId>,
) -> Vec<u8> {
    match (outcome(job), related) {
        (JobOutcome::Result { result, .. }, None) => rpc::encode_result(request, &result),
        (JobOutcome::Result { result, .. }, Some(task)) => {
            #[derive(Serialize)]
            struct Related {
                #[serde(flatten)]
                result: Map<String, Value>,
            }
            match json::from_str::<Map<String, Value>>(result.get()) {
                Ok(mut result) => {
                    let meta = serde_json::json!({ RELATED: { "taskId": task } });
                    result.insert("_meta".to_owned(), meta);
                    rpc::encode_result(request, &Related { result })
                }
                Err(_no_object) => rpc::encode_error(Some(request), &RpcError::internal()),
            }
        }
        (JobOutcome::Error(error), _) => rpc::encode_error(Some(request), &error),
    }
}

/// Appends the open questions of a job to a legacy stream, each at most once. `related`: the task
/// id, if the client has one.
pub(super) async fn ask(
    engine: &Inner,
    writer: &Writer,
    job: &Job,
    related: Option<&JobId>,
) -> Result<(), StoreError> {
    for (key, question) in &job.questions {
        let id = question_id(&job.id, key);
        let message = encode_question(job.version, &id, question, related);
        let once = Mark::once(format!("asked:{key}"));
        engine.stores.log.write_for_job(writer, Some(&once), &message).await?;
    }
    Ok(())
}

/// Encodes a question as a request to a legacy client.
fn encode_question(
    version: ProtocolVersion,
    id: &str,
    question: &Question,
    related: Option<&JobId>,
) -> String {
    let mut params = question.params(version, Some(id));
    if let Some(task) = related {
        let params = params.get_or_insert_with(|| serde_json::json!({}));
        params["_meta"] = serde_json::json!({ RELATED: { "taskId": task } });
    }
    rpc::encode_request(id, question.method(), params.as_ref())
}

/// The JSON-RPC id of a question. It contains the job id and the tool's key, so that any instance
/// can assign the response without stored state, and a repeated question has the same id.
/// Unguessable, because job ids are.
fn question_id(job: &JobId, key: &str) -> String {
    format!("{job}.{key}")
}

/// Splits the id of a question into job id and the tool's key. `None`: not a question of a job.
pub(super) fn parse_question_id(id: &str) -> Option<(JobId, &str)> {
    let (job, key) = id.split_once('.')?;
    Some((JobId::parse(job)?, key))
}
