//! A deterministic simulation of several instances: real engines over simulated stores, in one thread
//! with simulated time, under faults that a seed decides.
//!
//! A schedule ([`run`]) is a function of its seed: random numbers, time, and the order of all tasks come
//! from it. `docs/simulation.md` describes the model, the properties, and how to read a trace.
//!
//! | to … | read |
//! |---|---|
//! | see what is checked | [`Property`], `checks`, `calls` |
//! | see which faults there are | `plan`, `link`, `node` |
//! | shorten a failing schedule | [`shrink()`] |

mod calls;
mod checks;
mod children;
mod client;
mod cluster;
mod link;
mod listening;
mod message;
mod modern;
mod modern_checks;
mod network;
mod node;
mod plan;
mod process;
mod properties;
mod queue;
mod queue_link;
mod random;
mod record;
mod row;
mod shrink;
mod sse;
mod store;
mod tasks;
mod tools;
mod worker;
mod world;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcp::{StoreError, Stores, job::Jobs};
use runner::WorkQueue;
use tokio::{runtime::Builder, task::JoinHandle, time::timeout};

use self::{
    client::Client,
    cluster::Cluster,
    link::Link,
    node::Node,
    plan::{Action, Era, Plan, Rates, Step},
    queue::Queue,
    queue_link::QueueLink,
    random::Random,
    store::Store,
    world::{World, pass},
};
pub use self::{
    properties::{Property, Violation},
    shrink::shrink,
};

/// When the faults end at the latest, in milliseconds.
const CALM_AT: u64 = 32_000;

/// How long after the last fault every client must have its responses.
const LIVENESS: Duration = Duration::from_secs(150);

/// The result of a schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The properties that the schedule does not have, in the order in which they were found.
    pub violations: Vec<Violation>,
    /// What happened, if it was requested.
    pub trace: String,
    /// What was planned.
    pub plan: String,
    /// The number of calls that were answered with success.
    pub succeeded: usize,
}

impl Outcome {
    /// A hash of the trace, which is equal whenever the schedule is repeated.
    pub fn trace_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.trace.hash(&mut hasher);
        hasher.finish()
    }
}

thread_local! {
    /// The message of a panic in this thread.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Records panics instead of printing them: those of tasks would not be noticed otherwise.
fn record_panics() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_simulated = SIMULATES.with(|it| it.load(Ordering::Relaxed));
            if is_simulated {
                PANICKED.set(Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

thread_local! {
    /// Whether this thread runs a schedule.
    static SIMULATES: AtomicBool = const { AtomicBool::new(false) };
}

/// A process without faults, for suites of the contracts: the stores as one process sees them.
///
/// # Panics
/// If called outside of a runtime.
pub fn stores(session_ttl: Duration) -> Stores {
    let world = World::new(0, Rates::default(), false);
    world.calm();
    let node = Node::new(&world, "process".to_owned(), Random::new(0), 0);
    Link::stores(&node, &Store::new(&world, session_ttl))
}

/// The simulated queue as one process sees it, without faults, for suites of the contract: as the
/// store of an engine, as the queue of a runner, and as what a schedule calls to reclaim jobs. `quota`:
/// the most unfinished jobs of a user.
///
/// # Panics
/// If called outside of a runtime.
pub fn queue(quota: usize) -> SimulatedQueue {
    let world = World::new(0, Rates::default(), false);
    world.calm();
    let node = Node::new(&world, "process".to_owned(), Random::new(0), 0);
    let store = Store::new(&world, Duration::from_hours(1));
    store.connect(&node);
    SimulatedQueue(QueueLink::new(&node, &store, &Queue::new(&world, quota)))
}

/// See [`queue()`].
#[derive(Clone)]
pub struct SimulatedQueue(Arc<QueueLink>);

impl SimulatedQueue {
    /// As the store of an engine.
    pub fn jobs(&self) -> Arc<dyn Jobs> {
        Arc::clone(&self.0) as _
    }

    /// As the queue of a runner.
    pub fn work_queue(&self) -> Arc<dyn WorkQueue> {
        Arc::clone(&self.0) as _
    }

    /// Requeues the jobs whose lease has expired.
    pub async fn reclaim(&self) -> Result<(), StoreError> {
        self.0.reclaim().await
    }
}

/// Runs the schedule of a seed, without some of its parts. `traced`: whether to record a trace.
///
/// # Panics
/// If called within a runtime.
pub fn run(seed: u64, without: &BTreeSet<u64>, traced: bool) -> Outcome {
    record_panics();
    let plan = Plan::new(seed, without);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be built");
    PANICKED.set(None);
    SIMULATES.with(|it| it.store(true, Ordering::Relaxed));
    let outcome = runtime.block_on(simulate(plan, traced));
    drop(runtime);
    SIMULATES.with(|it| it.store(false, Ordering::Relaxed));
    outcome
}

async fn simulate(plan: Plan, traced: bool) -> Outcome {
    let world = World::new(plan.seed, plan.rates.clone(), traced);
    let cluster = Cluster::start(&world, &plan);
    let faults: Vec<_> =
        plan.faults.iter().map(|fault| tokio::spawn(Arc::clone(&cluster).suffer(*fault))).collect();
    let clients: Vec<_> = (0..plan.clients).map(|number| Client::new(&cluster, number)).collect();
    let scripts: Vec<_> = clients
        .iter()
        .map(|client| {
            let steps = plan.steps.iter().filter(|step| step.client == client.number);
            let script = follow_script(Arc::clone(client), plan.seed, steps.copied().collect());
            tokio::spawn(script)
        })
        .collect();
    let mut ended = std::pin::pin!(async {
        for script in scripts {
            drop(script.await);
        }
    });
    let in_time = tokio::select! {
        biased;
        () = &mut ended => true,
        () = pass(CALM_AT) => {
            faults.iter().for_each(JoinHandle::abort);
            cluster.heal();
            timeout(LIVENESS, ended).await.is_ok()
        }
    };
    faults.iter().for_each(JoinHandle::abort);
    if in_time {
        cluster.heal();
        checks::calls(&cluster, &plan, &clients).await;
        modern_checks::calls(&cluster, &plan, &clients);
        checks::jobs(&cluster, &plan).await;
        checks::idle(&cluster).await;
        checks::expiry(&cluster).await;
    } else {
        let what = format!("some client still waits {LIVENESS:?} after the last fault");
        world.violated(Property::EveryWaitEnds, what);
    }
    if let Some(panicked) = PANICKED.take() {
        world.violated(Property::NoPanic, panicked);
    }
    let legacy = clients.iter().flat_map(|client| client.calls()).map(|call| call.response);
    let modern = clients.iter().flat_map(|client| client.modern_calls());
    let modern = modern.map(|call| call.responses.into_iter().next());
    let succeeded = legacy.chain(modern).filter(|response| matches!(response, Some(Ok(_)))).count();
    Outcome {
        violations: world.violations(),
        trace: world.trace(),
        plan: if traced { plan.to_string() } else { String::new() },
        succeeded,
    }
}

/// Carries out the steps of a client, then waits for all its calls.
async fn follow_script(client: Arc<Client>, seed: u64, steps: Vec<Step>) {
    let mut open = Vec::new();
    let mut listening: Option<JoinHandle<()>> = None;
    for Step { part, pause, era, action, .. } in steps {
        let mut random = Random::of_part(seed, 10_000 + part);
        pass(pause).await;
        let client = Arc::clone(&client);
        match (action, era) {
            (Action::Call(tool), Era::Legacy) => {
                open.push(tokio::spawn(calls::call(client, part, tool, None, random)));
            }
            (Action::Call(tool), Era::Modern) => {
                open.push(tokio::spawn(modern::call::call(client, part, tool, None, random)));
            }
            (Action::Cancel(tool, after), Era::Legacy) => {
                open.push(tokio::spawn(calls::call(client, part, tool, Some(after), random)));
            }
            (Action::Cancel(tool, after), Era::Modern) => {
                let call = modern::call::call(client, part, tool, Some(after), random);
                open.push(tokio::spawn(call));
            }
            (Action::Listen(length), Era::Legacy) => {
                // Two readers of one stream would only take it from each other.
                if listening.as_ref().is_none_or(JoinHandle::is_finished) {
                    listening = Some(tokio::spawn(listening::listen(client, length, random)));
                }
            }
            (Action::Listen(length), Era::Modern) => {
                open.push(tokio::spawn(modern::listen::listen(client, length, random)));
            }
            (Action::Task(tool), Era::Legacy) => {
                open.push(tokio::spawn(tasks::task(client, part, tool, None, random)));
            }
            (Action::Task(tool), Era::Modern) => {
                open.push(tokio::spawn(modern::task::task(client, part, tool, None, random)));
            }
            (Action::CancelTask(tool, after), Era::Legacy) => {
                open.push(tokio::spawn(tasks::task(client, part, tool, Some(after), random)));
            }
            (Action::CancelTask(tool, after), Era::Modern) => {
                let task = modern::task::task(client, part, tool, Some(after), random);
                open.push(tokio::spawn(task));
            }
            (Action::Ping, Era::Legacy) => client.ping(&mut random).await,
            (Action::Ping, Era::Modern) => client.discover(&mut random).await,
            (Action::Wait, _) => {
                for call in open.drain(..) {
                    drop(call.await);
                }
            }
            (Action::Intrude, Era::Legacy) => client.intrude(&mut random).await,
            (Action::Intrude, Era::Modern) => client.intrude_modern(&mut random).await,
            (Action::StartAgain, Era::Legacy) => client.start_again(&mut random).await,
            (Action::StartAgain, Era::Modern) => {}
        }
    }
    for task in open.into_iter().chain(listening) {
        drop(task.await);
    }
}
