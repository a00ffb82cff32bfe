//! The contents of the stores in memory, behind one lock.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    caller::UserId,
    id::{JobId, SessionId},
    rpc::RequestId,
    store::{
        CatalogDigest, EventNumber, Fanout, MAX_EVENTS, MAX_SESSIONS_PER_USER, MAX_STREAM_BYTES,
        STREAM_TTL, Session, Signal, StoredCall, StreamKey, Writer, count_appended,
    },
};

/// The maximum number of sessions. A new session above it replaces the one that was idle longest,
/// whose client receives 404 and initializes again.
pub const MAX_SESSIONS: usize = 10_000;

/// Receives the signals of the stores in memory instead of the subscribers of this process.
pub type SignalSink = Arc<dyn Fn(Signal) + Send + Sync>;

/// The minimum time between two removals of expired entries.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

pub(super) struct Memory {
    pub(super) session_ttl: Duration,
    pub(super) fanout: Fanout,
    sink: Option<SignalSink>,
    pub(super) state: Mutex<MemoryState>,
}

pub(super) struct MemoryState {
    pub(super) sessions: BTreeMap<SessionId, (Session, Instant)>,
    pub(super) calls: Vec<WaitingCall>,
    pub(super) streams: BTreeMap<StreamKey, Stream>,
    pub(super) announced: Option<CatalogDigest>,
    pub(super) next_sweep: Instant,
}

pub(super) struct WaitingCall {
    pub(super) writer: Writer,
    pub(super) call: StoredCall,
    /// The open questions: JSON-RPC id to the tool's key.
    pub(super) open: BTreeMap<String, String>,
    pub(super) expires: Instant,
}

pub(super) struct Stream {
    pub(super) events: VecDeque<(EventNumber, Arc<str>)>,
    /// The total size of the events.
    pub(super) bytes: usize,
    pub(super) last: EventNumber,
    pub(super) pending: Vec<Pending>,
    pub(super) expires: Instant,
}

/// A request that is not answered yet, and the state of its current run.
pub(super) struct Pending {
    pub(super) request: RequestId,
    pub(super) term: u64,
    pub(super) lapses: Instant,
    pub(super) written: u64,
    pub(super) lost: u64,
    pub(super) call: Option<StoredCall>,
    /// Whether the current run may have started.
    pub(super) started: bool,
    /// The job that will answer the request.
    pub(super) job: Option<JobId>,
    pub(super) marks: HashMap<String, f64>,
}

impl Pending {
    pub(super) fn writer(&self, key: &StreamKey) -> Writer {
        Writer { key: key.clone(), request: self.request.clone(), term: self.term }
    }
}

impl Stream {
    pub(super) fn new(requests: &[(RequestId, Option<StoredCall>)], lease: Duration) -> Self {
        let now = Instant::now();
        let pending = requests.iter().map(|(request, call)| Pending {
            request: request.clone(),
            term: 0,
            lapses: now + lease,
            written: 0,
            lost: 0,
            call: call.clone(),
            started: true,
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

    pub(super) fn push(&mut self, message: &str) {
        count_appended(1);
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

    /// The request of a writer. `None`: answered, or another run is current.
    pub(super) fn pending(&mut self, writer: &Writer) -> Option<&mut Pending> {
        let mut all = self.pending.iter_mut();
        all.find(|pending| pending.request == writer.request && pending.term == writer.term)
    }
}

impl MemoryState {
    /// Removes the longest idle sessions of a user until another one fits, and returns their ids.
    pub(super) fn make_room(&mut self, user: &UserId, session_ttl: Duration) -> Vec<SessionId> {
        let now = Instant::now();
        let mut sessions: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, (session, used))| session.user == *user && now < *used + session_ttl)
            .map(|(id, (_, used))| (*used, id.clone()))
            .collect();
        let excess = (sessions.len() + 1).saturating_sub(MAX_SESSIONS_PER_USER);
        sessions.sort_unstable_by_key(|(used, _)| *used);
        let evicted: Vec<_> = sessions.into_iter().take(excess).map(|(_, id)| id).collect();
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
        self.remove_expired(session_ttl);
    }

    fn remove_expired(&mut self, session_ttl: Duration) {
        let now = Instant::now();
        self.sessions.retain(|_, (_, used)| now < *used + session_ttl);
        self.calls.retain(|it| now < it.expires);
        self.streams.retain(|_, it| now < it.expires);
    }
}

impl Memory {
    pub(super) fn new(session_ttl: Duration, sink: Option<SignalSink>) -> Self {
        Self {
            session_ttl,
            fanout: Fanout::default(),
            sink,
            state: Mutex::new(MemoryState {
                sessions: BTreeMap::new(),
                calls: Vec::new(),
                streams: BTreeMap::new(),
                announced: None,
                next_sweep: Instant::now() + SWEEP_INTERVAL,
            }),
        }
    }

    /// Delivers a signal to the sink, or to the subscribers of this process.
    pub(super) fn deliver(&self, signal: Signal) {
        match &self.sink {
            Some(sink) => sink(signal),
            None => self.fanout.deliver(signal),
        }
    }

    /// The number of entries that have not expired.
    pub(super) fn entries(&self) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.remove_expired(self.session_ttl);
        state.sessions.len() + state.calls.len() + state.streams.len()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, MemoryState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(self.session_ttl);
        state
    }
}
