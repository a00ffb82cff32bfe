//! Applies cancellations that any instance has received to the calls of this instance.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{
    engine::Inner,
    store::{Received, Signal, Topic},
};

/// The delay between attempts to subscribe, as long as the engine exists.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Starts a task that applies published cancellations to the calls of this process. It ends soon
/// after the engine is dropped.
pub(in crate::engine) fn listen(engine: &Arc<Inner>) {
    let bus = Arc::clone(&engine.stores.bus);
    let environment = engine.environment.clone();
    let engine = Arc::downgrade(engine);
    environment.spawn(async move {
        let mut subscription = loop {
            match bus.subscribe(Topic::Control).await {
                Ok(subscription) => break subscription,
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), %error,
                        "Could not subscribe to cancellation signals; retrying in 1 s"
                    );
                }
            }
            tokio::time::sleep(RETRY_DELAY).await;
            if engine.strong_count() == 0 {
                return;
            }
        };
        drop(bus);
        loop {
            let received = tokio::select! {
                biased;
                received = subscription.recv() => received,
                () = engine_dropped(&engine) => return,
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

/// Completes within 5 s after the last clone of the engine is dropped.
async fn engine_dropped(engine: &Weak<Inner>) {
    const CHECK: Duration = Duration::from_secs(5);
    while engine.strong_count() > 0 {
        tokio::time::sleep(CHECK).await;
    }
}
