//! One run of a legacy request, on its own task: it goes on when the client's connection is lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    call::{Call, CallContext},
    caller::Caller,
    engine::{
        Inner,
        exchange::{Exchange, HEARTBEAT, LEASE, LegacyOutlet},
        operation::Work,
        perform::{Failure, Output},
    },
    question::{Answer, Question},
    rpc::{self, RpcError},
    store::{Session, StoredCall, Writer, random_id},
};

/// How long a user has to answer a question.
const QUESTION_TTL: Duration = Duration::from_mins(10);

/// A request of a session, and everything that its run needs.
pub(super) struct Run {
    pub(super) engine: Arc<Inner>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) session: Arc<Session>,
    pub(super) caller: Caller,
    pub(super) writer: Writer,
    pub(super) work: Arc<Work>,
    pub(super) answers: BTreeMap<String, Answer>,
    pub(super) progress: Option<f64>,
}

impl Run {
    pub(super) async fn run(mut self) {
        let request = &self.writer.request;
        let registration = self.engine.running.register(&self.writer.key.session, request);
        let outlet = LegacyOutlet::new(Arc::clone(&self.exchange), self.writer.clone());
        let call = self.call(registration.cancel.clone(), Arc::clone(&outlet));
        let engine = Arc::clone(&self.engine);
        let work = Arc::clone(&self.work);
        let work = engine.run(&work.operation, &call);
        let outcome = tokio::select! {
            biased;
            () = registration.cancel.cancelled() => None,
            outcome = work => Some(outcome),
            () = hold(&self.exchange, &self.writer) => None,
        };
        let answer = match outcome {
            None => None,
            Some(Ok(output)) => Some(self.encode(&output)),
            Some(Err(Failure::Rpc(error))) => Some(self.encode_error(&error)),
            Some(Err(Failure::InputRequired(questions))) => {
                match self.suspend(call, &outlet, questions).await {
                    Ok(()) => return,
                    Err(error) => Some(self.encode_error(&error)),
                }
            }
        };
        self.exchange.finish(&self.writer, answer).await;
    }

    fn encode(&self, output: &Output<'_>) -> Vec<u8> {
        rpc::encode_result(&self.writer.request, output)
    }

    fn encode_error(&self, error: &RpcError) -> Vec<u8> {
        rpc::encode_error(Some(&self.writer.request), error)
    }

    fn call(&mut self, cancel: CancellationToken, outlet: Arc<LegacyOutlet>) -> Call {
        Call::new(CallContext {
            caller: self.caller.clone(),
            version: self.session.version,
            capabilities: self.session.capabilities.clone(),
            progress_token: self.work.progress_token.clone(),
            log_level: Some(self.session.log_level),
            answers: std::mem::take(&mut self.answers),
            progress: self.progress,
            cancel,
            outlet,
            job: None,
        })
    }

    /// Asks the client and forgets the call: whoever gets the answers goes on with it.
    async fn suspend(
        &self,
        call: Call,
        outlet: &LegacyOutlet,
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
        let Some(stored) = self.work.to_stored() else {
            return Err(RpcError::internal());
        };
        let stored = StoredCall { answers, progress, ..stored };
        let questions = &self.engine.stores.questions;
        let ours = questions
            .suspend(&self.writer, &stored, &open, QUESTION_TTL, LEASE)
            .await
            .map_err(away)?;
        if ours {
            for message in messages {
                outlet.write(&message).await.map_err(away)?;
            }
        }
        Ok(())
    }
}

/// Keeps the lease of a run. Ends when somebody else has taken the call over.
async fn hold(exchange: &Exchange, writer: &Writer) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if !exchange.renew(writer).await {
            return;
        }
    }
}
