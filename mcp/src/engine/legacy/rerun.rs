//! Running a call once more: because its questions are answered, or because its instance was lost.
//!
//! What a call that died with its instance means for its client:
//!
//! - It waited for an answer: nothing. It was not running, and whoever gets the answer goes on.
//! - It only reads, or is marked as idempotent: it is run again from the start, by the instance at
//!   which the client comes back (or where it never left), under the rights of that request. Events
//!   that the client has seen do not come again, and progress goes on from where it was.
//! - Anything else may or may not have taken effect. The client is told so, instead of silence.
//!
//! Nobody does either before the lease of the run has lapsed, one atomic step decides who does, and
//! what the lost instance still writes, if it was only slow, is dropped by the store.

use std::sync::Arc;

use serde::Deserialize;
use tracing::Instrument as _;

use super::{response::LegacyResponse, run::LegacyRun};
use crate::{
    caller::Caller,
    engine::{Inner, request::RequestedOperation, retry::LEASE},
    json,
    rpc::{self, RequestId, RpcError, codes},
    store::{Orphan, Session, StoreError, StoredCall, StreamKey, Writer},
};

/// How often a call may lose its instance before it is given up: it could be the call that kills.
const MAX_LOSSES: u64 = 3;

/// How many events are read at once in search of the last progress.
const READ_AHEAD: usize = 256;

/// Runs a call from the start, now that its questions are answered.
pub(super) async fn go_on(
    engine: &Arc<Inner>,
    caller: Caller,
    session: &Session,
    writer: Writer,
    call: StoredCall,
) {
    let requested = RequestedOperation::from_stored(engine, session.version, &call);
    run(engine, caller, session, writer, call, requested).await;
}

/// Takes over the calls of a stream that were lost with their instance: runs them again, or says
/// that they are lost.
pub(in crate::engine) async fn take_over(
    engine: &Arc<Inner>,
    caller: &Caller,
    key: &StreamKey,
) -> Result<(), StoreError> {
    let orphans = engine.stores.log.take_over(key, LEASE).await?;
    if orphans.is_empty() {
        return Ok(());
    }
    let session = engine.stores.sessions.load(&caller.user, &key.session).await?;
    for orphan in orphans {
        settle(engine, caller, session.as_ref(), orphan).await?;
    }
    Ok(())
}

/// Runs a lost call again if it may be, or says that it is lost.
async fn settle(
    engine: &Arc<Inner>,
    caller: &Caller,
    session: Option<&Session>,
    orphan: Orphan,
) -> Result<(), StoreError> {
    let Orphan { writer, lost, call } = orphan;
    if let Some(session) = session
        && let Some(mut call) = call
        && lost <= MAX_LOSSES
    {
        let requested = RequestedOperation::from_stored(engine, session.version, &call);
        if requested.as_ref().is_none_or(|it| it.operation.is_repeatable(engine)) {
            tracing::info!(lost, "A call was lost with its instance and is run again");
            if let Some(token) = requested.as_ref().and_then(|it| it.progress_token.as_ref()) {
                call.progress = last_progress(engine, &writer.key, token).await?;
            }
            run(engine, caller.clone(), session, writer, call, requested).await;
            return Ok(());
        }
    }
    tracing::warn!(lost, "A call was lost with its instance");
    let error = RpcError::new(
        codes::INTERNAL_ERROR,
        "the call was lost: its server went away, or its question was not answered in time. It may \
         or may not have taken effect; check, then call again",
    );
    let answer = rpc::encode_error(Some(&writer.request), &error);
    let response = LegacyResponse::resumed(Arc::clone(engine), caller.clone(), writer.key.clone());
    response.finish(&writer, Some(answer)).await;
    Ok(())
}

/// Runs a call under the rights of now: the request that leads to it may come with a narrower token
/// than the call did.
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
        Some(requested) if caller.may(requested.operation.scope(engine)) => None,
        Some(requested) => Some(RpcError::invalid_request(format!(
            "the access token that would let this call go on lacks the scope `{}`",
            requested.operation.scope(engine)
        ))),
        // Another version of this server began, and its tool is gone.
        None => Some(RpcError::invalid_params("what was called is no longer offered")),
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
        progress: call.progress,
    };
    engine.busy.spawn(run.run().in_current_span());
}

/// The last progress of a call that is in its stream: the next one has to be greater.
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
            let params = message.and_then(|it| it.params);
            if let Some(Params { progress_token: Some(of), progress: Some(progress) }) = params
                && of == *token
            {
                last = Some(progress);
            }
        }
    }
    Ok(last)
}
