//! Running a call again: after its questions were answered, or after its instance was lost.
//!
//! A call whose instance was lost is handled as follows:
//!
//! - It waited for answers: unaffected. It was not running, and the instance that receives the last
//!   answer resumes it.
//! - It only reads, or is marked as idempotent: it is run again from the start by the instance that
//!   serves its stream, with the rights of the request that opened the stream. Earlier events are
//!   not sent again, and progress continues from the last value.
//! - Its questions were answered, and the run that was to follow has not started: it is run.
//! - Otherwise it may or may not have taken effect, and the client receives an error that says so.
//!
//! This happens only after the lease of the run has lapsed. An atomic operation of the store
//! decides which instance takes the call over, and the store rejects later writes of the lost
//! instance.

use std::sync::Arc;

use serde::Deserialize;
use tracing::Instrument as _;

use super::{response::LegacyResponse, run::LegacyRun};
use crate::{
    caller::Caller,
    engine::{
        Inner,
        request::RequestedOperation,
        retry::{LEASE, WRITE_TIMEOUT, retry_for},
    },
    json,
    rpc::{self, RequestId, RpcError, codes},
    store::{Orphan, Session, StoreError, StoredCall, StreamKey, Writer},
};

/// How often a call may be lost with its instance and run again; the next time it fails, because the
/// call itself may be the cause.
const MAX_LOSSES: u64 = 3;

/// The page size when reading events to find the last progress.
const READ_AHEAD: usize = 256;

/// Runs a call again after its questions were answered.
pub(super) async fn resume(
    engine: &Arc<Inner>,
    caller: Caller,
    session: &Session,
    writer: Writer,
    call: StoredCall,
) {
    let requested = RequestedOperation::from_stored(engine, session, &call);
    run(engine, caller, session, writer, call, requested).await;
}

/// Takes over the calls of a stream that were lost with their instance: runs them again, or answers
/// them with an error.
pub(super) async fn take_over(
    engine: &Arc<Inner>,
    caller: &Caller,
    key: &StreamKey,
) -> Result<(), StoreError> {
    let orphans = engine.stores.log.take_over(key, LEASE).await?;
    if orphans.is_empty() {
        return Ok(());
    }
    let taken_over = orphans.len();
    tracing::debug!(target: crate::COUNTED, taken_over, "Taking over lost calls");
    let session = engine.stores.sessions.load(&caller.user, &key.session).await?;
    for orphan in orphans {
        rerun_or_fail(engine, caller, session.as_ref(), orphan).await?;
    }
    Ok(())
}

/// Runs a lost call again if this is allowed, otherwise answers it with an error.
async fn rerun_or_fail(
    engine: &Arc<Inner>,
    caller: &Caller,
    session: Option<&Session>,
    orphan: Orphan,
) -> Result<(), StoreError> {
    let Orphan { writer, lost, call, started } = orphan;
    if let Some(session) = session
        && let Some(mut call) = call
        && lost <= MAX_LOSSES
    {
        let requested = RequestedOperation::from_stored(engine, session, &call);
        let is_repeatable =
            |requested: &RequestedOperation| requested.operation.is_repeatable(engine);
        if !started || requested.as_ref().is_none_or(is_repeatable) {
            tracing::info!(lost, "A call was lost with its instance; running it again");
            if let Some(token) =
                requested.as_ref().and_then(|requested| requested.progress_token.as_ref())
            {
                call.progress = last_progress(engine, &writer.key, token).await?;
            }
            run(engine, caller.clone(), session, writer, call, requested).await;
            return Ok(());
        }
    }
    tracing::warn!(lost, "A call was lost with its instance; answering it with an error");
    let error = RpcError::new(
        codes::INTERNAL_ERROR,
        "the call was lost: its server instance died, or its question was not answered in time. It \
         may or may not have taken effect; check, then call again",
    );
    let answer = rpc::encode_error(Some(&writer.request), &error);
    let response = LegacyResponse::resumed(Arc::clone(engine), caller.clone(), writer.key.clone());
    response.finish(&writer, Some(answer)).await;
    Ok(())
}

/// Runs a call with the rights of the current request, whose token may have fewer scopes than that
/// of the original request.
async fn run(
    engine: &Arc<Inner>,
    caller: Caller,
    session: &Session,
    writer: Writer,
    call: StoredCall,
    requested: Option<RequestedOperation>,
) {
    let response = LegacyResponse::resumed(Arc::clone(engine), caller.clone(), writer.key.clone());
    let error = match &requested {
        Some(requested) if caller.may(requested.operation.scope()) => None,
        Some(requested) => Some(RpcError::invalid_request(format!(
            "the access token that would resume this call lacks the scope `{}`",
            requested.operation.scope()
        ))),
        // Another version of this server received the call, and this one does not have its tool.
        None => Some(RpcError::invalid_params(
            "this server no longer has the tool, prompt or resource of this call; list them again",
        )),
    };
    if let Some(error) = error {
        let answer = rpc::encode_error(Some(&writer.request), &error);
        response.finish(&writer, Some(answer)).await;
        return;
    }
    let Some(requested) = requested else {
        return;
    };
    let run = LegacyRun {
        engine: Arc::clone(engine),
        response,
        session: Arc::new(session.clone()),
        caller,
        writer,
        requested: Arc::new(requested),
        answers: call.answers,
        asked_at: call.asked_at,
        progress: call.progress,
    };
    let starting = async move {
        // From here on the call may take effect.
        let log = &run.engine.stores.log;
        match retry_for(WRITE_TIMEOUT, || log.renew(&run.writer, LEASE)).await {
            Ok(true) => run.run().await,
            Ok(false) => {} // another run is current, or the call was cancelled
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not start a call; it is taken over when its lease lapses"
                );
            }
        }
    };
    engine.spawn(starting.in_current_span());
}

/// Finds the last progress in the stream of a call, since progress must increase.
async fn last_progress(
    engine: &Inner,
    key: &StreamKey,
    token: &RequestId,
) -> Result<Option<f64>, StoreError> {
    #[derive(Deserialize)]
    struct Message {
        params: Option<Params>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        progress_token: Option<RequestId>,
        progress: Option<f64>,
    }
    let mut last = None;
    let mut after = 0;
    while let Some(page) = engine.stores.log.read(key, after, READ_AHEAD).await? {
        let Some((number, _)) = page.events.last() else {
            break;
        };
        after = *number;
        for (_, message) in &page.events {
            let message: Option<Message> = json::from_str(message).ok();
            let params = message.and_then(|message| message.params);
            if let Some(Params { progress_token: Some(of), progress: Some(progress) }) = params
                && of == *token
            {
                last = Some(progress);
            }
        }
    }
    Ok(last)
}
