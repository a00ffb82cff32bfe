//! The response to a legacy POST: JSON if all requests are answered quickly, otherwise an event
//! stream.
//!
//! The mode is not decided when a call starts. If every request is answered before an event is
//! sent, the response is JSON and no stream is created. The first event, or the end of
//! [`STREAM_AFTER`](crate::engine::STREAM_AFTER), opens a stream in the log; from then on the reader
//! of the stream serves the socket, and the call only writes to the log. A lost connection does not
//! affect the call: in the legacy era it is not a cancellation.

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

/// How long a call waits for the reader of its stream before it continues.
const READER_TIMEOUT: Duration = Duration::from_secs(1);

/// The estimated size of a new stream in the store, in bytes: keys, hash and first events.
const STREAM_BYTES: usize = 16 * 1024;

/// The form of the HTTP response.
pub(super) enum ResponseMode {
    /// A JSON body.
    Json(Vec<u8>),
    /// An event stream. `listening` must be notified when its reader is subscribed.
    Stream { listening: oneshot::Sender<()> },
    /// All requests were cancelled: no response.
    Empty,
}

/// The response to a legacy POST.
pub(super) struct LegacyResponse {
    engine: Arc<Inner>,
    /// The caller of the POST, or the one that resumed the stream.
    caller: Caller,
    pub(super) key: StreamKey,
    state: Mutex<ResponseState>,
    failure: LateFailure,
    missing_scope: OnceLock<&'static str>,
    /// With a rate limit error: when the caller may retry.
    retry_after: OnceLock<Duration>,
    /// The job that answers the request, if one was created.
    job: OnceLock<JobId>,
}

enum ResponseState {
    Undecided {
        pending: Vec<(RequestId, Option<Arc<RequestedOperation>>)>,
        answers: Vec<(RequestId, Option<Vec<u8>>)>,
        /// Whether the body was a batch: then the response is an array.
        batch: bool,
        /// Whether the client accepts event streams.
        may_stream: bool,
        decide: oneshot::Sender<ResponseMode>,
    },
    Streaming,
    Decided,
}

impl LegacyResponse {
    /// Creates the response to requests that are not answered yet. Requests with an operation are
    /// run.
    pub(super) fn new(
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

    /// Continues a response whose stream was opened earlier, possibly by another instance.
    pub(super) fn resumed(engine: Arc<Inner>, caller: Caller, key: StreamKey) -> Arc<Self> {
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

    /// Opens the stream, unless it is open already. `false`: the response is JSON, the client does
    /// not accept event streams, or the caller's storage quota is exhausted.
    pub(super) async fn open_stream(&self) -> Result<bool, StoreError> {
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
                    let repeatable = requested
                        .as_ref()
                        .filter(|requested| requested.operation.is_repeatable(&self.engine));
                    calls.push((
                        request.clone(),
                        repeatable.and_then(|requested| requested.to_stored()),
                    ));
                }
                calls.extend(answers.iter().map(|(request, _)| (request.clone(), None)));
                let stored = calls.iter().filter_map(|(_, call)| call.as_ref());
                let bytes: usize = stored.map(StoredCall::size).sum();
                if !self.engine.reserve_storage(&self.caller, STREAM_BYTES + bytes).await {
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
        let (listening, listened) = oneshot::channel();
        if decide.send(ResponseMode::Stream { listening }).is_ok() {
            // Fails immediately if the client has disconnected; it reads the log when it resumes.
            drop(tokio::time::timeout(READER_TIMEOUT, listened).await);
        }
        Ok(true)
    }

    fn writer(&self, request: &RequestId, term: u64) -> Writer {
        Writer { key: self.key.clone(), request: request.clone(), term }
    }

    /// The first run of a request.
    pub(super) fn first_run(&self, request: &RequestId) -> Writer {
        self.writer(request, 0)
    }

    /// Records the job that answers a request. The first one is kept.
    pub(super) fn record_job(&self, job: &JobId) {
        let _first = self.job.get_or_init(|| job.clone());
    }

    /// The job that answers a request, if one was created.
    pub(super) fn job(&self) -> Option<Arc<str>> {
        self.job.get().map(|job| Arc::from(job.as_str()))
    }

    /// Records the failure of a request. The first one is kept.
    pub(super) fn record_failure(&self, failure: CallFailure) {
        self.failure.set(failure);
    }

    /// The failure of a request, set when it is known.
    pub(super) fn failure(&self) -> &LateFailure {
        &self.failure
    }

    /// Records that the access token lacks a scope.
    pub(super) fn record_missing_scope(&self, scope: &'static str) {
        let _first = self.missing_scope.get_or_init(|| scope);
        self.record_failure(CallFailure::Rpc(codes::INVALID_REQUEST));
    }

    /// Records a JSON-RPC error and its retry delay, if it is a rate limit error.
    pub(super) fn record_error(&self, error: &RpcError) {
        if let Some(wait) = error.retry_after() {
            let _first = self.retry_after.get_or_init(|| wait);
        }
        self.record_failure(CallFailure::Rpc(error.code));
    }

    /// The retry delay of a rate limit error.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after.get().copied()
    }

    /// The scope that the access token lacks.
    pub(super) fn missing_scope(&self) -> Option<&'static str> {
        self.missing_scope.get().copied()
    }

    /// Records the failure of the job that answered the request, if it failed. If the job cannot be
    /// read, the failure stays unknown here; the worker counts it.
    pub(super) async fn record_job_failure(&self, user: &UserId) {
        let (Some(id), Some(jobs)) = (self.job.get(), self.engine.jobs()) else {
            return;
        };
        match jobs.get(user, id).await {
            Ok(job) => {
                if let Some(failure) = job.and_then(|it| it.failure()) {
                    self.record_failure(failure);
                }
            }
            Err(error) => tracing::debug!(%error, "Could not read how a job has ended"),
        }
    }

    /// Adds the response to a request, or removes the request without one because it was cancelled.
    pub(super) async fn finish(&self, writer: &Writer, answer: Option<Vec<u8>>) {
        let mut state = self.state.lock().await;
        match &mut *state {
            ResponseState::Decided => {}
            ResponseState::Streaming => {
                drop(state);
                let answer = match answer {
                    Some(answer) => Some(self.storable(writer, answer).await),
                    None => None,
                };
                let answer = answer.as_deref().map(String::from_utf8_lossy);
                let log = &self.engine.stores.log;
                let finish = || log.finish(writer, answer.as_deref());
                if let Err(error) = retry_for(ANSWER_TIMEOUT, finish).await {
                    tracing::error!(
                        dependency = error.dependency(), %error,
                        "Could not store a response; the call counts as lost"
                    );
                }
            }
            ResponseState::Undecided { pending, answers, .. } => {
                pending.retain(|pending| pending.0 != writer.request);
                answers.push((writer.request.clone(), answer));
                if !pending.is_empty() {
                    return;
                }
                let decided = std::mem::replace(&mut *state, ResponseState::Decided);
                let ResponseState::Undecided { answers, batch, decide, .. } = decided else {
                    return;
                };
                let answers: Vec<_> =
                    answers.into_iter().filter_map(|(_, answer)| answer).collect();
                let decision = match (answers.len(), batch) {
                    (0, _) => ResponseMode::Empty,
                    (_, true) => ResponseMode::Json(array(&answers)),
                    (_, false) => ResponseMode::Json(answers.concat()),
                };
                // Fails if the client has disconnected: without a stream it cannot resume.
                drop(decide.send(decision));
            }
        }
    }

    /// Returns the response, or an error in its place if it exceeds the caller's storage quota.
    async fn storable(&self, writer: &Writer, answer: Vec<u8>) -> Vec<u8> {
        if self.engine.reserve_storage(&self.caller, answer.len()).await {
            return answer;
        }
        let error = format!(
            "the call has ended and may have taken effect, but its response of {} bytes was \
             discarded: your recent responses have reached the storage limit of a user; wait a few \
             minutes, or accept `application/json`",
            answer.len()
        );
        let error = RpcError::new(codes::TOO_MANY_REQUESTS, error);
        self.record_failure(CallFailure::Rpc(error.code));
        rpc::encode_error(Some(&writer.request), &error)
    }

    /// Renews the lease of a writer. `false`: the writer is no longer current. Without a stream
    /// there is no lease, and the result is `true`.
    pub(super) async fn renew(&self, writer: &Writer) -> bool {
        if !matches!(*self.state.lock().await, ResponseState::Streaming) {
            return true;
        }
        self.engine.stores.log.renew(writer, LEASE).await.unwrap_or_else(|error| {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not renew a lease; retrying in 2 s"
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

/// Sends the events of a legacy call to its stream.
pub(super) struct LegacyOutlet {
    response: Arc<LegacyResponse>,
    writer: Writer,
    /// The number of the last message of this run. Locked during a write, so that messages are
    /// appended in order.
    written: Mutex<u64>,
}

impl LegacyOutlet {
    pub(super) fn new(response: Arc<LegacyResponse>, writer: Writer) -> Arc<Self> {
        Arc::new(Self { response, writer, written: Mutex::default() })
    }

    /// Appends a message to the open stream. `false`: the writer is no longer current.
    async fn write(&self, message: &str) -> Result<bool, StoreError> {
        let mut written = self.written.lock().await;
        let number = *written + 1;
        let log = &self.response.engine.stores.log;
        let appended =
            retry_for(WRITE_TIMEOUT, || log.write(&self.writer, number, message)).await?;
        *written = number;
        Ok(appended)
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
                dependency = error.dependency(), %error,
                "Could not store an event of a call; the client does not receive it"
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
