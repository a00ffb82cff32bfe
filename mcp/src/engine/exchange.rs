//! One legacy POST and its answers: JSON if they are quick and alone, a stream otherwise.
//!
//! Nothing is decided when a call starts. If every request is answered before anything else is
//! sent, the answer is plain JSON and no stream ever exists. The first event, or [`super::QUICK`],
//! opens a stream in the log; from then on whoever holds the socket follows the log, and the call
//! only writes to it. The call does not care whether anybody still listens: in the legacy era a
//! lost connection is not a cancellation.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::{Mutex, oneshot};

use super::Inner;
use crate::{
    call::Outlet,
    rpc::RequestId,
    store::{Signal, StoreError, StreamKey},
};

/// How long a writer may be silent before its streams count as orphaned. Renewed every third of it.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// How long a call waits for the socket to follow its stream before it goes on.
const FOLLOW_LIMIT: Duration = Duration::from_secs(1);

/// What becomes of the HTTP response.
pub(super) enum Decision {
    /// Plain JSON.
    Json(Vec<u8>),
    /// A stream. Whoever serves it says when it listens, so that nothing is missed.
    Stream { listening: oneshot::Sender<()> },
    /// Every request was cancelled: there is nothing to answer.
    Nothing,
}

/// One legacy POST and its answers.
pub(super) struct Exchange {
    engine: Arc<Inner>,
    pub(super) key: StreamKey,
    state: Mutex<State>,
}

enum State {
    Undecided {
        pending: Vec<RequestId>,
        answers: Vec<Vec<u8>>,
        /// Whether the body was a batch: then the answer is an array.
        batch: bool,
        /// Whether the client takes a stream at all.
        may_stream: bool,
        decide: oneshot::Sender<Decision>,
    },
    Streaming,
    Decided,
}

impl Exchange {
    /// Begins with requests that wait for answers.
    pub(super) fn new(
        engine: Arc<Inner>,
        key: StreamKey,
        pending: Vec<RequestId>,
        batch: bool,
        may_stream: bool,
    ) -> (Arc<Self>, oneshot::Receiver<Decision>) {
        let (decide, decision) = oneshot::channel();
        let answers = Vec::new();
        let state = State::Undecided { pending, answers, batch, may_stream, decide };
        (Arc::new(Self { engine, key, state: Mutex::new(state) }), decision)
    }

    /// Goes on with a stream that another exchange has opened, perhaps elsewhere.
    pub(super) fn resumed(engine: Arc<Inner>, key: StreamKey) -> Arc<Self> {
        Arc::new(Self { engine, key, state: Mutex::new(State::Streaming) })
    }

    /// Makes the answer a stream if that is still open. False if it is not a stream and will not
    /// become one.
    pub(super) async fn open_stream(&self) -> Result<bool, StoreError> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Streaming => return Ok(true),
            State::Decided | State::Undecided { may_stream: false, .. } => return Ok(false),
            State::Undecided { pending, answers, .. } => {
                let log = &self.engine.stores.log;
                log.open(&self.key, pending, LEASE).await?;
                for answer in answers {
                    log.append(&self.key, &String::from_utf8_lossy(answer)).await?;
                }
            }
        }
        let State::Undecided { decide, .. } = std::mem::replace(&mut *state, State::Streaming)
        else {
            return Ok(true);
        };
        let (listening, listens) = oneshot::channel();
        if decide.send(Decision::Stream { listening }).is_ok() {
            // Fails at once if the client has gone; then it reads the log when it comes back.
            drop(tokio::time::timeout(FOLLOW_LIMIT, listens).await);
        }
        Ok(true)
    }

    /// Answers a request, or drops it unanswered because the client cancelled it.
    pub(super) async fn finish(&self, request: &RequestId, answer: Option<Vec<u8>>) {
        let mut state = self.state.lock().await;
        match &mut *state {
            State::Decided => {}
            State::Streaming => {
                let answer = answer.as_deref().map(String::from_utf8_lossy);
                let log = &self.engine.stores.log;
                if let Err(error) = log.finish(&self.key, request, answer.as_deref()).await {
                    tracing::error!(error = %error, "An answer could not be stored: {error}");
                }
            }
            State::Undecided { pending, answers, .. } => {
                pending.retain(|it| it != request);
                answers.extend(answer);
                if !pending.is_empty() {
                    return;
                }
                let decided = std::mem::replace(&mut *state, State::Decided);
                let State::Undecided { answers, batch, decide, .. } = decided else {
                    return;
                };
                let decision = match (answers.len(), batch) {
                    (0, _) => Decision::Nothing,
                    (_, true) => Decision::Json(array(&answers)),
                    (_, false) => Decision::Json(answers.concat()),
                };
                // Fails if the client has gone: without a stream there is nothing to come back to.
                drop(decide.send(decision));
            }
        }
    }

    /// Tells the log that the writer is alive. Does nothing before there is a stream.
    pub(super) async fn renew(&self) {
        let streaming = matches!(*self.state.lock().await, State::Streaming);
        if streaming && let Err(error) = self.engine.stores.log.renew(&self.key, LEASE).await {
            tracing::warn!(error = %error, "A lease could not be renewed: {error}");
        }
    }
}

fn array(answers: &[Vec<u8>]) -> Vec<u8> {
    let mut array = vec![b'['];
    array.extend(answers.join(&b','));
    array.push(b']');
    array
}

/// What a legacy call writes to.
pub(super) struct LegacyOutlet {
    pub(super) exchange: Arc<Exchange>,
}

#[async_trait]
impl Outlet for LegacyOutlet {
    async fn send(&self, notification: String) {
        let exchange = &self.exchange;
        let sent = match exchange.open_stream().await {
            Ok(true) => exchange.engine.stores.log.append(&exchange.key, &notification).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(error = %error, "An event of a call could not be stored: {error}");
        }
    }

    async fn release(&self) {
        let exchange = &self.exchange;
        if let Ok(true) = exchange.open_stream().await {
            self.publish(Signal::StreamReleased(exchange.key.clone())).await;
        }
    }

    async fn publish(&self, signal: Signal) {
        self.exchange.engine.publish(signal).await;
    }
}

impl Inner {
    pub(super) async fn publish(&self, signal: Signal) {
        if let Err(error) = self.stores.bus.publish(signal).await {
            tracing::warn!(error = %error, "A signal could not be published: {error}");
        }
    }
}
