//! A simulated process: the tasks of one instance or worker, which can die or stand still at any await.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use mcp::{
    Simulated, StoreError,
    job::JobId,
    store::{Fanout, Signal},
};
use serde_json::Value;
use tokio::task::AbortHandle;

use super::{
    random::Random,
    world::{EPOCH, World, pass},
};

thread_local! {
    /// The process whose task is being polled.
    static CURRENT: RefCell<Option<Arc<Node>>> = const { RefCell::new(None) };
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Stopped, with all its tasks; it may continue later.
    Frozen,
    Dead,
}

/// The database in which the effect of a job is stored together with its checkpoint.
#[async_trait]
pub(super) trait EffectStore: Send + Sync {
    /// Stores a checkpoint and an effect in one transaction. `Ok(false)`: the attempt is not the
    /// current one.
    async fn effect(
        &self,
        attempt: (&JobId, u32),
        state: &Value,
        effect: (&str, &str),
    ) -> Result<bool, StoreError>;
}

/// A simulated process.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) world: Arc<World>,
    /// The subscribers of this process.
    pub(super) fanout: Fanout,
    /// Its link to the queue of jobs.
    queue: OnceLock<Arc<dyn EffectStore>>,
    /// The difference between its clock and the simulated time, in seconds.
    skew: AtomicI64,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    random: Random,
    /// Tasks that were to be polled while the process stood still.
    waiting: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    /// Dies at this operation on a store, counted from now, before or after its effect.
    dies_at: Option<(u64, bool)>,
    /// Whether the connection that receives signals is open.
    hears: bool,
    /// Signals that arrived while the process stood still.
    backlog: Vec<Signal>,
}

impl Node {
    pub(super) fn new(world: &Arc<World>, name: String, random: Random, skew: i64) -> Arc<Self> {
        let state = State {
            phase: Phase::Running,
            random,
            waiting: Vec::new(),
            tasks: Vec::new(),
            dies_at: None,
            hears: true,
            backlog: Vec::new(),
        };
        Arc::new(Self {
            name,
            world: Arc::clone(world),
            fanout: Fanout::default(),
            queue: OnceLock::new(),
            skew: AtomicI64::new(skew),
            state: Mutex::new(state),
        })
    }

    /// The process of the task that calls this.
    pub(super) fn current() -> Arc<Self> {
        CURRENT.with_borrow(Clone::clone).expect("tools run in a simulated process")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_queue(&self, queue: Arc<dyn EffectStore>) {
        let _first = self.queue.get_or_init(|| queue);
    }

    /// The link of this process to the queue of jobs.
    pub(super) fn queue(&self) -> Option<Arc<dyn EffectStore>> {
        self.queue.get().cloned()
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().phase
    }

    /// The Unix time by the clock of this process, in seconds.
    pub(super) fn clock(&self) -> i64 {
        let passed = i64::try_from(self.world.now() / 1_000).unwrap_or(0);
        EPOCH + passed + self.skew.load(Ordering::Relaxed)
    }

    /// The Unix time by the clock of this process, in milliseconds.
    pub(super) fn clock_millis(&self) -> u64 {
        // Never before the epoch of the simulation: a queue subtracts times.
        let skew = self.skew.load(Ordering::Relaxed) * 1_000;
        (EPOCH.unsigned_abs() * 1_000 + self.world.now()).saturating_add_signed(skew)
    }

    /// Waits while the process stands still; forever if it has died. For tasks that are not bound to
    /// the process.
    pub(super) async fn gate(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            match state.phase {
                Phase::Running => Poll::Ready(()),
                Phase::Frozen => {
                    state.waiting.push(context.waker().clone());
                    Poll::Pending
                }
                Phase::Dead => Poll::Pending,
            }
        })
        .await;
    }

    /// Uses the random numbers of this process's operations.
    pub(super) fn draw<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.state().random)
    }

    /// Runs a task of this process. Returns the handle that drops it.
    pub(super) fn run(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.run_boxed(Box::pin(task))
    }

    fn run_boxed(self: &Arc<Self>, task: BoxFuture<'static, ()>) -> AbortHandle {
        let task = self.bound(task);
        let handle = tokio::spawn(task).abort_handle();
        let mut state = self.state();
        if state.phase == Phase::Dead {
            handle.abort();
        } else {
            state.tasks.push(handle.clone());
        }
        handle
    }

    /// Binds a future to this process: it is polled only while the process runs. `None`: the process
    /// has died.
    pub(super) fn bound<F: Future + Unpin>(self: &Arc<Self>, future: F) -> Bound<F> {
        Bound { node: Arc::clone(self), future: Some(future) }
    }

    /// Ends the process at once: no task of it continues.
    pub(super) fn kill(&self) {
        let tasks = {
            let mut state = self.state();
            if state.phase == Phase::Dead {
                return;
            }
            state.phase = Phase::Dead;
            state.backlog.clear();
            std::mem::take(&mut state.tasks)
        };
        self.world.note(|| format!("{} dies", self.name));
        for task in tasks {
            task.abort();
        }
    }

    /// Stops the process: all its tasks stand still.
    pub(super) fn freeze(&self) {
        let mut state = self.state();
        if state.phase == Phase::Running {
            state.phase = Phase::Frozen;
            drop(state);
            self.world.note(|| format!("{} stands still", self.name));
        }
    }

    /// Lets a stopped process continue.
    pub(super) fn thaw(self: &Arc<Self>) {
        let (waiting, backlog) = {
            let mut state = self.state();
            if state.phase != Phase::Frozen {
                return;
            }
            state.phase = Phase::Running;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.backlog))
        };
        self.world.note(|| format!("{} continues", self.name));
        waiting.into_iter().for_each(Waker::wake);
        if !backlog.is_empty() {
            // What was received meanwhile is read after tasks may have run.
            let (node, delay) = (Arc::clone(self), self.draw(|random| random.below(3)));
            self.run(async move {
                pass(delay).await;
                for signal in backlog {
                    node.fanout.deliver(signal);
                }
            });
        }
    }

    /// Lets the process die at its `number`-th operation from now, before or after the effect.
    pub(super) fn die_at(&self, number: u64, after_effect: bool) {
        self.state().dies_at = Some((number, after_effect));
    }

    /// Lets the process live.
    pub(super) fn spare(&self) {
        self.state().dies_at = None;
    }

    /// Counts an operation. Never returns if the process dies at it, before the effect. Otherwise
    /// returns whether it dies after the effect.
    pub(super) async fn begin_operation(&self) -> bool {
        let dies = {
            let mut state = self.state();
            match &mut state.dies_at {
                Some((0, after)) => Some(*after),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            }
        };
        if dies == Some(false) {
            self.kill();
            return std::future::pending().await;
        }
        dies == Some(true)
    }

    /// A signal arrives at the process.
    pub(super) fn receive(&self, signal: &Signal) {
        let mut state = self.state();
        if !state.hears {
            return;
        }
        match state.phase {
            Phase::Dead => {}
            Phase::Frozen => state.backlog.push(signal.clone()),
            Phase::Running => {
                drop(state);
                self.fanout.deliver(signal.clone());
            }
        }
    }

    /// Closes or opens the connection that receives signals.
    pub(super) fn hear(&self, hears: bool) {
        let was_open = std::mem::replace(&mut self.state().hears, hears);
        if hears && !was_open {
            self.fanout.missed();
        }
    }

    /// Whether the connection that receives signals is open.
    pub(super) fn hears(&self) -> bool {
        self.state().hears
    }
}

impl Simulated for NodeEnvironment {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.draw(|random| random.fill(bytes));
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.run_boxed(task);
    }
}

/// The random numbers and the executor of the engine of a process.
pub(super) struct NodeEnvironment(pub(super) Arc<Node>);

/// A future of a process; see [`Node::bound`].
pub(super) struct Bound<F> {
    node: Arc<Node>,
    future: Option<F>,
}

impl<F> Bound<F> {
    /// Does something as a task of the process, so that tasks it starts belong to it.
    fn within<T>(node: &Arc<Node>, act: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(Arc::clone(node)));
        let done = act();
        CURRENT.set(before);
        done
    }
}

impl<F: Future + Unpin> Future for Bound<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        {
            let mut state = this.node.state();
            match state.phase {
                Phase::Running => {}
                Phase::Frozen => {
                    state.waiting.push(context.waker().clone());
                    return Poll::Pending;
                }
                Phase::Dead => {
                    drop(state);
                    this.future = None;
                    return Poll::Ready(None);
                }
            }
        }
        let Some(future) = &mut this.future else {
            return Poll::Ready(None);
        };
        let polled = Self::within(&this.node, || Pin::new(future).poll(context));
        if polled.is_ready() {
            this.future = None;
        }
        polled.map(Some)
    }
}
