//! One run of a legacy request, as a task of its own: it continues when the connection is lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::response::{LegacyOutlet, LegacyResponse};
use crate::{
    call::{Call, CallContext},
    caller::Caller,
    engine::{
        ACCESS_ENDED, Inner,
        execute::Failure,
        request::RequestedOperation,
        retry::{ANSWER_TIMEOUT, HEARTBEAT, LEASE, WRITE_TIMEOUT, retry_for},
        tasks::{
            self, JobTool, NotStarted,
            stream::{self, JOB_LEASE, START_LEASE},
            wait::JobWait,
            wire::{Created, LegacyTask},
        },
    },
    failure::CallFailure,
    job::{JobId, Origin},
    question::{ClientAnswer, Question},
    rpc::{self, RpcError, codes},
    store::{Mark, OpenQuestion, Session, StoredCall, Writer},
    types::CallToolResult,
};

/// How long a user has to answer a question.
const QUESTION_TTL: Duration = Duration::from_mins(10);

/// A run of a request of a session.
pub(super) struct LegacyRun {
    pub(super) engine: Arc<Inner>,
    pub(super) response: Arc<LegacyResponse>,
    pub(super) session: Arc<Session>,
    pub(super) caller: Caller,
    pub(super) writer: Writer,
    pub(super) requested: Arc<RequestedOperation>,
    pub(super) answers: BTreeMap<String, ClientAnswer>,
    /// When the last questions were asked, in seconds since the Unix epoch.
    pub(super) asked_at: Option<i64>,
    pub(super) progress: Option<f64>,
}

impl LegacyRun {
    pub(super) async fn run(mut self) {
        let request = &self.writer.request;
        let registration = self.engine.running.register(&self.writer.key.session, request);
        let outlet = LegacyOutlet::new(Arc::clone(&self.response), self.writer.clone());
        let call = self.call(registration.cancel.clone(), outlet);
        let engine = Arc::clone(&self.engine);
        let requested = Arc::clone(&self.requested);
        let mut access = engine.access(&self.caller);
        if let Some(tool) = engine.job_tool(&requested.operation) {
            let prepared = tokio::select! {
                biased;
                () = registration.cancel.cancelled() => None,
                () = access.ended() => {
                    Some(Err(NotStarted::Failed(Failure::Rpc(self.access_ended()))))
                }
                prepared = tool.prepare(&call) => Some(prepared),
                () = keep_lease(&self.response, &self.writer) => None,
            };
            let answer = match prepared {
                None => None,
                Some(Ok(())) => match self.start_job(&tool, call).await {
                    Ok(()) => return,
                    Err(answer) => answer,
                },
                Some(Err(NotStarted::Answered(result))) => {
                    self.record_failure(result.failure());
                    Some(self.encode(&result))
                }
                Some(Err(NotStarted::Failed(Failure::Rpc(error)))) => Some(self.refuse(&error)),
                Some(Err(NotStarted::Failed(Failure::MissingScope(scope)))) => {
                    Some(self.missing_scope(scope))
                }
                Some(Err(NotStarted::Failed(Failure::InputRequired(questions)))) => {
                    match self.suspend(call, questions).await {
                        Ok(()) if registration.cancel.is_cancelled() => {
                            return self.withdraw().await;
                        }
                        Ok(()) => return,
                        Err(error) => Some(self.refuse(&error)),
                    }
                }
            };
            self.response.finish(&self.writer, answer).await;
            return;
        }
        let executing = engine.execute(&requested.operation, &call);
        let outcome = tokio::select! {
            biased;
            () = registration.cancel.cancelled() => None,
            () = access.ended() => Some(Err(Failure::Rpc(self.access_ended()))),
            outcome = executing => Some(outcome),
            () = keep_lease(&self.response, &self.writer) => None,
        };
        let answer = match outcome {
            None => None,
            Some(Ok(output)) => {
                self.record_failure(output.failure());
                Some(self.encode(&output))
            }
            Some(Err(Failure::Rpc(error))) => Some(self.refuse(&error)),
            Some(Err(Failure::MissingScope(scope))) => Some(self.missing_scope(scope)),
            Some(Err(Failure::InputRequired(questions))) => {
                match self.suspend(call, questions).await {
                    Ok(()) if registration.cancel.is_cancelled() => return self.withdraw().await,
                    Ok(()) => return,
                    Err(error) => Some(self.refuse(&error)),
                }
            }
        };
        self.response.finish(&self.writer, answer).await;
    }

    /// Creates the job that will answer the call; this run ends. The error is the response if there
    /// is one already, or `None` if the call was cancelled.
    async fn start_job(&self, tool: &JobTool<'_>, call: Call) -> Result<(), Option<Vec<u8>>> {
        let unavailable = |error: crate::StoreError| {
            tracing::error!(
                dependency = error.dependency(), %error,
                "Could not create the job of a call; the call fails"
            );
            self.refuse(&RpcError::unavailable())
        };
        let id = self.writer.job_id();
        self.response.record_job(&id);
        let answers = call.answers();
        if let Some(task) = self.requested.task {
            let started = tool.start(id, &call, Origin::Task, answers, task.ttl()).await;
            let job = started.map_err(|refused| self.not_started(&refused))?;
            return Err(Some(self.encode(&Created { task: LegacyTask::new(&job) })));
        }
        let writer = &self.writer;
        if !self.response.open_stream().await.map_err(unavailable)? {
            return Err(self.wait_for_job(tool, id, &call, answers).await);
        }
        let log = &self.engine.stores.log;
        // The stream first, then the job: a stream without its job is recognized as a failed start.
        let hand_over = || log.hand_over(writer, &id, START_LEASE);
        if !retry_for(WRITE_TIMEOUT, hand_over).await.map_err(unavailable)? {
            return Ok(());
        }
        if let Some(first) = tool.first_message(&id, &call) {
            let mark = first.is_progress.then(|| Mark { name: "progress".into(), value: 0.0 });
            // Only a message with a mark can be repeated.
            let timeout = if mark.is_some() { WRITE_TIMEOUT } else { Duration::ZERO };
            let write = || log.write_for_job(writer, mark.as_ref(), &first.message);
            if let Err(error) = retry_for(timeout, write).await {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not store the first message of a job; the client does not receive it"
                );
            }
        }
        let origin = Origin::Stream { writer: writer.clone() };
        let started = tool.start(id.clone(), &call, origin, answers, None).await;
        started.map_err(|refused| self.not_started(&refused))?;
        match log.renew(writer, JOB_LEASE).await {
            Ok(true) => {}
            // The call was cancelled while its job was being created, or the job has ended.
            Ok(false) => stream::cancel(&self.engine, &self.caller.user, &id).await,
            Err(error) => {
                // The reader of the stream finds the job and renews the lease.
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not renew the stream of a job; its reader renews it"
                );
            }
        }
        Ok(())
    }

    /// Creates the job of a call whose client does not accept event streams, and waits for its
    /// result. Returns the response. `None`: the client cancelled the call, and thereby the job.
    async fn wait_for_job(
        &self,
        tool: &JobTool<'_>,
        id: JobId,
        call: &Call,
        answers: BTreeMap<String, ClientAnswer>,
    ) -> Option<Vec<u8>> {
        let (engine, user) = (&self.engine, call.user());
        let until_expiry = engine.until_expiry(&self.caller);
        let waiting = JobWait::begin(engine, user, &id, until_expiry, false).await;
        if let Err(refused) = tool.start(id.clone(), call, Origin::Task, answers, None).await {
            return Some(self.not_started(&refused));
        }
        let ended = tokio::select! {
            biased;
            () = call.cancelled().cancelled() => {
                stream::cancel(engine, user, &id).await;
                return None;
            }
            ended = waiting.wait_for_end() => ended,
        };
        Some(match ended {
            Ok(Some(job)) => {
                self.record_failure(job.failure());
                stream::answer(&self.writer.request, &job, None)
            }
            Ok(None) => self.refuse(&RpcError::internal()),
            Err(why) => {
                self.response.record_failure(CallFailure::Tool);
                self.encode(&tasks::detached(engine, &id, why))
            }
        })
    }

    /// The response to a call whose job was not created.
    fn not_started(&self, result: &CallToolResult) -> Vec<u8> {
        self.record_failure(result.failure());
        self.encode(result)
    }

    fn encode(&self, output: &impl Serialize) -> Vec<u8> {
        rpc::encode_result(&self.writer.request, output)
    }

    /// Encodes an error as the response and records it.
    fn refuse(&self, error: &RpcError) -> Vec<u8> {
        self.response.record_error(error);
        self.encode_error(error)
    }

    fn missing_scope(&self, scope: &'static str) -> Vec<u8> {
        self.response.record_missing_scope(scope);
        self.encode_error(&RpcError::missing_scope(scope))
    }

    fn access_ended(&self) -> RpcError {
        self.response.record_failure(CallFailure::AccessEnded);
        RpcError::new(codes::INTERNAL_ERROR, ACCESS_ENDED)
    }

    fn record_failure(&self, failure: Option<CallFailure>) {
        if let Some(failure) = failure {
            self.response.record_failure(failure);
        }
    }

    fn encode_error(&self, error: &RpcError) -> Vec<u8> {
        rpc::encode_error(Some(&self.writer.request), error)
    }

    fn call(&mut self, cancel: CancellationToken, outlet: Arc<LegacyOutlet>) -> Call {
        Call::new(CallContext {
            caller: self.caller.clone(),
            version: self.session.version,
            capabilities: self.session.capabilities.clone(),
            progress_token: self.requested.progress_token.clone(),
            log_level: Some(self.session.log_level),
            answers: std::mem::take(&mut self.answers),
            asked_at: self.asked_at,
            sealing: Arc::clone(&self.engine.sealing),
            progress: self.progress,
            cancel,
            outlet,
            jobs: self.engine.job_access.clone(),
            job: None,
        })
    }

    /// Stores the call and sends its questions. The instance that receives the last answer resumes
    /// it.
    async fn suspend(
        &self,
        call: Call,
        questions: BTreeMap<String, Question>,
    ) -> Result<(), RpcError> {
        let unavailable = |error: crate::StoreError| {
            tracing::error!(
                dependency = error.dependency(), %error,
                "Could not store a question; the call fails"
            );
            RpcError::unavailable()
        };
        if !self.response.open_stream().await.map_err(unavailable)? {
            return Err(RpcError::invalid_request(
                "this call asks the user a question, which needs a client that accepts \
                 `text/event-stream`; if yours does, your recent responses have reached the \
                 storage limit of a user: wait a few minutes",
            ));
        }
        let version = self.session.version;
        let open = questions.into_iter().map(|(key, question)| {
            // Random instead of sequential: two calls of a session may ask on two instances.
            let id = self.engine.environment.id();
            let params = question.params(version, Some(&id));
            let message = rpc::encode_request(&id, question.method(), params.as_ref());
            OpenQuestion { id, key, message }
        });
        let open: Vec<_> = open.collect();
        let (progress, answers) = call.into_progress_and_answers();
        let Some(stored) = self.requested.to_stored() else {
            return Err(RpcError::internal());
        };
        let asked_at = Some(self.engine.now());
        let stored = StoredCall { answers, asked_at, progress, ..stored };
        let bytes: usize = open.iter().map(|question| question.message.len()).sum();
        if !self.engine.reserve_storage(&self.caller, stored.size() + bytes).await {
            return Err(RpcError::new(
                codes::TOO_MANY_REQUESTS,
                "this call has to wait for an answer of the user, but your waiting calls and \
                 recent responses have reached the storage limit of a user; wait a few minutes",
            ));
        }
        let questions = &self.engine.stores.questions;
        let suspend = || questions.suspend(&self.writer, &stored, &open, QUESTION_TTL, LEASE);
        let suspended = retry_for(ANSWER_TIMEOUT, suspend).await.map_err(unavailable)?;
        // If this run is no longer current, the current one asks.
        if suspended {
            let asked = open.len();
            tracing::debug!(target: crate::COUNTED, asked, "Asked a client questions");
        }
        Ok(())
    }
}

impl LegacyRun {
    /// Ends a call that was cancelled while its questions were stored, without a response.
    async fn withdraw(&self) {
        // The request first: without its questions it would stay open until they expire.
        self.response.finish(&self.writer, None).await;
        let Writer { key, request, .. } = &self.writer;
        let questions = &self.engine.stores.questions;
        let withdrawing = || questions.withdraw(&key.session, request);
        if let Err(error) = retry_for(WRITE_TIMEOUT, withdrawing).await {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not withdraw the questions of a cancelled call; they expire"
            );
        }
    }
}

/// Renews the lease of a run. Returns when the call was taken over by another run.
async fn keep_lease(response: &LegacyResponse, writer: &Writer) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if !response.renew(writer).await {
            return;
        }
    }
}
