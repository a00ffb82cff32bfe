//! What a client says without asking for anything: notifications, and answers to our questions.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Entered, run::Run};
use crate::{
    caller::Caller,
    engine::{
        Inner,
        exchange::Exchange,
        operation::{Method, Operation, progress_token, read_params},
    },
    question::Answer,
    reply::Reply,
    rpc::{self, RequestId, RpcError},
    store::{Answered, SessionId, Signal, StreamKey, SuspendedCall},
};

/// A notification gets no answer, whatever it says.
pub(super) async fn notification(
    engine: &Arc<Inner>,
    entered: &Entered,
    method: &str,
    params: Option<&RawValue>,
) -> Option<&'static str> {
    match method {
        "notifications/cancelled" => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Params {
                request_id: RequestId,
            }
            if let Ok(Params { request_id }) = read_params(method, params) {
                cancel(engine, &entered.id, request_id).await;
            }
            Some("notifications/cancelled")
        }
        "notifications/initialized" => Some("notifications/initialized"),
        "notifications/progress" => Some("notifications/progress"),
        "notifications/roots/list_changed" => Some("notifications/roots/list_changed"),
        _ => None,
    }
}

/// Stops a call wherever it runs, and takes it away if it waits for the client.
async fn cancel(engine: &Arc<Inner>, session: &SessionId, request: RequestId) {
    match engine.stores.questions.withdraw(session, &request).await {
        Ok(Some(call)) => {
            let key = StreamKey { session: session.clone(), stream: call.stream };
            if let Err(error) = engine.stores.log.finish(&key, &request, None).await {
                tracing::warn!(error = %error, "A cancelled call could not be closed: {error}");
            }
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(error = %error, "A waiting call could not be cancelled: {error}");
        }
    }
    let request = Some(request);
    engine.publish(Signal::Cancelled { session: session.clone(), request }).await;
}

/// The client answers a question of ours. Answers that come twice, late, or for another session
/// change nothing.
pub(super) async fn response(
    engine: &Arc<Inner>,
    caller: Caller,
    entered: &Entered,
    id: Option<RequestId>,
    outcome: Result<&RawValue, &RawValue>,
) -> Reply {
    let Some(RequestId::String(question)) = id else {
        return Reply::accepted();
    };
    let parsed = match outcome {
        Ok(result) => serde_json::from_str(result.get()).map(Answer::Result),
        Err(error) => serde_json::from_str(error.get()).map(Answer::Error),
    };
    let answer = match parsed {
        Ok(answer) => answer,
        Err(error) => {
            let error = RpcError::invalid_request(format!("the answer cannot be read: {error}"));
            return Reply::bad_request(None, &error);
        }
    };
    match engine.stores.questions.answer(&entered.id, &question, answer).await {
        Ok(Answered::Complete(call)) => {
            go_on(engine, caller, entered, *call).await;
            Reply::accepted()
        }
        Ok(Answered::Waiting | Answered::Unknown) => Reply::accepted(),
        Err(error) => Reply::store_away(None, &error),
    }
}

/// Runs a call again from the start, now that its questions are answered.
async fn go_on(engine: &Arc<Inner>, caller: Caller, entered: &Entered, call: SuspendedCall) {
    let key = StreamKey { session: entered.id.clone(), stream: call.stream };
    let exchange = Exchange::resumed(Arc::clone(engine), key);
    exchange.renew().await;
    let params = call.params.as_deref();
    let version = entered.session.version;
    let operation = Method::parse(&call.method)
        .and_then(|method| Operation::prepare(engine, version, method, params).ok());
    let operation = match operation {
        // The rights of now: the answer may come with a narrower token than the call did.
        Some(operation) if caller.may(operation.scope(engine)) => Ok(operation),
        Some(operation) => Err(RpcError::invalid_request(format!(
            "the access token that the answer came with lacks the scope `{}`",
            operation.scope(engine)
        ))),
        // Another version of this server asked, and its tool is gone.
        None => Err(RpcError::invalid_params("what was called is no longer offered")),
    };
    let operation = match operation {
        Ok(operation) => operation,
        Err(error) => {
            let answer = rpc::encode_error(Some(&call.request), &error);
            exchange.finish(&call.request, Some(answer)).await;
            return;
        }
    };
    let run = Run {
        engine: Arc::clone(engine),
        exchange,
        session: Arc::new(entered.session.clone()),
        caller,
        request: call.request,
        operation,
        progress_token: progress_token(params),
        answers: call.answers,
        progress: call.progress,
    };
    engine.busy.spawn(run.run());
}
