//! What jobs write to the streams of legacy sessions.

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

/// Ties a message to a task (2025-11-25).
pub(in crate::engine) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// How long a request that a job answers is left alone without a sign of life of the job. Long,
/// because a job may wait in a queue; whoever follows the stream looks after the job much sooner.
pub(in crate::engine) const JOB_LEASE: Duration = Duration::from_hours(1);

/// How long a job may take to be kept, once its stream is there: more than the database is given for a
/// connection and a statement, after it was offered for as long as that is done. If it is not there
/// then, its instance has died before, and the client is told so.
pub(in crate::engine) const START_LEASE: Duration = Duration::from_secs(25);

/// The mark of progress of a call: a worker that has lost its job may still write.
pub(super) fn progress_mark(done: f64) -> Mark {
    Mark { name: "progress".to_owned(), value: done }
}

/// Tells a client of an end or of questions, if its call is a stream. Others hear of it by the signal
/// that [`crate::job::Jobs`] sends with every change.
pub(in crate::engine) async fn announce(engine: &Inner, job: &Job) -> Result<(), StoreError> {
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

/// Cancels a job whose client wants no answer, and so will not ask again whether that was done.
pub(in crate::engine) async fn cancel(engine: &Inner, user: &UserId, id: &JobId) {
    let Some(jobs) = engine.jobs() else {
        return;
    };
    let cancelled = match retry_for(WRITE_TIMEOUT, || jobs.cancel(user, id)).await {
        Ok(Some(job)) => announce(engine, &job).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = cancelled {
        tracing::warn!(
            dependency = error.dependency(), error = %error, job = %id,
            "A job could not be cancelled: {error}"
        );
    }
}

/// The answer of a job that has ended, to its call or to `tasks/result`. `related`: the task, if the
/// client knows one.
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

/// Puts the open questions of a job on a legacy stream, each once. `related`: the task that they
/// belong to, if the client knows one.
pub(super) async fn ask(
    engine: &Inner,
    writer: &Writer,
    job: &Job,
    related: Option<&JobId>,
) -> Result<(), StoreError> {
    for (name, question) in &job.questions {
        let id = question_id(&job.id, name);
        let message = encode_question(job.version, &id, question, related);
        let once = Mark::once(format!("asked:{name}"));
        engine.stores.log.write_for_job(writer, Some(&once), &message).await?;
    }
    Ok(())
}

/// A question as a request to a legacy client.
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

/// The id of our request to the client: says where the answer belongs, wherever it arrives. It need
/// not be kept, and asking twice is asking once. Not to be guessed, since no job id is.
fn question_id(job: &JobId, key: &str) -> String {
    format!("{job}.{key}")
}

/// The job and the tool's own key that a question was asked for.
pub(super) fn parse_question_id(id: &str) -> Option<(JobId, &str)> {
    let (job, key) = id.split_once('.')?;
    Some((JobId::parse(job)?, key))
}
