//! Jobs of sessions: the answer goes to the log of the call's stream, written by whoever comes first
//! of the worker that ended the job and the socket that follows the stream.

use super::stream::{JOB_LEASE, answer, ask, cancel as cancel_job, parse_question_id};
use crate::{
    caller::{Caller, UserId},
    caller_jobs::JobAccessError,
    engine::{
        Inner,
        retry::{WRITE_TIMEOUT, retry_for},
    },
    job::{Job, JobId, Origin},
    question::Answer,
    rpc::{self, RequestId, RpcError, codes},
    store::{SessionId, StoreError, Writer},
};

/// What a follower does about a request that a job answers: tells what there is to tell, in case
/// nobody did, and keeps the request open otherwise. Gives the job, if it is there.
pub(in crate::engine) async fn sync_request(
    engine: &Inner,
    user: &UserId,
    writer: &Writer,
    id: &JobId,
) -> Result<Option<Job>, StoreError> {
    let Some(jobs) = engine.jobs() else {
        return Ok(None);
    };
    let Some(job) = jobs.get(user, id).await? else {
        return Ok(None);
    };
    let own = matches!(&job.origin, Origin::Stream { writer: of } if of == writer);
    let related = (!own).then_some(&job.id);
    if job.status.is_final() {
        let answer = rpc::into_text(answer(&writer.request, &job, related));
        engine.stores.log.finish(writer, Some(&answer)).await?;
    } else {
        ask(engine, writer, &job, related).await?;
        engine.stores.log.renew(writer, JOB_LEASE).await?;
    }
    Ok(Some(job))
}

/// Answers a request whose job is not there: it was never kept, or its time is over.
pub(in crate::engine) async fn fail_request(
    engine: &Inner,
    writer: &Writer,
) -> Result<(), StoreError> {
    let error = RpcError::new(
        codes::INTERNAL_ERROR,
        "the call was lost before its job began, or its result was kept no longer; call again",
    );
    let answer = rpc::into_text(rpc::encode_error(Some(&writer.request), &error));
    engine.stores.log.finish(writer, Some(&answer)).await
}

/// The client wants no answer to a request that a job answers. The job is cancelled if it is the
/// request's own; `tasks/result` only stops waiting. If it fails, nothing was done: the client may try
/// again.
pub(in crate::engine) async fn cancel(
    engine: &Inner,
    user: &UserId,
    session: &SessionId,
    request: &RequestId,
) -> Result<(), StoreError> {
    let (Some(jobs), Some((writer, id))) =
        (engine.jobs(), engine.stores.log.job_of(session, request).await?)
    else {
        return Ok(());
    };
    let own = |job: &Job| matches!(&job.origin, Origin::Stream { writer: of } if *of == writer);
    let found = retry_for(WRITE_TIMEOUT, || jobs.get(user, &id)).await?;
    // First the request, then the job: its end is no answer to this one.
    engine.stores.log.finish(&writer, None).await?;
    if found.as_ref().is_some_and(own) {
        cancel_job(engine, user, &id).await;
    }
    Ok(())
}

/// Gives a job the answer to one of its questions. False if the question is none of a job's.
pub(in crate::engine) async fn respond(
    engine: &Inner,
    caller: &Caller,
    session: &SessionId,
    question: &str,
    answer: &Answer,
) -> Result<bool, JobAccessError> {
    let (Some(access), Some((id, key))) = (&engine.job_access, parse_question_id(question)) else {
        return Ok(false);
    };
    let jobs = access.of(caller);
    let Some(job) = jobs.get(&id).await? else {
        return Ok(true);
    };
    let asked_here = match &job.origin {
        Origin::Stream { writer } => writer.key.session == *session,
        Origin::Task => true,
        Origin::Call | Origin::Parent { .. } => false,
    };
    if asked_here && job.questions.contains_key(key) {
        let answers = [(key.to_owned(), answer.clone())].into();
        jobs.answer(&id, answers).await?;
    }
    Ok(true)
}
