//! The stores of one process: for the embedded mode and for tests.
//!
//! Everything is bounded and expires as it would in Redis. One lock holds it all; nothing waits
//! while holding it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Answered, Bus, EventNumber, Fanout, MAX_EVENTS, MAX_SUBSCRIPTIONS, Page, Questions, STREAM_TTL,
    Session, SessionId, Sessions, Signal, StoreError, Stores, StreamKey, StreamLog, Subscription,
    SuspendedCall, Topic,
};
use crate::{question::Answer, rpc::RequestId, types::LogLevel};

/// The most sessions that are kept. The longest idle one goes when another would exceed it: a
/// client notices a 404 and initialises again.
pub const MAX_SESSIONS: usize = 10_000;

/// How often expired entries are swept, at most.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

impl Stores {
    /// Stores that end with the process. `session_ttl`: how long an idle session is kept.
    pub fn in_memory(session_ttl: Duration) -> Self {
        let memory = Arc::new(Memory {
            session_ttl,
            fanout: Fanout::default(),
            state: Mutex::new(State {
                sessions: HashMap::new(),
                calls: Vec::new(),
                streams: HashMap::new(),
                next_sweep: Instant::now() + SWEEP_INTERVAL,
            }),
        });
        Self {
            sessions: memory.clone(),
            questions: memory.clone(),
            log: memory.clone(),
            bus: memory,
        }
    }
}

struct Memory {
    session_ttl: Duration,
    fanout: Fanout,
    state: Mutex<State>,
}

struct State {
    sessions: HashMap<SessionId, (Session, Instant)>,
    calls: Vec<Waiting>,
    streams: HashMap<StreamKey, Stream>,
    next_sweep: Instant,
}

struct Waiting {
    session: SessionId,
    call: SuspendedCall,
    expires: Instant,
}

struct Stream {
    events: VecDeque<(EventNumber, Arc<str>)>,
    last: EventNumber,
    pending: Vec<RequestId>,
    lease: Instant,
    expires: Instant,
}

impl Stream {
    fn new(pending: &[RequestId], lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            events: VecDeque::new(),
            last: 0,
            pending: pending.to_vec(),
            lease: now + lease,
            expires: now + STREAM_TTL,
        }
    }

    fn push(&mut self, message: &str) {
        self.last += 1;
        self.events.push_back((self.last, message.into()));
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
        self.expires = Instant::now() + STREAM_TTL;
    }
}

impl State {
    fn sweep(&mut self, session_ttl: Duration) {
        let now = Instant::now();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_INTERVAL;
        self.sessions.retain(|_, (_, used)| now < *used + session_ttl);
        self.calls.retain(|it| now < it.expires);
        self.streams.retain(|_, it| now < it.expires);
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(self.session_ttl);
        state
    }
}

#[async_trait]
impl Sessions for Memory {
    async fn create(&self, id: &SessionId, session: &Session) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.sessions.len() >= MAX_SESSIONS {
            let idlest =
                state.sessions.iter().min_by_key(|(_, (_, used))| *used).map(|it| it.0.clone());
            if let Some(idlest) = idlest {
                state.sessions.remove(&idlest);
            }
        }
        state.sessions.insert(id.clone(), (session.clone(), Instant::now()));
        Ok(())
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let Some((session, used)) = state.sessions.get_mut(id) else {
            return Ok(None);
        };
        if now >= *used + self.session_ttl {
            return Ok(None);
        }
        *used = now;
        Ok(Some(session.clone()))
    }

    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.log_level = level;
        }
        Ok(())
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some((session, _)) = state.sessions.get_mut(id) else {
            return Ok(false);
        };
        let full = session.subscriptions.len() >= MAX_SUBSCRIPTIONS;
        if full && !session.subscriptions.contains(uri) {
            return Ok(false);
        }
        session.subscriptions.insert(uri.to_owned());
        Ok(true)
    }

    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.subscriptions.remove(uri);
        }
        Ok(())
    }

    async fn delete(&self, id: &SessionId) -> Result<bool, StoreError> {
        let mut state = self.state();
        state.calls.retain(|it| it.session != *id);
        Ok(state.sessions.remove(id).is_some())
    }
}

#[async_trait]
impl Questions for Memory {
    async fn suspend(
        &self,
        session: &SessionId,
        call: &SuspendedCall,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let waiting =
            Waiting { session: session.clone(), call: call.clone(), expires: Instant::now() + ttl };
        self.state().calls.push(waiting);
        Ok(())
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: Answer,
    ) -> Result<Answered, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let found = state.calls.iter_mut().enumerate().find_map(|(index, it)| {
            let alive = it.session == *session && now < it.expires;
            let key = alive.then(|| it.call.open.remove(question)).flatten()?;
            it.call.answers.insert(key, answer.clone());
            Some((index, it.call.open.is_empty()))
        });
        Ok(match found {
            None => Answered::Unknown,
            Some((_, false)) => Answered::Waiting,
            Some((index, true)) => {
                Answered::Complete(Box::new(state.calls.swap_remove(index).call))
            }
        })
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Box<SuspendedCall>>, StoreError> {
        let mut state = self.state();
        let found =
            state.calls.iter().position(|it| it.session == *session && it.call.request == *request);
        Ok(found.map(|index| Box::new(state.calls.swap_remove(index).call)))
    }
}

#[async_trait]
impl StreamLog for Memory {
    async fn open(
        &self,
        key: &StreamKey,
        pending: &[RequestId],
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.state().streams.insert(key.clone(), Stream::new(pending, lease));
        Ok(())
    }

    async fn append(&self, key: &StreamKey, message: &str) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let stream = if key.stream.is_standalone() {
                state.streams.entry(key.clone()).or_insert_with(|| Stream::new(&[], Duration::ZERO))
            } else {
                match state.streams.get_mut(key) {
                    Some(stream) if !stream.pending.is_empty() => stream,
                    _ => return Ok(()),
                }
            };
            stream.push(message);
        }
        self.fanout.deliver(Signal::StreamChanged(key.clone()));
        Ok(())
    }

    async fn finish(
        &self,
        key: &StreamKey,
        request: &RequestId,
        answer: Option<&str>,
    ) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(key) else {
                return Ok(());
            };
            let Some(index) = stream.pending.iter().position(|it| it == request) else {
                return Ok(());
            };
            stream.pending.swap_remove(index);
            if let Some(answer) = answer {
                stream.push(answer);
            }
        }
        self.fanout.deliver(Signal::StreamChanged(key.clone()));
        Ok(())
    }

    async fn renew(&self, key: &StreamKey, lease: Duration) -> Result<(), StoreError> {
        if let Some(stream) = self.state().streams.get_mut(key) {
            let now = Instant::now();
            stream.lease = now + lease;
            stream.expires = stream.expires.max(now + lease + STREAM_TTL);
        }
        Ok(())
    }

    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError> {
        let state = self.state();
        let standalone = key.stream.is_standalone();
        let Some(stream) = state.streams.get(key) else {
            return Ok(standalone.then(Page::default));
        };
        let events: Vec<_> =
            stream.events.iter().filter(|(number, _)| *number > after).take(max).cloned().collect();
        let complete = events.last().map_or(after, |it| it.0) >= stream.last;
        let open = standalone || !stream.pending.is_empty();
        Ok(Some(Page {
            events,
            ended: complete && !open,
            orphaned: !standalone && open && Instant::now() >= stream.lease,
        }))
    }

    async fn abandon(
        &self,
        key: &StreamKey,
        write: &(dyn for<'a> Fn(&'a RequestId) -> String + Send + Sync),
    ) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(key) else {
                return Ok(());
            };
            if Instant::now() < stream.lease {
                return Ok(());
            }
            for request in std::mem::take(&mut stream.pending) {
                stream.push(&write(&request));
            }
        }
        self.fanout.deliver(Signal::StreamChanged(key.clone()));
        Ok(())
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        self.state().streams.retain(|key, _| key.session != *session);
        Ok(())
    }
}

#[async_trait]
impl Bus for Memory {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        self.fanout.deliver(signal);
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        Ok(self.fanout.subscribe(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite;

    #[tokio::test(start_paused = true)]
    async fn the_in_process_stores_pass_the_suite() {
        suite::run(|ttl| async move { Stores::in_memory(ttl) }, tokio::time::advance).await;
    }
}
