//! The calls of legacy sessions that run in this process, so that a cancel finds them.
//!
//! A cancel may arrive at any instance. It is published, and each instance looks here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::{
    rpc::RequestId,
    store::{Received, SessionId, Signal, Topic},
};

/// The pause before a store that is away is tried again, for as long as the engine lives.
const TRY_AGAIN: Duration = Duration::from_secs(1);

type Calls = Mutex<HashMap<SessionId, Vec<(RequestId, CancellationToken)>>>;

/// Running calls by session.
#[derive(Clone, Default)]
pub(super) struct Running {
    calls: Arc<Calls>,
}

/// A running call. It is forgotten when this is dropped.
pub(super) struct Registration {
    calls: Arc<Calls>,
    session: SessionId,
    request: RequestId,
    pub(super) cancel: CancellationToken,
}

impl Running {
    pub(super) fn register(&self, session: &SessionId, request: &RequestId) -> Registration {
        let cancel = CancellationToken::new();
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(session.clone())
            .or_default()
            .push((request.clone(), cancel.clone()));
        Registration {
            calls: Arc::clone(&self.calls),
            session: session.clone(),
            request: request.clone(),
            cancel,
        }
    }

    /// Cancels one call, or all calls of a session.
    pub(super) fn cancel(&self, session: &SessionId, request: Option<&RequestId>) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, cancel) in calls.get(session).into_iter().flatten() {
            if request.is_none_or(|it| it == id) {
                cancel.cancel();
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = calls.get_mut(&self.session) else {
            return;
        };
        if let Some(index) = list.iter().position(|it| it.0 == self.request) {
            list.swap_remove(index);
        }
        if list.is_empty() {
            calls.remove(&self.session);
        }
    }
}

/// Passes published cancels on to the calls of this process, as long as the engine lives.
pub(super) fn listen_for_cancellations(engine: &Arc<Inner>) {
    let bus = Arc::clone(&engine.stores.bus);
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        let mut subscription = loop {
            match bus.subscribe(Topic::Control).await {
                Ok(subscription) => break subscription,
                Err(error) => {
                    tracing::warn!(error = %error, "Cancels cannot be heard yet: {error}");
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
            if engine.strong_count() == 0 {
                return;
            }
        };
        drop(bus);
        loop {
            let received = tokio::select! {
                received = subscription.recv() => received,
                () = gone(&engine) => return,
            };
            let Some(engine) = engine.upgrade() else {
                return;
            };
            match received {
                Received::Signal(Signal::Cancelled { session, request }) => {
                    engine.running.cancel(&session, request.as_ref());
                }
                Received::Signal(_) | Received::Missed => {}
            }
        }
    });
}

/// Ends soon after the last clone of the engine is dropped.
async fn gone(engine: &Weak<Inner>) {
    const CHECK: Duration = Duration::from_secs(5);
    while engine.strong_count() > 0 {
        tokio::time::sleep(CHECK).await;
    }
}
