//! Registry of the legacy calls that run in this process, for cancellation.
//!
//! The instance that receives a cancellation publishes it; every instance looks it up here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::{id::SessionId, rpc::RequestId};

type Calls = Mutex<HashMap<SessionId, Vec<(RequestId, CancellationToken)>>>;

/// The running calls by session.
#[derive(Clone, Default)]
pub(in crate::engine) struct RunningCalls {
    calls: Arc<Calls>,
}

/// The registration of a running call, removed on drop.
pub(in crate::engine) struct Registration {
    calls: Arc<Calls>,
    session: SessionId,
    request: RequestId,
    pub(in crate::engine) cancel: CancellationToken,
}

impl RunningCalls {
    pub(in crate::engine) fn register(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Registration {
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
    pub(in crate::engine) fn cancel(&self, session: &SessionId, request: Option<&RequestId>) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, cancel) in calls.get(session).into_iter().flatten() {
            if request.is_none_or(|request| request == id) {
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
        if let Some(index) = list.iter().position(|call| call.0 == self.request) {
            list.swap_remove(index);
        }
        if list.is_empty() {
            calls.remove(&self.session);
        }
    }
}
