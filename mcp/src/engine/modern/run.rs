//! Execution of a modern request inside its response: as a JSON body, as an event stream, or as a
//! job that the response waits for.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt as _},
    stream::{self, BoxStream, StreamExt as _},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::task_tracker::TaskTrackerToken,
};
use tracing::{Instrument as _, Span};

use super::params::Meta;
use crate::{
    call::{Call, CallContext, Outlet},
    caller::Caller,
    engine::{
        Inner, STREAM_AFTER,
        access::Access,
        execute::Failure,
        request::{Method, Operation},
        retry::{WRITE_TIMEOUT, retry_for},
        tasks::{
            self, JobTool, NotStarted, methods,
            wait::{JobWait, WaitEnd},
            wire::{self, ModernTask},
        },
    },
    failure::{CallFailure, LateFailure},
    headers,
    job::{JobId, JobOutcome, Origin},
    json,
    question::{ClientAnswer, InputRequest, Question, input_requests},
    reply::{Reply, ReplyBody},
    rpc::{self, RequestId, RpcError, codes},
    seal::{self, Binding, SealedAnswers},
    sse,
    store::{Signal, StoreError},
    types::CallToolResult,
    version::ProtocolVersion,
};

/// The capacity of the event queue of a call. A call that is faster than its client waits.
const BACKLOG: usize = 64;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputRequired {
    input_requests: BTreeMap<String, InputRequest>,
    request_state: String,
}

/// A running modern request.
pub(super) struct ModernRun {
    pub(super) engine: Arc<Inner>,
    pub(super) id: RequestId,
    pub(super) method: Method,
    pub(super) operation: Operation,
    pub(super) caller: Caller,
    pub(super) meta: Meta,
    pub(super) given: GivenAnswers,
    /// The job of the call, if one was created; for logs.
    pub(super) job: Arc<OnceLock<JobId>>,
}

/// The result of a run.
struct RunOutcome {
    status: StatusCode,
    body: Vec<u8>,
    failure: Option<CallFailure>,
    /// The scope that the access token lacks.
    missing_scope: Option<&'static str>,
    /// With a rate limit error: when the caller may retry.
    retry_after: Option<Duration>,
}

/// The answers of the client.
#[derive(Default)]
pub(super) struct GivenAnswers {
    /// Those of earlier rounds.
    pub(super) earlier: SealedAnswers,
    /// Those of this round.
    pub(super) responses: BTreeMap<String, Value>,
}

impl GivenAnswers {
    fn answers(&self) -> BTreeMap<String, ClientAnswer> {
        let current = self
            .responses
            .iter()
            .map(|(key, response)| (key.clone(), ClientAnswer::Result(response.clone())));
        self.earlier.answers.clone().into_iter().chain(current).collect()
    }
}

impl ModernRun {
    pub(super) async fn reply(self, accepted: headers::Accepted, span: Span) -> Reply {
        let job = Arc::clone(&self.job);
        let mut reply = self.begin(accepted, span).await;
        reply.about.job = job.get().map(|job| Arc::from(job.as_str()));
        reply
    }

    async fn begin(self, accepted: headers::Accepted, span: Span) -> Reply {
        let (sender, mut events) = mpsc::channel(BACKLOG);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let busy = self.engine.busy.token();
        let expires = Instant::now() + self.engine.until_expiry(&self.caller);
        let mut access = self.engine.access(&self.caller);
        let (engine, id) = (Arc::clone(&self.engine), self.id.clone());
        let outlet = ModernOutlet { engine, events: accepted.events.then_some(sender) };
        let mut run: BoxFuture<'static, RunOutcome> =
            self.run(outlet, cancel).instrument(span).boxed();
        if !accepted.events {
            return tokio::select! {
                biased;
                ended = run => ended.into_reply(),
                () = access.ended() => Reply::access_ended(&id),
            };
        }
        let mut first = None;
        if accepted.json {
            let deadline = Instant::now() + STREAM_AFTER;
            let quick = timeout_at(deadline, async {
                tokio::select! {
                    biased;
                    event = events.recv() => Err(event),
                    ended = &mut run => Ok(ended),
                }
            });
            match quick.await {
                Ok(Ok(ended)) => match events.try_recv() {
                    Err(_empty) => return ended.into_reply(),
                    // The call sent its last events and completed within the same poll.
                    Ok(event) => {
                        first = Some(event);
                        run = std::future::ready(ended).boxed();
                    }
                },
                Ok(Err(event)) => first = event,
                Err(_elapsed) => {}
            }
        }
        let failure = LateFailure::default();
        let running = CallStream {
            // The current span gives log events the request id while the stream is open.
            run: Some(run.in_current_span().boxed()),
            events,
            first,
            last: None,
            keep_alive: Instant::now(),
            expires,
            access,
            failure: failure.clone(),
            _cancel: guard,
            _busy: busy,
        };
        let mut reply = Reply::new(StatusCode::OK, ReplyBody::Events(running.into_body()));
        reply.about.stream_failure = failure;
        reply
    }

    async fn run(self, outlet: ModernOutlet, cancel: CancellationToken) -> RunOutcome {
        let outlet = Arc::new(outlet);
        let call = Call::new(CallContext {
            caller: self.caller.clone(),
            version: ProtocolVersion::V2026_07_28,
            capabilities: self.meta.capabilities.clone(),
            progress_token: self.meta.progress_token.clone(),
            log_level: self.meta.log_level,
            answers: self.given.answers(),
            asked_at: self.given.earlier.asked_at,
            sealing: Arc::clone(&self.engine.sealing),
            progress: None,
            cancel,
            outlet: Arc::clone(&outlet) as _,
            jobs: self.engine.job_access.clone(),
            job: None,
        });
        let engine = &*self.engine;
        if let Some(tool) = engine.job_tool(&self.operation) {
            return self.run_job(&tool, &call, &*outlet).await;
        }
        let error = match engine.execute(&self.operation, &call).await {
            Ok(output) => {
                return RunOutcome {
                    status: StatusCode::OK,
                    body: engine.encode(&self.id, &output),
                    failure: output.failure(),
                    missing_scope: None,
                    retry_after: None,
                };
            }
            Err(Failure::InputRequired(questions)) => {
                let asked = questions.len();
                tracing::debug!(target: crate::COUNTED, asked, "Asked a client questions");
                let kept = SealedAnswers { answers: call.answers(), ..SealedAnswers::default() };
                return self.ask(&questions, &kept);
            }
            Err(Failure::MissingScope(scope)) => return self.missing_scope(scope),
            Err(Failure::Rpc(error)) => error,
        };
        self.fail(&error)
    }

    /// Creates the job of the call, or continues the one that asked the client.
    async fn run_job(&self, tool: &JobTool<'_>, call: &Call, outlet: &dyn Outlet) -> RunOutcome {
        let engine = &self.engine;
        let with_tasks = wire::declared(&self.meta.capabilities);
        if tool.needs_task() && !with_tasks {
            return self.fail(&wire::not_declared());
        }
        if let Some(id) = &self.given.earlier.job {
            return self.continue_job(tool, id, outlet).await;
        }
        match tool.prepare(call).await {
            Ok(()) => {}
            Err(NotStarted::Answered(result)) => return self.tool_result(&result),
            Err(NotStarted::Failed(Failure::Rpc(error))) => return self.fail(&error),
            Err(NotStarted::Failed(Failure::MissingScope(scope))) => {
                return self.missing_scope(scope);
            }
            Err(NotStarted::Failed(Failure::InputRequired(questions))) => {
                let kept = SealedAnswers { answers: call.answers(), ..SealedAnswers::default() };
                return self.ask(&questions, &kept);
            }
        }
        let id = self.engine.environment.job_id();
        let _only = self.job.set(id.clone());
        if with_tasks {
            let started = tool.start(id, call, Origin::Task, call.answers(), None).await;
            return match started {
                Ok(job) => self.complete(&ModernTask::handle(&job), "task"),
                Err(refused) => self.tool_result(&refused),
            };
        }
        let until_expiry = engine.until_expiry(&self.caller);
        let mut waiting = JobWait::begin(engine, &self.caller.user, &id, until_expiry, true).await;
        let job = match tool.start(id.clone(), call, Origin::Call, call.answers(), None).await {
            Ok(job) => job,
            Err(refused) => return self.tool_result(&refused),
        };
        if let Some(first) = tool.first_message(&id, call) {
            if first.is_progress {
                waiting.has_seen(0.0);
            }
            outlet.send(first.message).await;
        }
        self.waited(waiting.wait(job, outlet).await)
    }

    /// Delivers the client's answers to the job that asked, and waits for it.
    async fn continue_job(
        &self,
        tool: &JobTool<'_>,
        id: &JobId,
        outlet: &dyn Outlet,
    ) -> RunOutcome {
        let user = &self.caller.user;
        let until_expiry = self.engine.until_expiry(&self.caller);
        let waiting = JobWait::begin(&self.engine, user, id, until_expiry, true).await;
        let answered = async {
            let read = || tool.store.get(user, id);
            let Some(job) = retry_for(WRITE_TIMEOUT, read).await? else {
                return Ok(Err(RpcError::invalid_params(
                    "the job that asked has expired; call again",
                )));
            };
            let answers = match methods::check_answers(&job, self.given.responses.clone()) {
                Ok(answers) => answers,
                Err(error) => return Ok(Err(error)),
            };
            let job = if answers.is_empty() {
                job
            } else {
                // Idempotent: a question that is answered already is not open.
                let answer = || tool.store.answer(user, id, answers.clone());
                retry_for(WRITE_TIMEOUT, answer).await?.unwrap_or(job)
            };
            Ok::<_, StoreError>(Ok(job))
        };
        match answered.await {
            Ok(Ok(job)) => self.waited(waiting.wait(job, outlet).await),
            Ok(Err(error)) => {
                waiting.forget();
                self.fail(&error)
            }
            Err(error) => {
                tracing::error!(
                    dependency = error.dependency(), %error,
                    "Could not deliver answers to a job; the client must retry"
                );
                waiting.forget();
                self.fail(&RpcError::unavailable())
            }
        }
    }

    fn waited(&self, waited: WaitEnd) -> RunOutcome {
        match waited {
            WaitEnd::InputRequired(job) => {
                let kept = SealedAnswers { job: Some(job.id.clone()), ..SealedAnswers::default() };
                self.ask(&job.questions, &kept)
            }
            WaitEnd::Detached(result) => self.tool_result(&result),
            WaitEnd::Ended(job) => match tasks::outcome(&job) {
                JobOutcome::Error(error) => self.fail(&error),
                JobOutcome::Result { result, .. } => {
                    match json::from_str::<BTreeMap<String, Box<RawValue>>>(result.get()) {
                        Ok(result) => RunOutcome {
                            failure: job.failure(),
                            ..self.complete(&result, "complete")
                        },
                        Err(_no_object) => self.fail(&RpcError::internal()),
                    }
                }
            },
        }
    }

    fn tool_result(&self, result: &CallToolResult) -> RunOutcome {
        RunOutcome { failure: result.failure(), ..self.complete(result, "complete") }
    }

    fn complete(&self, result: &impl Serialize, kind: &'static str) -> RunOutcome {
        let body = rpc::encode_result(&self.id, &self.engine.modern(result, kind, None));
        RunOutcome {
            status: StatusCode::OK,
            body,
            failure: None,
            missing_scope: None,
            retry_after: None,
        }
    }

    /// Asks the client questions. Everything that the next round needs is sealed into
    /// `requestState`.
    fn ask(&self, questions: &BTreeMap<String, Question>, kept: &SealedAnswers) -> RunOutcome {
        if let Err(error) = seal::check_size(kept) {
            return self.fail(&error);
        }
        let (target, arguments) = self.operation.binding().unwrap_or_default();
        let method = self.method.name();
        let binding = Binding { caller: &self.caller, method, target, arguments };
        let required = InputRequired {
            request_state: self.engine.sealing.seal(&binding, kept),
            input_requests: input_requests(questions),
        };
        self.complete(&required, "input_required")
    }

    fn fail(&self, rpc_error: &RpcError) -> RunOutcome {
        // The specification requires 400 for this error in every case.
        let status = match rpc_error.code {
            codes::MISSING_CLIENT_CAPABILITY => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        let body = rpc::encode_error(Some(&self.id), rpc_error);
        let failure = Some(CallFailure::Rpc(rpc_error.code));
        let retry_after = rpc_error.retry_after();
        RunOutcome { status, body, failure, missing_scope: None, retry_after }
    }

    fn missing_scope(&self, scope: &'static str) -> RunOutcome {
        let ended = self.fail(&RpcError::missing_scope(scope));
        RunOutcome { missing_scope: Some(scope), ..ended }
    }
}

impl RunOutcome {
    fn into_reply(self) -> Reply {
        let mut reply = match self.missing_scope {
            None => Reply::json(self.status, self.body),
            Some(scope) => Reply::forbidden(scope, self.body),
        };
        if let Some(retry_after) = self.retry_after {
            reply = reply.refused_until(retry_after);
        }
        reply.about.failure = self.failure;
        reply
    }
}

/// The event stream of a running call.
struct CallStream {
    run: Option<BoxFuture<'static, RunOutcome>>,
    events: mpsc::Receiver<String>,
    first: Option<String>,
    last: Option<Vec<u8>>,
    keep_alive: Instant,
    expires: Instant,
    access: Access,
    /// Receives the failure of the call.
    failure: LateFailure,
    /// Cancels the call when the stream is dropped.
    _cancel: DropGuard,
    _busy: TaskTrackerToken,
}

impl CallStream {
    fn into_body(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut running| async move {
            let chunk = running.next().await?;
            Some((chunk, running))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(event) = self.first.take() {
            self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
            return Some(sse::event(None, &event));
        }
        loop {
            // Events that were sent before the response precede it.
            if self.run.is_none() {
                return match self.events.try_recv() {
                    Ok(event) => Some(sse::event(None, &event)),
                    Err(_empty) => {
                        let answer = self.last.take()?;
                        Some(sse::event(None, &rpc::into_text(answer)))
                    }
                };
            }
            let run = self.run.as_mut()?;
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => {
                    self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                    return Some(sse::event(None, &event));
                }
                ended = run => {
                    self.run = None;
                    if let Some(failure) = ended.failure {
                        self.failure.set(failure);
                    }
                    self.last = Some(ended.body);
                }
                () = sleep_until(self.keep_alive) => {
                    self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                    return Some(sse::comment());
                }
                () = sleep_until(self.expires) => return None,
                () = self.access.ended() => {
                    self.failure.set(CallFailure::AccessEnded);
                    return None;
                }
            }
        }
    }
}

/// Sends the events of a modern call to its response.
struct ModernOutlet {
    engine: Arc<Inner>,
    /// `None`: the client does not accept event streams, and events are dropped.
    events: Option<mpsc::Sender<String>>,
}

#[async_trait]
impl Outlet for ModernOutlet {
    async fn send(&self, notification: String) {
        if let Some(events) = &self.events {
            // Fails only while the call is being dropped.
            drop(events.send(notification).await);
        }
    }

    async fn publish(&self, signal: Signal) {
        self.engine.publish(signal).await;
    }
}
