//! One legacy POST and its answers: JSON if they are quick and alone, a stream otherwise.
//!
//! Nothing is decided when a call starts. If every request is answered before anything else is
//! sent, the answer is plain JSON and no stream ever exists. The first event, or [`QUICK`](crate::engine::QUICK),
//! opens a stream in the log; from then on whoever holds the socket follows the log, and the call
//! only writes to it. The call does not care whether anybody still listens: in the legacy era a
//! lost connection is not a cancellation.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Mutex, oneshot};

use crate::{
    call::Outlet,
    caller::{Caller, UserId},
    engine::{
        Inner,
        request::RequestedOperation,
        retry::{ANSWER_TIMEOUT, LEASE, WRITE_TIMEOUT, retry_for},
    },
    failure::{CallFailure, LateFailure},
    job::JobId,
    rpc::{self, RequestId, RpcError, codes},
    store::{Signal, StoreError, StoredCall, StreamKey, Writer},
};

/// How long a call waits for the socket to follow its stream before it goes on.
const FOLLOW_LIMIT: Duration = Duration::from_secs(1);

/// What a stream without events costs the store, in bytes: its hash, its first events, its names.
const STREAM_BYTES: usize = 16 * 1024;

/// What becomes of the HTTP response.
pub(in crate::engine) enum ResponseMode {
    /// Plain JSON.
    Json(Vec<u8>),
    /// A stream. Whoever serves it says when it listens, so that nothing is missed.
    Stream { listening: oneshot::Sender<()> },
    /// Every request was cancelled: there is nothing to answer.
    Empty,
}

/// One legacy POST and its answers.
pub(in crate::engine) struct LegacyResponse {
    engine: Arc<Inner>,
    /// Who calls, or who goes on with the stream.
    caller: Caller,
    pub(in crate::engine) key: StreamKey,
    state: Mutex<ResponseState>,
    failure: LateFailure,
    missing_scope: OnceLock<&'static str>,
    /// After how long the caller may ask again, if that was too much at once.
    retry_after: OnceLock<Duration>,
    /// The job that answers the request, if one was started.
    job: OnceLock<JobId>,
}

enum ResponseState {
    Undecided {
        pending: Vec<(RequestId, Option<Arc<RequestedOperation>>)>,
        answers: Vec<(RequestId, Option<Vec<u8>>)>,
        /// Whether the body was a batch: then the answer is an array.
        batch: bool,
        /// Whether the client takes a stream at all.
        may_stream: bool,
        decide: oneshot::Sender<ResponseMode>,
    },
    Streaming,
    Decided,
}

impl LegacyResponse {
    /// Begins with requests that wait for answers, each with what it is to be run.
    pub(in crate::engine) fn new(
        engine: Arc<Inner>,
        caller: Caller,
        key: StreamKey,
        pending: Vec<(RequestId, Option<Arc<RequestedOperation>>)>,
        batch: bool,
        may_stream: bool,
    ) -> (Arc<Self>, oneshot::Receiver<ResponseMode>) {
        let (decide, decision) = oneshot::channel();
        let answers = Vec::new();
        let state = ResponseState::Undecided { pending, answers, batch, may_stream, decide };
        (Self::with_state(engine, caller, key, state), decision)
    }

    /// Goes on with a stream that another response has opened, perhaps elsewhere.
    pub(in crate::engine) fn resumed(
        engine: Arc<Inner>,
        caller: Caller,
        key: StreamKey,
    ) -> Arc<Self> {
        Self::with_state(engine, caller, key, ResponseState::Streaming)
    }

    fn with_state(
        engine: Arc<Inner>,
        caller: Caller,
        key: StreamKey,
        state: ResponseState,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            caller,
            key,
            state: Mutex::new(state),
            failure: LateFailure::default(),
            missing_scope: OnceLock::new(),
            retry_after: OnceLock::new(),
            job: OnceLock::new(),
        })
    }

    /// Makes the answer a stream if that is still open. False if it is not a stream and will not
    /// become one, or the store holds as much for the caller as it may.
    pub(in crate::engine) async fn open_stream(&self) -> Result<bool, StoreError> {
        let mut state = self.state.lock().await;
        match &*state {
            ResponseState::Streaming => return Ok(true),
            ResponseState::Decided | ResponseState::Undecided { may_stream: false, .. } => {
                return Ok(false);
            }
            ResponseState::Undecided { pending, answers, .. } => {
                let log = &self.engine.stores.log;
                let mut calls = Vec::new();
                for (request, requested) in pending {
                    let again =
                        requested.as_ref().filter(|it| it.operation.is_repeatable(&self.engine));
                    calls.push((request.clone(), again.and_then(|it| it.to_stored())));
                }
                calls.extend(answers.iter().map(|(request, _)| (request.clone(), None)));
                let stored = calls.iter().filter_map(|(_, call)| call.as_ref());
                let bytes: usize = stored.map(StoredCall::size).sum();
                if !self.engine.may_keep(&self.caller, STREAM_BYTES + bytes).await {
                    return Ok(false);
                }
                retry_for(WRITE_TIMEOUT, || log.open(&self.key, &calls, LEASE)).await?;
                for (request, answer) in answers {
                    let answer = answer.as_deref().map(String::from_utf8_lossy);
                    log.finish(&self.writer(request, 0), answer.as_deref()).await?;
                }
            }
        }
        let ResponseState::Undecided { decide, .. } =
            std::mem::replace(&mut *state, ResponseState::Streaming)
        else {
            return Ok(true);
        };
        let (listening, listens) = oneshot::channel();
        if decide.send(ResponseMode::Stream { listening }).is_ok() {
            // Fails at once if the client has gone; then it reads the log when it comes back.
            drop(tokio::time::timeout(FOLLOW_LIMIT, listens).await);
        }
        Ok(true)
    }

    fn writer(&self, request: &RequestId, term: u64) -> Writer {
        Writer { key: self.key.clone(), request: request.clone(), term }
    }

    /// The first run of a request.
    pub(in crate::engine) fn first_run(&self, request: &RequestId) -> Writer {
        self.writer(request, 0)
    }

    /// Notes which job answers a request. The first one is kept.
    pub(in crate::engine) fn note_job(&self, job: &JobId) {
        let _first = self.job.get_or_init(|| job.clone());
    }

    /// The job that answers a request, if one was started.
    pub(in crate::engine) fn job(&self) -> Option<Arc<str>> {
        self.job.get().map(|job| Arc::from(job.as_str()))
    }

    /// Notes how a request has failed. The first one is kept.
    pub(in crate::engine) fn note(&self, failure: CallFailure) {
        self.failure.set(failure);
    }

    /// How a request has failed, once one has.
    pub(in crate::engine) fn failure(&self) -> &LateFailure {
        &self.failure
    }

    /// Notes that the access token lacks a scope.
    pub(in crate::engine) fn note_missing_scope(&self, scope: &'static str) {
        let _first = self.missing_scope.get_or_init(|| scope);
        self.note(CallFailure::Rpc(codes::INVALID_REQUEST));
    }

    /// Notes an error of JSON-RPC, and after how long the caller may ask again if it was too much at once.
    pub(in crate::engine) fn note_error(&self, error: &RpcError) {
        if let Some(wait) = error.retry_after() {
            let _first = self.retry_after.get_or_init(|| wait);
        }
        self.note(CallFailure::Rpc(error.code));
    }

    /// After how long the caller may ask again.
    pub(in crate::engine) fn retry_after(&self) -> Option<Duration> {
        self.retry_after.get().copied()
    }

    /// The scope that the access token lacks.
    pub(in crate::engine) fn missing_scope(&self) -> Option<&'static str> {
        self.missing_scope.get().copied()
    }

    /// Looks how the job has ended that answered the request, and notes it if it has failed. What
    /// cannot be read stays unknown: the job itself is counted where it ends.
    pub(in crate::engine) async fn note_end_of_job(&self, user: &UserId) {
        let (Some(id), Some(jobs)) = (self.job.get(), self.engine.jobs()) else {
            return;
        };
        match jobs.get(user, id).await {
            Ok(job) => {
                if let Some(failure) = job.and_then(|it| it.failure()) {
                    self.note(failure);
                }
            }
            Err(error) => tracing::debug!(%error, "Could not look how a job has ended"),
        }
    }

    /// Answers a request, or drops it unanswered because the client cancelled it.
    pub(in crate::engine) async fn finish(&self, writer: &Writer, answer: Option<Vec<u8>>) {
        let mut state = self.state.lock().await;
        match &mut *state {
            ResponseState::Decided => {}
            ResponseState::Streaming => {
                drop(state);
                let answer = match answer {
                    Some(answer) => Some(self.kept(writer, answer).await),
                    None => None,
                };
                let answer = answer.as_deref().map(String::from_utf8_lossy);
                let log = &self.engine.stores.log;
                let finish = || log.finish(writer, answer.as_deref());
                if let Err(error) = retry_for(ANSWER_TIMEOUT, finish).await {
                    tracing::error!(
                        dependency = error.dependency(), error = %error,
                        "An answer could not be stored: {error}"
                    );
                }
            }
            ResponseState::Undecided { pending, answers, .. } => {
                pending.retain(|it| it.0 != writer.request);
                answers.push((writer.request.clone(), answer));
                if !pending.is_empty() {
                    return;
                }
                let decided = std::mem::replace(&mut *state, ResponseState::Decided);
                let ResponseState::Undecided { answers, batch, decide, .. } = decided else {
                    return;
                };
                let answers: Vec<_> = answers.into_iter().filter_map(|it| it.1).collect();
                let decision = match (answers.len(), batch) {
                    (0, _) => ResponseMode::Empty,
                    (_, true) => ResponseMode::Json(array(&answers)),
                    (_, false) => ResponseMode::Json(answers.concat()),
                };
                // Fails if the client has gone: without a stream there is nothing to come back to.
                drop(decide.send(decision));
            }
        }
    }

    /// An answer as the store may keep it: itself, or an error in its place.
    async fn kept(&self, writer: &Writer, answer: Vec<u8>) -> Vec<u8> {
        if self.engine.may_keep(&self.caller, answer.len()).await {
            return answer;
        }
        let error = format!(
            "the call has ended and may have taken effect, but its answer of {} bytes is not kept: \
             your answers of the last minutes fill what one person may keep here; wait a few \
             minutes, or accept `application/json`",
            answer.len()
        );
        let error = RpcError::new(codes::TOO_MANY_REQUESTS, error);
        self.note(CallFailure::Rpc(error.code));
        rpc::encode_error(Some(&writer.request), &error)
    }

    /// Tells the log that the writer is alive. False if the call is no longer the writer's; before
    /// there is a stream it is nobody else's.
    pub(in crate::engine) async fn renew(&self, writer: &Writer) -> bool {
        if !matches!(*self.state.lock().await, ResponseState::Streaming) {
            return true;
        }
        self.engine.stores.log.renew(writer, LEASE).await.unwrap_or_else(|error| {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A lease could not be renewed: {error}"
            );
            true
        })
    }
}

fn array(answers: &[Vec<u8>]) -> Vec<u8> {
    let mut array = vec![b'['];
    array.extend(answers.join(&b','));
    array.push(b']');
    array
}

/// What a legacy call writes to.
pub(in crate::engine) struct LegacyOutlet {
    response: Arc<LegacyResponse>,
    writer: Writer,
    /// The number of the last message of this run. Held while a message is written, so that the
    /// next one comes after it.
    written: Mutex<u64>,
}

impl LegacyOutlet {
    pub(in crate::engine) fn new(response: Arc<LegacyResponse>, writer: Writer) -> Arc<Self> {
        Arc::new(Self { response, writer, written: Mutex::default() })
    }

    /// Appends a message to a stream that is open. False if the call is no longer the writer's.
    async fn write(&self, message: &str) -> Result<bool, StoreError> {
        let mut written = self.written.lock().await;
        let number = *written + 1;
        let log = &self.response.engine.stores.log;
        let kept = retry_for(WRITE_TIMEOUT, || log.write(&self.writer, number, message)).await?;
        *written = number;
        Ok(kept)
    }
}

#[async_trait]
impl Outlet for LegacyOutlet {
    async fn send(&self, notification: String) {
        let sent = match self.response.open_stream().await {
            Ok(true) => self.write(&notification).await,
            Ok(false) => Ok(false),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "An event of a call could not be stored: {error}"
            );
        }
    }

    async fn release(&self) {
        if let Ok(true) = self.response.open_stream().await {
            self.publish(Signal::StreamReleased(self.response.key.clone())).await;
        }
    }

    async fn publish(&self, signal: Signal) {
        self.response.engine.publish(signal).await;
    }
}
