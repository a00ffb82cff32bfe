//! The instances of a schedule, and the faults that happen to them.

use std::{
    cell::OnceCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mcp::{Engine, Environment, SealKey, Settings, Stores, job::JobSettings};

use super::{
    link::Link,
    node::{Node, NodeEnvironment, Phase},
    plan::{Fault, FaultKind, Plan, Rates},
    process::Process,
    queue::Queue,
    queue_link::QueueLink,
    random::Random,
    store::{SESSION_TTL, Store},
    tools,
    worker::Worker,
    world::{World, pass},
};

/// How long an instance that shuts down waits for its calls, in milliseconds.
const SHUTDOWN: u64 = 10_000;

/// How long it takes until signals are received again after an interruption, in milliseconds.
const RECONNECT: u64 = 250;

/// The delay of every operation while the store is slow, in milliseconds.
const SLOW: u64 = 700;

/// The greatest difference of a clock to the true time, in seconds.
const SKEW: u64 = 5;

/// An instance of the server.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) node: Arc<Node>,
    pub(super) engine: Engine,
}

/// All instances, and what they share.
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    pub(super) store: Arc<Store>,
    pub(super) queue: Arc<Queue>,
    seed: u64,
    state: Mutex<State>,
}

struct State {
    instances: Vec<Instance>,
    workers: Vec<Worker>,
    /// The number of processes that were started so far.
    started: u64,
}

impl Cluster {
    /// Starts the instances and workers of a schedule.
    pub(super) fn start(world: &Arc<World>, plan: &Plan) -> Arc<Self> {
        let state = State { instances: Vec::new(), workers: Vec::new(), started: 0 };
        let cluster = Arc::new(Self {
            world: Arc::clone(world),
            store: Store::new(world, SESSION_TTL),
            queue: Queue::new(world, plan.quota),
            seed: plan.seed,
            state: Mutex::new(state),
        });
        for _ in 0..plan.instances {
            let instance = cluster.new_instance();
            cluster.state().instances.push(instance);
        }
        for _ in 0..plan.workers {
            let worker = cluster.new_worker();
            cluster.state().workers.push(worker);
        }
        cluster
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All instances that have not died or been replaced.
    pub(super) fn instances(&self) -> Vec<Instance> {
        self.state().instances.clone()
    }

    /// An instance for a request, as a load balancer chooses one: that an instance stands still, it
    /// does not know.
    pub(super) fn choose(&self, random: &mut Random) -> Option<Instance> {
        let instances = self.state().instances.clone();
        let alive: Vec<_> =
            instances.into_iter().filter(|it| it.node.phase() != Phase::Dead).collect();
        alive.get(random.index(alive.len())).cloned()
    }

    /// Starts a process with an engine.
    fn new_process(&self, kind: &str) -> Process {
        let number = {
            let mut state = self.state();
            state.started += 1;
            state.started
        };
        let mut random = Random::of_part(self.seed, 100 + number);
        let skew = random.below(2 * SKEW).cast_signed() - SKEW.cast_signed();
        let node = Node::new(&self.world, format!("{kind} {number}"), random, skew);
        let stores = Link::stores(&node, &self.store);
        let queue = QueueLink::new(&node, &self.store, &self.queue);
        node.set_queue(Arc::clone(&queue) as _);
        let environment = Environment::simulated(Arc::new(NodeEnvironment(Arc::clone(&node))));
        let bus = Arc::clone(&stores.bus);
        let engine = published().replica(stores, settings(&node, &queue), environment);
        Process { node, engine, bus, queue }
    }

    fn new_instance(&self) -> Instance {
        let Process { node, engine, .. } = self.new_process("instance");
        Instance { node, engine }
    }

    fn new_worker(&self) -> Worker {
        Worker::start(self.new_process("worker"))
    }

    /// The workers. Empty: the schedule has no jobs.
    pub(super) fn workers(&self) -> Vec<Worker> {
        self.state().workers.clone()
    }

    /// Replaces a worker by a new one.
    fn replace_worker(&self, index: usize) {
        let worker = self.new_worker();
        self.world.note(|| format!("{} starts", worker.node.name));
        self.state().workers[index] = worker;
    }

    /// Replaces an instance by a new one.
    fn replace(&self, index: usize) {
        let instance = self.new_instance();
        self.world.note(|| format!("{} starts", instance.node.name));
        self.state().instances[index] = instance;
    }

    /// Lets a fault happen. Returns when it is over.
    pub(super) async fn suffer(self: Arc<Self>, fault: Fault) {
        pass(fault.at).await;
        if self.suffer_in_worker(fault).await {
            return;
        }
        let index = fault.instance % self.instances().len();
        let Instance { node, engine } = self.instances()[index].clone();
        match fault.kind {
            FaultKind::Kill { after } => {
                node.kill();
                pass(after).await;
                self.replace_if_dead(index);
            }
            FaultKind::KillAt { operation, after_effect } => node.die_at(operation, after_effect),
            FaultKind::Freeze { length } => {
                node.freeze();
                pass(length).await;
                node.thaw();
            }
            FaultKind::Drain => {
                self.world.note(|| format!("{} shuts down", node.name));
                engine.drain();
                self.replace(index);
                let closing = engine.drained();
                drop(tokio::time::timeout(Duration::from_millis(SHUTDOWN), closing).await);
                node.kill();
            }
            FaultKind::StoreDown { length } => {
                self.store.set_down(true);
                pass(length).await;
                self.store.set_down(false);
                pass(RECONNECT).await;
                self.store.reconnect();
            }
            FaultKind::StoreEmpty => self.store.lose_everything(),
            FaultKind::StoreSlow { length } => {
                self.store.set_delay(SLOW);
                pass(length).await;
                self.store.set_delay(0);
            }
            FaultKind::Deaf { length } => {
                node.hear(false);
                pass(length).await;
                if !self.store.is_down() {
                    node.hear(true);
                }
            }
            FaultKind::DatabaseDown { length } => {
                self.store.set_database_down(true);
                pass(length).await;
                self.store.set_database_down(false);
            }
            FaultKind::KillWorker { .. }
            | FaultKind::KillWorkerAt { .. }
            | FaultKind::FreezeWorker { .. }
            | FaultKind::DrainWorker => {}
        }
    }

    /// Lets a fault of a worker happen. `false`: it is not one.
    async fn suffer_in_worker(&self, fault: Fault) -> bool {
        let workers = self.workers();
        let Some(index) = fault.instance.checked_rem(workers.len()) else {
            return false;
        };
        let node = Arc::clone(&workers[index].node);
        match fault.kind {
            FaultKind::KillWorker { after } => {
                node.kill();
                pass(after).await;
                if self.workers()[index].node.phase() == Phase::Dead {
                    self.replace_worker(index);
                }
            }
            FaultKind::KillWorkerAt { operation, after_effect } => {
                node.die_at(operation, after_effect);
            }
            FaultKind::FreezeWorker { length } => {
                node.freeze();
                pass(length).await;
                node.thaw();
            }
            FaultKind::DrainWorker => {
                workers[index].shut_down();
                self.replace_worker(index);
                pass(SHUTDOWN).await;
                node.kill();
            }
            _ => return false,
        }
        true
    }

    fn replace_if_dead(&self, index: usize) {
        if self.instances()[index].node.phase() == Phase::Dead {
            self.replace(index);
        }
    }

    /// Ends all faults: every process runs, and the store answers.
    pub(super) fn heal(&self) {
        if self.store.is_down() {
            self.store.set_down(false);
        }
        self.store.set_delay(0);
        self.store.reconnect();
        for (index, Instance { node, .. }) in self.instances().into_iter().enumerate() {
            node.spare();
            node.thaw();
            self.replace_if_dead(index);
        }
        self.store.set_database_down(false);
        for (index, Worker { node, .. }) in self.workers().into_iter().enumerate() {
            node.spare();
            node.thaw();
            if node.phase() == Phase::Dead {
                self.replace_worker(index);
            }
        }
        self.world.calm();
    }
}

/// The settings of an instance.
fn settings(node: &Arc<Node>, queue: &Arc<QueueLink>) -> Settings {
    let node = Arc::clone(node);
    Settings {
        seal_keys: vec![SealKey::new([7; 32])],
        now: Arc::new(move || node.clock()),
        page_size: Settings::PAGE_SIZE,
        jobs: Some(JobSettings { store: Arc::clone(queue) as _, result_tool: None }),
        rate_limiter: None,
        access: None,
    }
}

thread_local! {
    /// An engine of which all instances of all schedules are replicas.
    static PUBLISHED: OnceCell<Engine> = const { OnceCell::new() };
}

/// The engine of which all instances are replicas. Must be called within a runtime.
fn published() -> Engine {
    PUBLISHED.with(|engine| {
        let created = engine.get_or_init(|| {
            let world = World::new(0, Rates::default(), false);
            let node = Node::new(&world, "template".to_owned(), Random::new(0), 0);
            let queue =
                QueueLink::new(&node, &Store::new(&world, SESSION_TTL), &Queue::new(&world, 0));
            let stores = Stores::in_memory(Duration::from_hours(1));
            Engine::new(tools::catalog(), stores, settings(&node, &queue))
        });
        created.clone()
    })
}
