//! The simulated store: the state of the stores in memory, which pass the same suite as those in Redis,
//! behind one network link per process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use mcp::{
    RequestId, Signal, Stores,
    store::{
        EventNumber, SessionId, StreamKey, Topic,
        memory::{MemoryStores, SignalSink},
    },
};

use super::{
    node::{Node, Phase},
    world::{World, pass},
};

/// How long an idle session is kept.
pub(super) const SESSION_TTL: Duration = Duration::from_hours(24);

/// The state that all processes share.
pub(super) struct Store {
    world: Arc<World>,
    inner: Mutex<Inner>,
}

struct Inner {
    data: MemoryStores,
    session_ttl: Duration,
    is_down: bool,
    is_database_down: bool,
    /// The delay of every operation in milliseconds.
    delay: u64,
    /// The number of times that the data were lost.
    losses: u64,
    processes: Vec<Arc<Node>>,
    streams: BTreeMap<StreamKey, StreamRecord>,
}

/// What the simulation knows about a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamRecord {
    pub(super) requests: Vec<RequestId>,
    /// The requests whose cancellation has taken effect, and the last event before.
    pub(super) cancelled: Vec<(RequestId, EventNumber)>,
}

impl Store {
    /// Stores without data. `session_ttl`: how long an idle session is kept.
    pub(super) fn new(world: &Arc<World>, session_ttl: Duration) -> Arc<Self> {
        Arc::new_cyclic(|store| Self {
            world: Arc::clone(world),
            inner: Mutex::new(Inner {
                data: data(store, session_ttl),
                session_ttl,
                is_down: false,
                is_database_down: false,
                delay: 0,
                losses: 0,
                processes: Vec::new(),
                streams: BTreeMap::new(),
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stores without a network in between.
    pub(super) fn direct(&self) -> Stores {
        self.inner().data.stores()
    }

    /// The number of entries that have not expired.
    pub(super) fn entries(&self) -> usize {
        let data = self.inner().data.clone();
        data.entries()
    }

    /// Connects a process, in place of the dead ones.
    pub(super) fn connect(&self, node: &Arc<Node>) {
        let mut inner = self.inner();
        inner.processes.retain(|node| node.phase() != Phase::Dead);
        inner.processes.push(Arc::clone(node));
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.world.note(|| format!("the store is {}", if is_down { "down" } else { "up" }));
        self.inner().is_down = is_down;
        if is_down {
            let processes = self.inner().processes.clone();
            for node in &processes {
                node.hear(false);
            }
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.inner().is_down
    }

    pub(super) fn set_database_down(&self, is_down: bool) {
        self.world.note(|| format!("the database is {}", if is_down { "down" } else { "up" }));
        self.inner().is_database_down = is_down;
    }

    pub(super) fn is_database_down(&self) -> bool {
        self.inner().is_database_down
    }

    pub(super) fn set_delay(&self, delay: u64) {
        self.inner().delay = delay;
    }

    /// Restarts the store without its data.
    pub(super) fn lose_everything(self: &Arc<Self>) {
        self.world.note(|| "the store restarts empty".to_owned());
        let processes = {
            let mut inner = self.inner();
            inner.data = data(&Arc::downgrade(self), inner.session_ttl);
            inner.losses += 1;
            inner.streams.clear();
            inner.processes.clone()
        };
        for node in processes {
            node.hear(false);
            node.hear(true);
        }
    }

    /// The number of times that the data were lost.
    pub(super) fn losses(&self) -> u64 {
        self.inner().losses
    }

    /// Opens the connections for signals again after an outage.
    pub(super) fn reconnect(&self) {
        let processes = self.inner().processes.clone();
        processes.iter().filter(|node| !node.hears()).for_each(|node| node.hear(true));
    }

    pub(super) fn opened(&self, key: &StreamKey, requests: impl Iterator<Item = RequestId>) {
        let requests = requests.collect();
        self.inner().streams.insert(key.clone(), StreamRecord { requests, cancelled: Vec::new() });
    }

    /// Records that the cancellation of a request has taken effect.
    pub(super) async fn cancelled(&self, session: &SessionId, request: &RequestId) {
        let streams: Vec<_> = {
            let inner = self.inner();
            let of_session = inner.streams.iter().filter(|(key, _)| key.session == *session);
            let found = of_session.filter(|(_, record)| record.requests.contains(request));
            found.map(|(key, _)| key.clone()).collect()
        };
        for key in streams {
            let page = self.direct().log.read(&key, EventNumber::MAX, 1).await;
            let last = page.ok().flatten().map_or(0, |page| page.last);
            if let Some(record) = self.inner().streams.get_mut(&key) {
                record.cancelled.push((request.clone(), last));
            }
        }
    }

    /// The position of the last event of a stream.
    pub(super) async fn last_event(&self, session: &str, stream: &str) -> Option<EventNumber> {
        let is_wanted =
            |key: &&StreamKey| key.session.as_str() == session && key.stream.as_str() == stream;
        let key = self.inner().streams.keys().find(is_wanted).cloned()?;
        let page = self.direct().log.read(&key, EventNumber::MAX, 1).await.ok()??;
        Some(page.last)
    }

    /// The streams that were opened since the last loss of the data.
    pub(super) fn streams(&self) -> BTreeMap<StreamKey, StreamRecord> {
        self.inner().streams.clone()
    }

    /// Sends a signal to all processes.
    pub(super) fn publish(&self, signal: &Signal) {
        let processes = self.inner().processes.clone();
        for node in processes {
            let rates = &self.world.rates;
            let (is_lost, delay) = if self.world.is_calm() {
                (false, 0)
            } else {
                self.world.draw(|random| {
                    let is_lost = random.chance(rates.lose_signal);
                    let is_late = random.chance(rates.delay_signal);
                    (is_lost, if is_late { random.between(1, 40) } else { 0 })
                })
            };
            if is_lost {
                self.world.note(|| format!("lost at {}: {signal:?}", node.name));
            } else if delay == 0 {
                node.receive(signal);
            } else {
                let signal = signal.clone();
                tokio::spawn(async move {
                    pass(delay).await;
                    node.receive(&signal);
                });
            }
        }
    }

    /// Whether a process that exists is connected and has subscribed to a topic.
    pub(super) fn has_subscriber(&self, topic: &Topic) -> bool {
        let processes = self.inner().processes.clone();
        let subscribed = |node: &Arc<Node>| {
            node.phase() != Phase::Dead && node.hears() && node.fanout.has_subscriber(topic)
        };
        processes.iter().any(subscribed)
    }

    /// The delay of every operation in milliseconds.
    pub(super) fn delay(&self) -> u64 {
        self.inner().delay
    }
}

/// Empty data, whose signals go to all processes.
fn data(store: &Weak<Store>, session_ttl: Duration) -> MemoryStores {
    let store = Weak::clone(store);
    let sink: SignalSink = Arc::new(move |signal| {
        if let Some(store) = store.upgrade() {
            store.publish(&signal);
        }
    });
    MemoryStores::new(session_ttl, Some(sink))
}
