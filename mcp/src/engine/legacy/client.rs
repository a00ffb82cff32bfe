//! Notifications and responses from the client.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ActiveSession, rerun};
use crate::{
    caller::Caller,
    caller_jobs::JobAccessError,
    engine::{
        Inner,
        request::read_params,
        retry::{LEASE, WRITE_TIMEOUT, retry_for},
        tasks,
    },
    json,
    params::Params,
    question::{ClientAnswer, MAX_ANSWER_BYTES},
    reply::Reply,
    rpc::{RequestId, RpcError},
    store::{Answered, Signal, StoreError},
};

/// Handles a notification. Returns its method. `Ok(None)`: unknown, ignored. After an error the
/// client must retry.
pub(super) async fn notification(
    engine: &Arc<Inner>,
    active: &ActiveSession,
    method: &str,
    params: &Params<'_>,
) -> Result<Option<&'static str>, StoreError> {
    Ok(match method {
        "notifications/cancelled" => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct CancelledParams {
                request_id: RequestId,
            }
            if let Ok(CancelledParams { request_id }) = read_params(method, params) {
                cancel(engine, active, request_id).await?;
            }
            Some("notifications/cancelled")
        }
        "notifications/initialized" => Some("notifications/initialized"),
        "notifications/progress" => Some("notifications/progress"),
        "notifications/roots/list_changed" => Some("notifications/roots/list_changed"),
        _ => None,
    })
}

/// Cancels a call on whichever instance it runs, and removes it if it waits for answers.
async fn cancel(
    engine: &Arc<Inner>,
    active: &ActiveSession,
    request: RequestId,
) -> Result<(), StoreError> {
    let session = &active.id;
    let user = &active.session.user;
    // The log first: from then on the questions of the call cannot be stored any more, not even by a
    // repeated write whose first answer was lost. The signal below stops the call at once; the log
    // stops it at its next write if the signal is lost.
    let log = &engine.stores.log;
    if let Err(error) = retry_for(WRITE_TIMEOUT, || log.cancel(session, &request)).await {
        tracing::warn!(
            dependency = error.dependency(), %error,
            "Could not cancel a running call in the log; only the signal stops it"
        );
    }
    match engine.stores.questions.withdraw(session, &request).await {
        Ok(Some(writer)) => {
            tracing::debug!(target: crate::COUNTED, withdrawn = 1_u64, "Withdrew the questions of a call");
            // Changes nothing unless the log could not be changed above.
            if let Err(error) = log.finish(&writer, None).await {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not end the stream of a cancelled call; it expires"
                );
            }
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not withdraw the questions of a cancelled call; they expire"
            );
        }
    }
    // After the log, which keeps a request that a job answers: a call that became a job meanwhile
    // is found here, and one that is cancelled in the log cannot become a job any more.
    tasks::legacy::cancel(engine, user, session, &request).await?;
    let request = Some(request);
    tracing::debug!(target: crate::COUNTED, cancelled = 1_u64, "Cancelling a call for its client");
    engine.publish(Signal::Cancelled { session: session.clone(), request }).await;
    Ok(())
}

/// Handles the client's response to a question. Repeated or late responses, and those of another
/// session, have no effect.
pub(super) async fn response(
    engine: &Arc<Inner>,
    caller: Caller,
    active: &ActiveSession,
    id: Option<RequestId>,
    outcome: Result<&RawValue, &RawValue>,
) -> Reply {
    let Some(RequestId::String(question)) = id else {
        return Reply::accepted();
    };
    let (Ok(sent) | Err(sent)) = outcome;
    let length = sent.get().len();
    if length > MAX_ANSWER_BYTES {
        let error = RpcError::invalid_request(format!(
            "the answer has {length} bytes; the maximum is {MAX_ANSWER_BYTES}"
        ));
        return Reply::bad_request(None, &error);
    }
    let parsed = match outcome {
        Ok(result) => json::from_str(result.get()).map(ClientAnswer::Result),
        Err(error) => json::from_str(error.get()).map(ClientAnswer::Error),
    };
    let answer = match parsed {
        Ok(answer) => answer,
        Err(error) => {
            let error = RpcError::invalid_request(format!("the answer cannot be read: {error}"));
            return Reply::bad_request(None, &error);
        }
    };
    match tasks::legacy::respond(engine, &caller, &active.id, &question, &answer).await {
        Ok(true) => return Reply::accepted(),
        Ok(false) => {}
        Err(JobAccessError::MissingScope(scope)) => return Reply::insufficient_scope(None, scope),
        Err(JobAccessError::Unavailable(error)) => return Reply::store_unavailable(None, &error),
    }
    let answered = match engine.stores.questions.answer(&active.id, &question, answer, LEASE).await
    {
        Ok(answered) => answered,
        Err(error) => return Reply::store_unavailable(None, &error),
    };
    if matches!(answered, Answered::Unknown) {
        tracing::debug!(target: crate::COUNTED, late = 1_u64, "Ignored an answer to no open question");
    } else {
        tracing::debug!(target: crate::COUNTED, answered = 1_u64, "Received an answer of a client");
    }
    if let Answered::Complete(writer, call) = answered {
        rerun::resume(engine, caller, &active.session, writer, call).await;
    }
    Reply::accepted()
}
