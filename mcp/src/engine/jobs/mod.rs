//! Calls that are jobs: run by a worker, told to the client wherever it is.
//!
//! The worker writes to the client itself: to the log of a legacy stream, or to the bus for a modern
//! call that is open. What it may have to do twice, because it died in between, is done once: a
//! request is answered once, and marked messages come once and in order.

mod attempt;

use std::time::Duration;

pub(super) use self::attempt::run;
use super::Inner;
use crate::{
    job::{Job, JobId, JobOutcome, JobStatus, Origin},
    question::Question,
    rpc::{self, RequestId, RpcError},
    store::{Mark, Signal, StoreError, Writer},
    types::CallToolResult,
    version::ProtocolVersion,
};

/// How long a request that a job answers is left alone without a sign of life of the job. Long,
/// because a job may wait in a queue; whoever follows the stream looks after the job much sooner.
const JOB_LEASE: Duration = Duration::from_hours(1);

/// The mark of progress of a call: a worker that has lost its job may still write.
fn progress_mark(done: f64) -> Mark {
    Mark { name: "progress".to_owned(), value: done }
}

/// Tells the client of an end or of questions.
pub(super) async fn announce(engine: &Inner, job: &Job) -> Result<(), StoreError> {
    if let Origin::Stream { writer } = &job.origin {
        if job.status.is_final() {
            let answer = rpc::into_text(answer(&writer.request, job));
            engine.stores.log.finish(writer, Some(&answer)).await?;
        } else {
            ask(engine, writer, job).await?;
        }
    }
    engine.stores.bus.publish(Signal::JobChanged { job: job.id.clone() }).await
}

/// The answer to the call that a job is, once it has ended.
fn answer(request: &RequestId, job: &Job) -> Vec<u8> {
    match (&job.outcome, job.status) {
        (Some(JobOutcome::Result { result, .. }), _) => rpc::encode_result(request, result),
        (Some(JobOutcome::Error(error)), _) => rpc::encode_error(Some(request), error),
        (None, JobStatus::Cancelled) => rpc::encode_result(request, &cancelled()),
        (None, _) => rpc::encode_error(Some(request), &RpcError::internal()),
    }
}

fn cancelled() -> CallToolResult {
    CallToolResult::error("This was cancelled before it had ended.")
}

/// Puts the open questions of a job on a legacy stream, each once.
async fn ask(engine: &Inner, writer: &Writer, job: &Job) -> Result<(), StoreError> {
    for (name, question) in &job.questions {
        let id = question_id(&job.id, name);
        let message = encode_question(job.version, &id, question);
        let once = Mark::once(format!("asked:{name}"));
        engine.stores.log.write_for_job(writer, Some(&once), &message).await?;
    }
    Ok(())
}

/// A question as a request to a legacy client.
fn encode_question(version: ProtocolVersion, id: &str, question: &Question) -> String {
    let params = question.params(version, Some(id));
    rpc::encode_request(id, question.method(), params.as_ref())
}

/// The id of our request to the client: says where the answer belongs, wherever it arrives. It need
/// not be kept, and asking twice is asking once. Not to be guessed, since no job id is.
fn question_id(job: &JobId, key: &str) -> String {
    format!("{job}.{key}")
}
