//! Requests of legacy sessions that jobs answer. The response is appended to the call's stream by
//! the worker that ended the job or by the reader of the stream, whichever is first.

use super::stream::{JOB_LEASE, answer, ask, cancel as cancel_job, parse_question_id};
use crate::{
    caller::{Caller, UserId},
    caller_jobs::JobAccessError,
    engine::{
        Inner,
        retry::{WRITE_TIMEOUT, retry_for},
    },
    job::{Job, JobId, Origin},
    question::ClientAnswer,
    rpc::{self, RequestId, RpcError, codes},
    store::{SessionId, StoreError, Writer},
};

/// Updates a request that a job answers: appends the response or the questions if they are missing,
/// and otherwise renews the lease. Returns the job. `Ok(None)`: the job does not exist.
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

/// Answers a request whose job does not exist: it was not created, or has expired.
pub(in crate::engine) async fn fail_request(
    engine: &Inner,
    writer: &Writer,
) -> Result<(), StoreError> {
    let error = RpcError::new(
        codes::INTERNAL_ERROR,
        "the call was lost before its job was created, or its result has expired; call again",
    );
    let answer = rpc::into_text(rpc::encode_error(Some(&writer.request), &error));
    engine.stores.log.finish(writer, Some(&answer)).await
}

/// Cancels a request that a job answers. If the request created the job, the job is cancelled; a
/// `tasks/result` request only stops waiting. After an error nothing has changed, and the client
/// may retry.
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
    // The request first, so that the end of the job does not become its response.
    engine.stores.log.finish(&writer, None).await?;
    if found.as_ref().is_some_and(own) {
        cancel_job(engine, user, &id).await;
    }
    Ok(())
}

/// Delivers a client's response to a question of a job. `false`: the id is not a question of a job.
pub(in crate::engine) async fn respond(
    engine: &Inner,
    caller: &Caller,
    session: &SessionId,
    question: &str,
    answer: &ClientAnswer,
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
