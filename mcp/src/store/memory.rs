//! The stores of one process: for the embedded mode and for tests.
//!
//! Everything is bounded and expires as it would in Redis. One lock holds it all; nothing waits
//! while holding it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Answered, Bus, CatalogDigest, EventNumber, Fanout, MAX_EVENTS, MAX_SESSIONS_PER_USER,
    MAX_STREAM_BYTES, MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTIONS, Mark, OpenQuestion, Orphan, Page,
    Questions, STREAM_TTL, Session, SessionId, Sessions, Signal, StoreError, StoredCall, Stores,
    StreamId, StreamKey, StreamLog, Subscription, Topic, Writer,
};
use crate::{caller::UserId, job::JobId, question::Answer, rpc::RequestId, types::LogLevel};

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
            state: Mutex::new(MemoryState {
                sessions: HashMap::new(),
                calls: Vec::new(),
                streams: HashMap::new(),
                announced: None,
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
    state: Mutex<MemoryState>,
}

struct MemoryState {
    sessions: HashMap<SessionId, (Session, Instant)>,
    calls: Vec<WaitingCall>,
    streams: HashMap<StreamKey, Stream>,
    announced: Option<CatalogDigest>,
    next_sweep: Instant,
}

struct WaitingCall {
    writer: Writer,
    call: StoredCall,
    /// The ids of questions and the tool's own keys.
    open: BTreeMap<String, String>,
    expires: Instant,
}

struct Stream {
    events: VecDeque<(EventNumber, Arc<str>)>,
    /// Of all events together.
    bytes: usize,
    last: EventNumber,
    pending: Vec<Pending>,
    expires: Instant,
}

/// A request that is not answered yet.
struct Pending {
    request: RequestId,
    term: u64,
    lapses: Instant,
    written: u64,
    lost: u64,
    call: Option<StoredCall>,
    /// The job that will answer it.
    job: Option<JobId>,
    marks: HashMap<String, f64>,
}

impl Pending {
    fn writer(&self, key: &StreamKey) -> Writer {
        Writer { key: key.clone(), request: self.request.clone(), term: self.term }
    }
}

impl Stream {
    fn new(requests: &[(RequestId, Option<StoredCall>)], lease: Duration) -> Self {
        let now = Instant::now();
        let pending = requests.iter().map(|(request, call)| Pending {
            request: request.clone(),
            term: 0,
            lapses: now + lease,
            written: 0,
            lost: 0,
            call: call.clone(),
            job: None,
            marks: HashMap::new(),
        });
        Self {
            events: VecDeque::new(),
            bytes: 0,
            last: 0,
            pending: pending.collect(),
            expires: now + STREAM_TTL,
        }
    }

    fn push(&mut self, message: &str) {
        self.last += 1;
        self.events.push_back((self.last, message.into()));
        self.bytes += message.len();
        while (self.events.len() > MAX_EVENTS || self.bytes > MAX_STREAM_BYTES)
            && self.events.len() > 1
            && let Some((_, oldest)) = self.events.pop_front()
        {
            self.bytes -= oldest.len();
        }
        self.expires = self.expires.max(Instant::now() + STREAM_TTL);
    }

    /// The request of a writer, unless somebody else has it by now.
    fn pending(&mut self, writer: &Writer) -> Option<&mut Pending> {
        let mut pending = self.pending.iter_mut();
        pending.find(|it| it.request == writer.request && it.term == writer.term)
    }
}

impl MemoryState {
    /// Removes the sessions of a user that were idle for longest, until there is room for one more.
    fn make_room(&mut self, user: &UserId, session_ttl: Duration) -> Vec<SessionId> {
        let now = Instant::now();
        let mut theirs: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, (session, used))| session.user == *user && now < *used + session_ttl)
            .map(|(id, (_, used))| (*used, id.clone()))
            .collect();
        let excess = (theirs.len() + 1).saturating_sub(MAX_SESSIONS_PER_USER);
        theirs.sort_unstable_by_key(|(used, _)| *used);
        let evicted: Vec<_> = theirs.into_iter().take(excess).map(|(_, id)| id).collect();
        for id in &evicted {
            self.sessions.remove(id);
        }
        evicted
    }

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
    fn state(&self) -> MutexGuard<'_, MemoryState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(self.session_ttl);
        state
    }
}

#[async_trait]
impl Sessions for Memory {
    async fn create(
        &self,
        id: &SessionId,
        session: &Session,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut state = self.state();
        let evicted = state.make_room(&session.user, self.session_ttl);
        if state.sessions.len() >= MAX_SESSIONS {
            let idlest =
                state.sessions.iter().min_by_key(|(_, (_, used))| *used).map(|it| it.0.clone());
            if let Some(idlest) = idlest {
                state.sessions.remove(&idlest);
            }
        }
        state.sessions.insert(id.clone(), (session.clone(), Instant::now()));
        Ok(evicted)
    }

    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let Some((session, touched)) = state.sessions.get_mut(id) else {
            return Ok(None);
        };
        if session.user != *user || now >= *touched + self.session_ttl {
            return Ok(None);
        }
        *touched = now;
        Ok(Some(session.clone()))
    }

    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.log_level = level;
        }
        Ok(())
    }

    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.catalog = catalog.clone();
        }
        Ok(())
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some((session, _)) = state.sessions.get_mut(id) else {
            return Ok(false);
        };
        let bytes: usize = session.subscriptions.iter().map(String::len).sum();
        let full = session.subscriptions.len() >= MAX_SUBSCRIPTIONS
            || bytes + uri.len() > MAX_SUBSCRIPTION_BYTES;
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

    async fn delete(&self, user: &UserId, id: &SessionId) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.sessions.get(id).is_some_and(|(session, _)| session.user != *user) {
            return Ok(false);
        }
        state.calls.retain(|it| it.writer.key.session != *id);
        Ok(state.sessions.remove(id).is_some())
    }
}

#[async_trait]
impl Questions for Memory {
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        let kept = state.calls.iter().any(|it| it.writer == *writer);
        let Some(stream) = state.streams.get_mut(&writer.key) else {
            return Ok(false);
        };
        let Some(pending) = stream.pending(writer) else {
            return Ok(false);
        };
        if kept {
            return Ok(true);
        }
        let now = Instant::now();
        pending.lapses = now + ttl + lease;
        pending.call = None;
        stream.expires = stream.expires.max(now + ttl + lease + STREAM_TTL);
        for question in open {
            stream.push(&question.message);
        }
        let open = open.iter().map(|it| (it.id.clone(), it.key.clone())).collect();
        let (writer, call) = (writer.clone(), call.clone());
        let signal = Signal::StreamChanged(writer.key.clone());
        state.calls.push(WaitingCall { writer, call, open, expires: now + ttl });
        drop(state);
        self.fanout.deliver(signal);
        Ok(true)
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: Answer,
        lease: Duration,
    ) -> Result<Answered, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let found = state.calls.iter_mut().enumerate().find_map(|(index, it)| {
            let alive = it.writer.key.session == *session && now < it.expires;
            let key = alive.then(|| it.open.remove(question)).flatten()?;
            it.call.answers.insert(key, answer.clone());
            Some((index, it.open.is_empty()))
        });
        let Some((index, complete)) = found else {
            return Ok(Answered::Unknown);
        };
        if !complete {
            return Ok(Answered::Waiting);
        }
        let WaitingCall { mut writer, call, .. } = state.calls.swap_remove(index);
        let pending = state.streams.get_mut(&writer.key).and_then(|it| it.pending(&writer));
        let Some(pending) = pending else {
            return Ok(Answered::Unknown);
        };
        pending.term += 1;
        pending.written = 0;
        pending.lapses = now + lease;
        pending.call = Some(call.clone());
        writer.term = pending.term;
        Ok(Answered::Complete(writer, call))
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError> {
        let mut state = self.state();
        let found = state
            .calls
            .iter()
            .position(|it| it.writer.key.session == *session && it.writer.request == *request);
        Ok(found.map(|index| state.calls.swap_remove(index).writer))
    }
}

#[async_trait]
impl StreamLog for Memory {
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.state().streams.insert(key.clone(), Stream::new(requests, lease));
        Ok(())
    }

    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError> {
        let key = StreamKey { session: session.clone(), stream: StreamId::standalone() };
        {
            let mut state = self.state();
            let stream = state.streams.entry(key.clone());
            stream.or_insert_with(|| Stream::new(&[], Duration::ZERO)).push(message);
        }
        self.fanout.deliver(Signal::StreamChanged(key));
        Ok(())
    }

    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(&writer.key) else {
                return Ok(false);
            };
            let Some(pending) = stream.pending(writer) else {
                return Ok(false);
            };
            if number <= pending.written {
                return Ok(true);
            }
            pending.written = number;
            stream.push(message);
        }
        self.fanout.deliver(Signal::StreamChanged(writer.key.clone()));
        Ok(true)
    }

    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(&writer.key) else {
                return Ok(());
            };
            if stream.pending(writer).is_none() {
                return Ok(());
            }
            stream.pending.retain(|it| it.request != writer.request);
            if let Some(answer) = answer {
                stream.push(answer);
            }
        }
        self.fanout.deliver(Signal::StreamChanged(writer.key.clone()));
        Ok(())
    }

    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError> {
        let mut changed = Vec::new();
        for (key, stream) in &mut self.state().streams {
            let before = stream.pending.len();
            if key.session == *session {
                stream.pending.retain(|it| it.request != *request || it.job.is_some());
            }
            if stream.pending.len() < before {
                changed.push(key.clone());
            }
        }
        for key in changed {
            self.fanout.deliver(Signal::StreamChanged(key));
        }
        Ok(())
    }

    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some(stream) = state.streams.get_mut(&writer.key) else {
            return Ok(false);
        };
        let Some(pending) = stream.pending(writer) else {
            return Ok(false);
        };
        let now = Instant::now();
        pending.lapses = now + lease;
        stream.expires = stream.expires.max(now + lease + STREAM_TTL);
        Ok(true)
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
        let lapses = stream.pending.iter().map(|it| it.lapses).min();
        let jobs = stream.pending.iter().filter_map(|it| Some((it.writer(key), it.job.clone()?)));
        Ok(Some(Page {
            jobs: jobs.collect(),
            events,
            last: stream.last,
            ended: complete && !open,
            lapses: lapses.map(|it| it.saturating_duration_since(Instant::now())),
        }))
    }

    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let Some(stream) = state.streams.get_mut(key) else {
            return Ok(Vec::new());
        };
        let lapsed = stream.pending.iter_mut().filter(|it| it.lapses <= now);
        let taken = lapsed.map(|it| {
            it.term += 1;
            it.lost += 1;
            it.written = 0;
            it.lapses = now + lease;
            Orphan { writer: it.writer(key), lost: it.lost, call: it.call.clone() }
        });
        Ok(taken.collect())
    }

    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        {
            let mut state = self.state();
            let stream = state.streams.get_mut(&writer.key);
            let Some(pending) = stream.and_then(|it| it.pending(writer)) else {
                return Ok(false);
            };
            pending.job = Some(job.clone());
            pending.call = None;
        }
        self.renew(writer, lease).await
    }

    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError> {
        let state = self.state();
        let streams = state.streams.iter().filter(|(key, _)| key.session == *session);
        let mut pending = streams.flat_map(|(key, it)| it.pending.iter().map(move |it| (key, it)));
        let found = pending.find(|(_, it)| it.request == *request && it.job.is_some());
        Ok(found.and_then(|(key, it)| Some((it.writer(key), it.job.clone()?))))
    }

    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(&writer.key) else {
                return Ok(false);
            };
            let Some(pending) = stream.pending(writer) else {
                return Ok(false);
            };
            if let Some(Mark { name, value }) = mark {
                if pending.marks.get(name).is_some_and(|before| value <= before) {
                    return Ok(true);
                }
                pending.marks.insert(name.clone(), *value);
            }
            stream.push(message);
        }
        self.fanout.deliver(Signal::StreamChanged(writer.key.clone()));
        Ok(true)
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        self.state().streams.retain(|key, _| key.session != *session);
        Ok(())
    }

    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError> {
        self.state().streams.remove(key);
        Ok(())
    }

    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError> {
        let state = self.state();
        let streams = state.streams.keys().filter(|key| key.session == *session);
        let calls = streams.map(|key| key.stream.clone()).filter(|it| !it.is_standalone());
        Ok(calls.collect())
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

    async fn announce(&self, catalog: &CatalogDigest) -> Result<Option<CatalogDigest>, StoreError> {
        Ok(self.state().announced.replace(catalog.clone()))
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
