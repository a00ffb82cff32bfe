//! What happens to jobs when workers die, are paused, are shut down, or miss notifications.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use jobs::CheckpointError;
use mcp::{
    StoreError,
    job::{Attempt, AttemptEnd, AttemptStore, Progress, Superseded},
};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement};
use tests::{eventually, fixtures::items, in_time};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use worker::{Runner, Settings, Worker};

use super::*;

type Body = dyn Fn(Attempt, Arc<dyn AttemptStore>, CancellationToken) -> BoxFuture<'static, AttemptEnd>
    + Send
    + Sync;

/// Runs every job with one function, and records its announcements.
struct Script {
    body: Box<Body>,
    told: Mutex<Vec<(JobId, JobStatus)>>,
}

impl Script {
    fn new<F, R>(body: F) -> Arc<Self>
    where
        F: Fn(Attempt, Arc<dyn AttemptStore>, CancellationToken) -> R + Send + Sync + 'static,
        R: Future<Output = AttemptEnd> + Send + 'static,
    {
        let body = Box::new(move |attempt, notebook, stop| -> BoxFuture<'static, AttemptEnd> {
            Box::pin(body(attempt, notebook, stop))
        });
        Arc::new(Self { body, told: Mutex::default() })
    }
}

#[async_trait]
impl Runner for Script {
    async fn run(
        &self,
        attempt: Attempt,
        notebook: Arc<dyn AttemptStore>,
        stop: CancellationToken,
    ) -> AttemptEnd {
        (self.body)(attempt, notebook, stop).await
    }

    async fn notify_client(&self, job: &Job) -> Result<(), StoreError> {
        self.told.lock().unwrap().push((job.id.clone(), job.status));
        Ok(())
    }
}

fn settings() -> Settings {
    Settings {
        name: "a worker".to_owned(),
        concurrency: 4,
        lease: LEASE,
        poll: Duration::from_millis(50),
        shutdown_timeout: Duration::from_secs(4),
        stall_limit: None,
    }
}

#[tokio::test]
async fn a_worker_that_cannot_look_for_jobs_ends_with_an_error() {
    let world = World::sqlite(&tests::fixtures::product()).await;
    let limit = Duration::from_secs(1);
    let settings = Settings { stall_limit: Some(limit), ..settings() };
    let worker = Worker::new(
        world.app.clone(),
        Script::new(|_, _, _| async { AttemptEnd::Stopped }),
        settings,
    );
    world.app.close().await;
    let ended = worker.run_with_schedules(CancellationToken::new());
    let error = tests::in_time("the worker ends", ended).await.unwrap_err();
    assert!(error.is::<worker::Stalled>(), "{error:?}");
}

/// A worker in its own runtime. Dropping it stands for SIGKILL.
struct Process {
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Process {
    fn start(app: App, runner: Arc<dyn Runner>, settings: Settings) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let worker = Worker::new(app, runner, settings);
        let running = runtime.spawn(worker.run(shutdown.clone()));
        Self { runtime: Some(runtime), shutdown, running: Some(running) }
    }

    fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        let worked = self.running.take().unwrap();
        in_time("a worker ends", worked).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a body waits for in the middle. That a job counts as running does not mean that its body
/// has begun: this knows.
#[derive(Clone)]
struct Gate {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self { reached: closed(), open: closed() }
    }

    /// Waits, in the body.
    async fn pass(&self) {
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// Waits until a body waits.
    async fn reached(&self) {
        in_time("a job runs", self.reached.acquire()).await.unwrap().forget();
    }

    /// Lets one body go on.
    fn step(&self) {
        self.open.add_permits(1);
    }
}

async fn ended(app: &App, owner: &UserId, id: &JobId) -> Job {
    eventually("the job ends", async || get(app, owner, id).await.filter(|it| it.status.is_final()))
        .await
}

fn answered(it: &str) -> AttemptEnd {
    AttemptEnd::Answered(text(it))
}

on_both!(
    a_killed_job_goes_on_from_its_checkpoint_and_has_its_effect_once,
    a_worker_paused_beyond_its_lease_can_write_nothing,
    a_worker_may_take_over_its_own_job,
    a_worker_that_is_told_to_end_gives_its_jobs_back,
    a_job_that_is_nearly_done_may_end_first,
    a_cancelled_job_stops_where_it_runs,
    a_worker_that_hears_nothing_finds_jobs_and_cancellations,
    a_job_that_takes_too_long_is_tried_again,
    a_job_that_panics_is_tried_again,
    progress_can_be_read_while_a_job_runs,
    a_client_that_does_not_ask_is_told_of_the_end,
    two_workers_run_each_job_once,
);

/// The number of items that the job creates, one after the other, each together with its checkpoint.
const STEPS: u64 = 8;

/// Creates items from the checkpoint of an earlier attempt on. Waits for a permit before each.
async fn create_items(app: App, attempt: Attempt, permits: Arc<Semaphore>) -> AttemptEnd {
    let owner = attempt.call.caller.user.clone();
    let done = attempt.checkpoint.as_ref().and_then(serde_json::Value::as_u64).unwrap_or(0);
    for step in done..STEPS {
        permits.acquire().await.unwrap().forget();
        let transaction = begin(&app).await;
        let draft = (format!("Item {step}"), String::new());
        items::create(&transaction, &owner, app.clock().now(), [draft]).await.unwrap();
        let state = json!(step + 1);
        match jobs::checkpoint(app.jobs(), &transaction, &attempt.id, attempt.number, &state).await
        {
            Ok(()) => transaction.commit().await.unwrap(),
            Err(CheckpointError::Superseded) => return AttemptEnd::Stopped,
            Err(error) => return AttemptEnd::Retry(error.to_string()),
        }
    }
    answered(&format!("created {STEPS} items"))
}

async fn a_killed_job_goes_on_from_its_checkpoint_and_has_its_effect_once(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let permits = Arc::new(Semaphore::new(3));
    let script = |app: App, permits: Arc<Semaphore>| {
        Script::new(move |attempt, _, _| create_items(app.clone(), attempt, permits.clone()))
    };
    let another = world.another().await;
    let first = Process::start(another.clone(), script(another, permits.clone()), settings());
    eventually("three items are there", async || {
        (items::count(app.db(), &ada).await.unwrap() == 3).then_some(())
    })
    .await;
    first.kill();

    permits.add_permits(100);
    let another = world.another().await;
    let _second = Process::start(another.clone(), script(another, permits.clone()), settings());
    // Nobody takes it before the lease has ended.
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 0);
    world.clock.advance(LEASE);
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 1);
    assert_eq!(said(&ended(app, &ada, &id).await), "created 8 items");
    let expected: Vec<_> = (0..STEPS).map(|step| format!("Item {step}")).collect();
    assert_eq!(items::titles(app.db(), &ada).await.unwrap(), expected);
}

async fn a_worker_paused_beyond_its_lease_can_write_nothing(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let gate = Gate::new();
    let refused = Arc::new(AtomicBool::new(false));
    let paused = Script::new({
        let (gate, refused) = (gate.clone(), refused.clone());
        move |_, notebook, _| {
            let (gate, refused) = (gate.clone(), refused.clone());
            async move {
                gate.pass().await;
                let kept = notebook.checkpoint(json!("late")).await;
                refused.store(matches!(kept, Err(Superseded)), Ordering::SeqCst);
                answered("late")
            }
        }
    });
    // It does not notice by itself: nothing is renewed, nor claimed, while it is paused.
    let sleeping = Settings { lease: Duration::from_hours(1), concurrency: 1, ..settings() };
    let first = Process::start(world.another().await, paused, sleeping);
    gate.reached().await;
    // Its first renewal may still hold the row, which is then passed over, or renew the lease again.
    tests::eventually("the job is taken over", async || {
        world.clock.advance(Duration::from_hours(1));
        (jobs::reclaim(app.jobs()).await.unwrap() > 0).then_some(())
    })
    .await;
    let script = Script::new(|attempt: Attempt, _, _| async move {
        assert_eq!(attempt.checkpoint, None);
        answered(&format!("attempt {}", attempt.number))
    });
    let _second = Process::start(world.another().await, script, settings());
    ended(app, &ada, &id).await;
    gate.step();
    first.end().await;
    assert!(refused.load(Ordering::SeqCst));
    assert_eq!(said(&get(app, &ada, &id).await.unwrap()), "attempt 2");
}

async fn a_worker_may_take_over_its_own_job(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let gates = [Gate::new(), Gate::new()];
    let script = Script::new({
        let gates = gates.clone();
        move |attempt: Attempt, _, _| {
            let gate = gates[usize::from(attempt.number > 1)].clone();
            async move {
                gate.pass().await;
                answered(&format!("attempt {}", attempt.number))
            }
        }
    });
    let worker = Process::start(world.another().await, script, settings());
    gates[0].reached().await;
    world.clock.advance(LEASE);
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 1);
    gates[1].reached().await;
    gates[0].step();
    assert_eq!(status(app, &ada, &id).await, JobStatus::Running);
    gates[1].step();
    assert_eq!(said(&ended(app, &ada, &id).await), "attempt 2");
    worker.end().await;
}

async fn a_worker_that_is_told_to_end_gives_its_jobs_back(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    enqueue(app, NewJob { attempts: 1, ..new_job(&ada) }).await;
    let (endless, gate, _) = until_stopped();
    let first = Process::start(world.another().await, endless, settings());
    gate.reached().await;
    first.end().await;
    let again = claim_one(app).await;
    assert_eq!((again.attempt.number, again.attempt.last), (2, true), "nothing was spent");
}

async fn a_job_that_is_nearly_done_may_end_first(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let gate = Gate::new();
    let script = Script::new({
        let gate = gate.clone();
        move |_, _, _| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                answered("done")
            }
        }
    });
    let patient = Settings { shutdown_timeout: Duration::from_mins(5), ..settings() };
    let worker = Process::start(world.another().await, script, patient);
    gate.reached().await;
    worker.shutdown.cancel();
    let later = enqueue(app, new_job(&user("bob"))).await;
    gate.step();
    worker.end().await;
    assert_eq!(said(&get(app, &ada, &id).await.unwrap()), "done");
    assert_eq!(claim_one(app).await.lease.job, later, "it takes nothing new");
}

/// A script that runs until it is stopped, and says that it has begun, and that it was stopped.
fn until_stopped() -> (Arc<Script>, Gate, Arc<AtomicU32>) {
    let (gate, stopped) = (Gate::new(), Arc::new(AtomicU32::new(0)));
    let script = Script::new({
        let (gate, stopped) = (gate.clone(), stopped.clone());
        move |_, _, stop: CancellationToken| {
            let (gate, stopped) = (gate.clone(), stopped.clone());
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = gate.pass() => {}
                }
                stopped.fetch_add(1, Ordering::SeqCst);
                AttemptEnd::Stopped
            }
        }
    });
    (script, gate, stopped)
}

async fn a_cancelled_job_stops_where_it_runs(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let (script, gate, stopped) = until_stopped();
    let _worker = Process::start(world.another().await, script, settings());
    gate.reached().await;
    jobs::store(world.another().await.jobs()).cancel(&ada, &id).await.unwrap();
    eventually("it stops", async || (stopped.load(Ordering::SeqCst) == 1).then_some(())).await;
    assert_eq!(status(app, &ada, &id).await, JobStatus::Cancelled);
}

async fn a_worker_that_hears_nothing_finds_jobs_and_cancellations(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let (script, gate, stopped) = until_stopped();
    // A short lease is renewed often, and that is when it notices.
    let attentive = Settings { lease: Duration::from_millis(300), ..settings() };
    let deaf = world.another_that_hears_nothing().await;
    let _worker = Process::start(deaf, script, attentive);
    let id = enqueue(app, new_job(&ada)).await;
    gate.reached().await;
    jobs::store(app.jobs()).cancel(&ada, &id).await.unwrap();
    eventually("it stops", async || (stopped.load(Ordering::SeqCst) == 1).then_some(())).await;
}

async fn a_job_that_takes_too_long_is_tried_again(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let short = NewJob { timeout: Duration::from_millis(20), attempts: 1, ..new_job(&ada) };
    let id = enqueue(app, short).await;
    let (script, _, stopped) = until_stopped();
    let _worker = Process::start(world.another().await, script, settings());
    let job = ended(app, &ada, &id).await;
    assert_eq!((job.status, stopped.load(Ordering::SeqCst)), (JobStatus::Failed, 1));
    assert!(said(&job).contains("did not end within"), "{}", said(&job));
}

async fn a_job_that_panics_is_tried_again(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let script = Script::new(|attempt: Attempt, _, _| async move {
        assert!(attempt.number > 1, "the first attempt panics");
        answered("done")
    });
    let _worker = Process::start(world.another().await, script, settings());
    let job = eventually("the job ends", async || {
        world.clock.advance(Duration::from_secs(1)); // the pause after a failure
        get(app, &ada, &id).await.filter(|it| it.status.is_final())
    })
    .await;
    assert_eq!(said(&job), "done");
}

async fn progress_can_be_read_while_a_job_runs(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let script =
        Script::new(|_, notebook: Arc<dyn AttemptStore>, stop: CancellationToken| async move {
            for done in 1_u8..=100 {
                let done = f64::from(done);
                notebook.progress(Progress { done, total: Some(100.0), message: None }).await;
            }
            stop.cancelled().await;
            AttemptEnd::Stopped
        });
    let _worker = Process::start(world.another().await, script, settings());
    let total = eventually("the last progress is there", async || {
        let progress = get(app, &ada, &id).await?.progress?;
        (progress.done >= 100.0).then_some(progress.total)
    })
    .await;
    assert_eq!(total, Some(100.0));
}

async fn a_client_that_does_not_ask_is_told_of_the_end(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, streamed_job(&ada)).await;
    let script = Script::new(|_, _, _| async { answered("done") });
    let worker = Process::start(world.another().await, script.clone(), settings());
    ended(app, &ada, &id).await;
    worker.end().await;
    assert_eq!(*script.told.lock().unwrap(), [(id.clone(), JobStatus::Completed)]);
    let untold = jobs::unnotified(app.jobs(), Some(&[id]), Duration::ZERO).await.unwrap();
    assert!(untold.is_empty());
}

async fn two_workers_run_each_job_once(world: World) {
    let app = &world.app;
    let runs: Arc<Mutex<BTreeMap<JobId, u32>>> = Arc::default();
    let script = Script::new({
        let runs = runs.clone();
        move |attempt: Attempt, _, _| {
            *runs.lock().unwrap().entry(attempt.id).or_default() += 1;
            async { answered("done") }
        }
    });
    let mut made = Vec::new();
    for n in 0..100 {
        let owner = user(&format!("p{}", n % 3));
        made.push((enqueue(app, new_job(&owner)).await, owner));
    }
    let _workers = [
        Process::start(world.another().await, script.clone(), settings()),
        Process::start(world.another().await, script.clone(), settings()),
    ];
    for (id, owner) in &made {
        ended(app, owner, id).await;
    }
    let runs = runs.lock().unwrap();
    assert_eq!(runs.len(), made.len());
    assert!(runs.values().all(|&it| it == 1), "{runs:?}");
}

#[tokio::test]
async fn the_end_of_a_job_waits_for_a_database_that_was_cut_off() {
    let world = World::postgres(&tests::fixtures::product()).await;
    let (app, ada) = (&world.app, user("ada"));
    let gate = Gate::new();
    let script = Script::new({
        let gate = gate.clone();
        move |attempt: Attempt, _, _| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                answered(&format!("attempt {}", attempt.number))
            }
        }
    });
    let id = enqueue(app, new_job(&ada)).await;
    let _worker = Process::start(world.another().await, script, settings());
    gate.reached().await;
    // As a restart does: every connection of everybody breaks.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let cut = Statement::from_string(DatabaseBackend::Postgres, cut);
    app.db().query_one_raw(cut).await.unwrap();
    gate.step();
    let app = world.another().await;
    assert_eq!(said(&ended(&app, &ada, &id).await), "attempt 1");
}

#[tokio::test]
async fn a_cancel_that_is_faster_than_the_answer_to_a_claim_stops_the_job() {
    let world = World::postgres(&tests::fixtures::product()).await;
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let (script, _gate, stopped) = until_stopped();
    let (behind, relay) = world.another_behind_a_relay().await;
    let name = "a worker that learns late what it has claimed";
    relay.hold_once_asked(name);
    // The lease is not renewed by itself while anybody waits here.
    let patient = Settings { name: name.to_owned(), lease: Duration::from_hours(1), ..settings() };
    let _worker = Process::start(behind, script, patient);
    eventually("it is claimed", async || {
        (status(app, &ada, &id).await == JobStatus::Running).then_some(())
    })
    .await;
    jobs::store(app.jobs()).cancel(&ada, &id).await.unwrap();
    relay.release();
    eventually("it stops", async || (stopped.load(Ordering::SeqCst) == 1).then_some(())).await;
}
