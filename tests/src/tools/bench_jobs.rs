//! `bench-jobs` measures the throughput of two workers on empty jobs, and the latency from enqueue to
//! start at an idle worker, without the engine: queue, worker and database. Then, over HTTP and with
//! Redis as in a deployment, it measures how long an import of 10,000 notes takes, and the latency of
//! progress notifications.
//!
//! `bench/jobs` sets `DATABASE_URL` for the first part, and starts a server for the rest.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use app::{App, Dependencies, config::Config};
use async_trait::async_trait;
use mcp::{
    Caller, ClientCapabilities, ProtocolVersion, StoreError, UserId,
    job::{Attempt, AttemptEnd, AttemptStore, Job, JobCall, JobId, JobOutcome, NewJob, Origin},
};
use platform::clock::SystemClock;
use serde_json::{Value, json, value::to_raw_value};
use tests::cluster::{Database, Setup};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use worker::{Runner, Settings, Worker};

/// Jobs of the first measurement.
const JOBS: usize = 20_000;
/// Owners of these jobs.
const PEOPLE: usize = 100;
/// Requests that enqueue at the same time.
const CLIENTS: usize = 16;
/// Jobs of the second measurement, one after the other.
const SINGLE: usize = 500;
/// Concurrency of each worker.
pub(super) const PLACES: u32 = 64;
/// Notes of one import.
const NOTES: usize = 10_000;
/// Imports, each for another user.
const IMPORTS: usize = 3;
/// Steps of a job that reports each of them as progress.
const STEPS: u32 = 500;

/// Runs empty jobs and records when each has started.
#[derive(Default)]
pub(super) struct Nothing {
    begun: Mutex<BTreeMap<JobId, Instant>>,
    pub(super) runs: AtomicUsize,
    one: Notify,
}

#[async_trait]
impl Runner for Nothing {
    async fn run(
        &self,
        attempt: Attempt,
        _: Arc<dyn AttemptStore>,
        _: CancellationToken,
    ) -> AttemptEnd {
        let now = Instant::now();
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt.id, now);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.one.notify_one();
        AttemptEnd::Answered(JobOutcome::failed("nothing"))
    }

    async fn notify_client(&self, _: &Job) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(crate) async fn main() -> anyhow::Result<()> {
    queue().await?;
    import().await;
    progress().await;
    Ok(())
}

/// Connections of several processes to the database in `DATABASE_URL`.
pub(super) struct Connections {
    config: Config,
    dependencies: Dependencies,
}

impl Connections {
    /// Migrates the database.
    pub(super) async fn migrated() -> anyhow::Result<Self> {
        let config = Config::from_env(&notes::product())?;
        let (_, dependencies) = Dependencies::configured(&config, Arc::new(SystemClock))?;
        let connections = Self { config, dependencies };
        let db = connections.connect().await?.db().schema_connection().await?;
        notes::product().schema().migrate(&db).await?;
        Ok(connections)
    }

    /// Connects as a process of its own does.
    pub(super) async fn connect(&self) -> anyhow::Result<App> {
        App::connect_with(&self.config, self.dependencies.clone()).await
    }

    pub(super) fn worker_settings(&self) -> Settings {
        Settings::of(&self.config)
    }
}

/// Measures the queue, the workers and the database.
async fn queue() -> anyhow::Result<()> {
    let connections = Connections::migrated().await?;
    let web = connections.connect().await?;

    let nothing = Arc::new(Nothing::default());
    let shutdown = CancellationToken::new();
    let mut workers = JoinSet::new();
    for _ in 0..2 {
        let settings = Settings { concurrency: PLACES, ..connections.worker_settings() };
        let worker = Worker::new(connections.connect().await?, nothing.clone(), settings);
        workers.spawn(worker.run(shutdown.clone()));
    }

    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let web = web.clone();
        clients.spawn(async move {
            for n in (client..JOBS).step_by(CLIENTS) {
                jobs::enqueue(web.jobs(), new_job(UserId::new(user(n))))
                    .await
                    .context("a job was refused")?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let enqueued = began.elapsed();
    loop {
        let stats = jobs::stats(web.jobs()).await?;
        if stats.queued + stats.running == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let done = began.elapsed();
    let runs = nothing.runs.load(Ordering::Relaxed);
    println!(
        "{JOBS} jobs of {PEOPLE} people, {CLIENTS} clients, two workers: {:.0} jobs/s from the first \
         enqueue to the last done (enqueued within {:.1} s, done within {:.1} s, {runs} runs)",
        per_second(JOBS, done),
        enqueued.as_secs_f64(),
        done.as_secs_f64(),
    );

    let mut latencies = Vec::with_capacity(SINGLE);
    for n in 0..SINGLE {
        latencies.push(start_of(&web, &nothing, new_job(UserId::new(user(n)))).await?);
    }
    println!("from enqueue to start, {SINGLE} one by one: {}", quantiles(latencies));

    shutdown.cancel();
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    Ok(())
}

/// The owner of the job with this number.
fn user(n: usize) -> String {
    format!("dev:p{}", n % PEOPLE)
}

/// Enqueues a job. Returns the time until it has started.
pub(super) async fn start_of(web: &App, runner: &Nothing, job: NewJob) -> anyhow::Result<Duration> {
    let (id, asked) = (job.id.clone(), Instant::now());
    jobs::enqueue(web.jobs(), job).await.context("a job was refused")?;
    loop {
        let notified = runner.one.notified();
        let started = runner.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(started) = started {
            return Ok(started.saturating_duration_since(asked));
        }
        notified.await;
    }
}

/// Measures an import of many notes, from the call to its result.
async fn import() {
    let setup = Setup::new(Database::Postgres).product(notes::product).workers(1).real_time();
    let cluster = setup.on_redis().await.start().await;
    let notes: Vec<Value> = (0..NOTES)
        .map(|it| json!({ "title": format!("Note {it:05}"), "body": "A sentence. ".repeat(20) }))
        .collect();
    let text = Value::Array(notes).to_string();
    for person in 0..IMPORTS {
        let client = cluster.web(0).modern(cluster.token(&format!("p{person}")).await);
        let client = client.with_capabilities(json!({}));
        let began = Instant::now();
        let done = client.tool("notes_import", json!({ "text": text })).await;
        assert_eq!(done.output()["created"], NOTES);
        println!("import of {NOTES} notes: {:.1} s", began.elapsed().as_secs_f64());
    }
    cluster.stop().await;
}

/// Measures the latency from a step of a job in a worker to the notification at its client.
async fn progress() {
    let setup = Setup::new(Database::Postgres).workers(1).real_time();
    let cluster = setup.on_redis().await.start().await;
    let gate = cluster.gate("steps");
    let client = cluster.web(0).modern(cluster.token("ada").await).with_capabilities(json!({}));
    let call = json!({
        "name": "test_job_gate",
        "arguments": { "gate": "steps", "steps": STEPS },
        "_meta": { "progressToken": "steps" },
    });
    let mut stream = client.open("tools/call", call).await;
    stream.expect("notifications/progress").await; // it has begun
    let mut latencies = Vec::new();
    for step in 1..=STEPS {
        gate.reached(step).await;
        let asked = Instant::now();
        gate.step();
        let heard = stream.expect("notifications/progress").await;
        latencies.push(asked.elapsed());
        assert_eq!(heard["params"]["progress"].as_f64(), Some(f64::from(step)));
    }
    println!("from a step in the worker to its client, {STEPS} steps: {}", quantiles(latencies));
    stream.message().await;
    cluster.stop().await;
}

pub(super) fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| {
        let time = times[(times.len() * part / 100).min(times.len() - 1)];
        time.as_secs_f64() * 1_000.0
    };
    format!("p50 {:.1} ms, p99 {:.1} ms", at(50), at(99))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn per_second(number: usize, time: Duration) -> f64 {
    number as f64 / time.as_secs_f64()
}

/// A job that does nothing.
pub(super) fn new_job(user: UserId) -> NewJob {
    let arguments = to_raw_value(&json!({ "text": "nothing" })).expect("plain JSON");
    NewJob {
        id: JobId::random(),
        call: JobCall {
            caller: Caller {
                user,
                client: "bench".into(),
                scopes: ["notes:read".to_owned()].into(),
                grant: "bench".into(),
                key: "a-key".into(),
                issued_at: 0,
                expires_at: i64::MAX,
                request: None,
            },
            version: ProtocolVersion::V2026_07_28,
            capabilities: ClientCapabilities::default(),
            log_level: None,
            progress_token: None,
            tool: "nothing".to_owned(),
            arguments,
            origin: Origin::Task,
            trace: None,
        },
        answers: BTreeMap::new(),
        timeout: Duration::from_mins(1),
        attempts: 3,
        ttl: None,
    }
}
