//! The open connections of one listener, and which of them are closed to make room for new ones.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::client_network;

/// Limits on the number of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open connections. At this number, each new connection evicts the longest-idle connection of
    /// the network that has the most idle ones, or, if none is idle, a lingering one. If there is
    /// none either, further clients wait in the kernel's accept queue. A connection that has been idle
    /// or lingering for less than a second is evicted only by connections from other networks.
    pub open: usize,
    /// Connections in a lingering close. Beyond this number, the oldest one of the network that has
    /// the most of them is closed.
    pub lingering: usize,
    /// Connections beyond [`Self::open`] that are accepted while none can be evicted, for probes
    /// only: the platform and the operator get a response even if clients have used up the rest.
    pub for_probes: usize,
}

/// How long an idle or lingering connection is not evicted by others of its network. The clients of a
/// burst would otherwise evict each other before a request is read, or a response sent.
const GRACE: Duration = Duration::from_secs(1);

/// Minimum time between two warnings that connections were evicted.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// All open connections of one listener.
pub(super) struct Connections {
    limits: ConnectionLimits,
    state: Mutex<Table>,
    /// Wakes [`Connections::admit`] when a connection has closed or become idle.
    room: Notify,
}

#[derive(Default)]
struct Table {
    next_id: u64,
    open: HashMap<u64, Entry>,
    idle: Ranking,
    lingering: Ranking,
    warned: Option<Instant>,
}

struct Entry {
    network: Arc<str>,
    phase: Phase,
    evicted: CancellationToken,
}

/// The activity of a connection.
#[derive(Clone, Copy)]
enum Phase {
    /// Has a request whose response is not complete.
    Busy,
    /// Waits for a request head, or for the client to accept the end of a response; last made
    /// progress [`GRACE`] before this time.
    Idle(Instant),
    /// In a lingering close since [`GRACE`] before this time.
    Lingering(Instant),
}

impl Phase {
    /// Idle, with progress now.
    fn idle() -> Self {
        Self::Idle(Instant::now() + GRACE)
    }
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default(), room: Notify::new() })
    }

    /// Waits until there is room for a connection from `address`, evicting an idle or lingering one
    /// if necessary. Cancel safe.
    pub(super) async fn admit(self: &Arc<Self>, address: IpAddr) -> Slot {
        let network: Arc<str> = client_network(address).into();
        loop {
            if let Some(slot) = self.try_admit(&network) {
                return slot;
            }
            // A young connection can be evicted once that time has passed.
            let _elapsed = timeout(GRACE, self.room.notified()).await;
        }
    }

    /// Evicts the longest-idle connection of the network that has the most idle ones, or, if none
    /// is idle, the oldest lingering one of the network that has the most of them. Returns `false`
    /// if there is neither.
    pub(super) fn evict_idlest(&self) -> bool {
        self.state().evict_idlest(None)
    }

    fn try_admit(self: &Arc<Self>, network: &Arc<str>) -> Option<Slot> {
        let mut state = self.state();
        let is_full = state.open.len() >= self.limits.open && !state.evict_idlest(Some(network));
        if is_full && state.open.len() >= self.limits.open + self.limits.for_probes {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let evicted = CancellationToken::new();
        let phase = Phase::Busy;
        let entry = Entry { network: network.clone(), phase, evicted: evicted.clone() };
        state.open.insert(id, entry);
        state.set(id, |_| Phase::idle());
        drop(state);
        let activity = Activity { connections: self.clone(), id };
        Some(Slot { activity, evicted, for_probes: is_full })
    }

    fn set(&self, id: u64, change: impl FnOnce(Phase) -> Phase) {
        let mut state = self.state();
        state.set(id, change);
        while state.lingering.count > self.limits.lingering && state.evict_lingering() {}
        drop(state);
        self.room.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, Table> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn set(&mut self, id: u64, change: impl FnOnce(Phase) -> Phase) {
        let Some(entry) = self.open.get_mut(&id) else {
            return; // evicted
        };
        let before = std::mem::replace(&mut entry.phase, Phase::Busy);
        let after = change(before);
        entry.phase = after;
        let network = entry.network.clone();
        self.unrank(&network, before, id);
        match after {
            Phase::Busy => {}
            Phase::Idle(since) => self.idle.insert(network, (since, id)),
            Phase::Lingering(since) => self.lingering.insert(network, (since, id)),
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        self.unrank(&entry.network, entry.phase, id);
        Some(entry)
    }

    fn unrank(&mut self, network: &Arc<str>, phase: Phase, id: u64) {
        match phase {
            Phase::Busy => {}
            Phase::Idle(since) => self.idle.remove(network, (since, id)),
            Phase::Lingering(since) => self.lingering.remove(network, (since, id)),
        }
    }

    /// `newcomer`: the network of the connection that needs room.
    fn evict_idlest(&mut self, newcomer: Option<&Arc<str>>) -> bool {
        let Some(id) = self.idle.first_of_largest(newcomer) else {
            let lingering = self.lingering.first_of_largest(newcomer);
            return lingering.and_then(|id| self.evict(id)).is_some();
        };
        let idle = self.idle.count;
        if let Some(entry) = self.evict(id)
            && self.warned.is_none_or(|last| last.elapsed() >= WARN_EVERY)
        {
            self.warned = Some(Instant::now());
            let (open, network) = (self.open.len() + 1, &entry.network);
            tracing::warn!(
                open,
                idle,
                %network,
                "All connections are in use; evicted the longest-idle one of the network with the \
                 most idle connections, {network}"
            );
        }
        true
    }

    fn evict_lingering(&mut self) -> bool {
        self.lingering.first_of_largest(None).and_then(|id| self.evict(id)).is_some()
    }

    fn evict(&mut self, id: u64) -> Option<Entry> {
        let entry = self.remove(id)?;
        entry.evicted.cancel();
        Some(entry)
    }
}

/// The connections in one phase, grouped by network and sorted by age.
#[derive(Default)]
struct Ranking {
    networks: HashMap<Arc<str>, BTreeSet<(Instant, u64)>>,
    count: usize,
}

impl Ranking {
    fn insert(&mut self, network: Arc<str>, key: (Instant, u64)) {
        if self.networks.entry(network).or_default().insert(key) {
            self.count += 1;
        }
    }

    fn remove(&mut self, network: &Arc<str>, key: (Instant, u64)) {
        let Some(connections) = self.networks.get_mut(network) else {
            return;
        };
        if connections.remove(&key) {
            self.count -= 1;
        }
        if connections.is_empty() {
            self.networks.remove(network);
        }
    }

    /// Returns the oldest connection of the network that has the most. `None` also if that is the network
    /// of `newcomer`, and the connection is too young to make room for it.
    fn first_of_largest(&self, newcomer: Option<&Arc<str>>) -> Option<u64> {
        let (network, connections) = self.networks.iter().max_by_key(|(_, connections)| {
            (connections.len(), Reverse(connections.first().copied()))
        })?;
        let (since, id) = connections.first()?;
        let is_too_young = newcomer == Some(network) && *since > Instant::now();
        (!is_too_young).then_some(*id)
    }
}

/// The slot of one open connection, released on drop.
pub(super) struct Slot {
    activity: Activity,
    evicted: CancellationToken,
    for_probes: bool,
}

impl Slot {
    /// Returns whether the connection was accepted for probes only.
    pub(super) fn is_for_probes(&self) -> bool {
        self.for_probes
    }

    /// Waits until this connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Activity { connections, id } = &self.activity;
        connections.state().remove(*id);
        connections.room.notify_one();
    }
}

/// Reports the activity of a connection.
#[derive(Clone)]
pub(super) struct Activity {
    connections: Arc<Connections>,
    id: u64,
}

impl Activity {
    /// Marks the connection as busy until the guard is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.connections.set(self.id, |_| Phase::Busy);
        InFlight(self.clone())
    }

    /// Records progress: the client accepted bytes for which a write had waited.
    pub(super) fn touch(&self) {
        self.connections.set(self.id, |phase| match phase {
            Phase::Idle(_) => Phase::idle(),
            Phase::Busy | Phase::Lingering(_) => phase,
        });
    }

    /// Marks the connection as lingering.
    pub(super) fn linger(&self) {
        self.connections.set(self.id, |_| Phase::Lingering(Instant::now() + GRACE));
    }
}

/// The guard of a request whose response is not complete.
pub(super) struct InFlight(Activity);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.connections.set(self.0.id, |_| Phase::idle());
    }
}
