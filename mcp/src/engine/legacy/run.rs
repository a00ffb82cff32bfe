//! One run of a legacy request, on its own task: it goes on when the client's connection is lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    call::{Call, CallContext},
    caller::Caller,
    engine::{
        Inner,
        exchange::{Exchange, LEASE, LegacyOutlet},
        operation::{Method, Operation},
        perform::{Failure, Output},
    },
    question::{Answer, Question},
    rpc::{self, RequestId, RpcError},
    store::{Session, SuspendedCall, random_id},
};

/// How long a user has to answer a question.
const QUESTION_TTL: Duration = Duration::from_mins(10);

/// A request of a session, and everything that its run needs.
pub(super) struct Run {
    pub(super) engine: Arc<Inner>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) session: Arc<Session>,
    pub(super) caller: Caller,
    pub(super) request: RequestId,
    pub(super) operation: Operation,
    pub(super) progress_token: Option<RequestId>,
    pub(super) answers: BTreeMap<String, Answer>,
    pub(super) progress: Option<f64>,
}

impl Run {
    pub(super) async fn run(mut self) {
        let registration = self.engine.running.register(&self.exchange.key.session, &self.request);
        let call = self.call(registration.cancel.clone());
        let engine = Arc::clone(&self.engine);
        let work = engine.run(&self.operation, &call);
        let outcome = tokio::select! {
            biased;
            () = registration.cancel.cancelled() => None,
            outcome = work => Some(outcome),
            () = keep_lease(&self.exchange) => None,
        };
        let answer = match outcome {
            None => None,
            Some(Ok(output)) => Some(self.encode(&output)),
            Some(Err(Failure::Rpc(error))) => Some(rpc::encode_error(Some(&self.request), &error)),
            Some(Err(Failure::InputRequired(questions))) => {
                match self.suspend(call, questions).await {
                    Ok(()) => return,
                    Err(error) => Some(rpc::encode_error(Some(&self.request), &error)),
                }
            }
        };
        self.exchange.finish(&self.request, answer).await;
    }

    fn encode(&self, output: &Output<'_>) -> Vec<u8> {
        rpc::encode_result(&self.request, output)
    }

    fn call(&mut self, cancel: CancellationToken) -> Call {
        Call::new(CallContext {
            caller: self.caller.clone(),
            version: self.session.version,
            capabilities: self.session.capabilities.clone(),
            progress_token: self.progress_token.clone(),
            log_level: Some(self.session.log_level),
            answers: std::mem::take(&mut self.answers),
            progress: self.progress,
            cancel,
            outlet: Box::new(LegacyOutlet { exchange: Arc::clone(&self.exchange) }),
        })
    }

    /// Asks the client and forgets the call: whoever gets the answers goes on with it.
    async fn suspend(
        &self,
        call: Call,
        questions: BTreeMap<String, Question>,
    ) -> Result<(), RpcError> {
        let away = |error: crate::StoreError| {
            tracing::error!(error = %error, "A question could not be stored: {error}");
            RpcError::unavailable()
        };
        if !self.exchange.open_stream().await.map_err(away)? {
            return Err(RpcError::invalid_request(
                "this call asks the user something, which needs a client that accepts \
                 `text/event-stream`",
            ));
        }
        let version = self.session.version;
        let mut open = BTreeMap::new();
        let mut messages = Vec::new();
        for (key, question) in questions {
            // Random, never counted: two calls of one session may ask on two instances.
            let id = random_id();
            let params = question.params(version, Some(&id));
            messages.push(rpc::encode_request(&id, question.method(), params.as_ref()));
            open.insert(id, key);
        }
        let (progress, answers) = call.into_progress_and_answers();
        let suspended = SuspendedCall {
            stream: self.exchange.key.stream.clone(),
            request: self.request.clone(),
            method: self.method().to_owned(),
            params: self.operation.to_params(self.progress_token.as_ref()),
            answers,
            open,
            progress,
        };
        let stores = &self.engine.stores;
        let key = &self.exchange.key;
        stores.questions.suspend(&key.session, &suspended, QUESTION_TTL).await.map_err(away)?;
        stores.log.renew(key, QUESTION_TTL + LEASE).await.map_err(away)?;
        for message in messages {
            stores.log.append(key, &message).await.map_err(away)?;
        }
        Ok(())
    }

    fn method(&self) -> &'static str {
        match self.operation {
            Operation::CallTool { .. } => Method::CallTool.name(),
            Operation::GetPrompt { .. } => Method::GetPrompt.name(),
            _ => Method::ReadResource.name(),
        }
    }
}

/// Never ends.
async fn keep_lease(exchange: &Exchange) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        exchange.renew().await;
    }
}
