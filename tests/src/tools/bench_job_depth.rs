//! `bench-job-depth` measures the queue with many jobs in it: how long it takes to enqueue and claim a job,
//! to count the jobs for the metrics, and until a job of a new owner starts.
//!
//! `bench/jobs` sets `DATABASE_URL`, and `QUEUED` to the number of jobs.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use app::App;
use jobs::{Claim, Lease};
use mcp::UserId;
use sea_orm::{ConnectionTrait as _, Database, Statement};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use worker::{Settings, Worker};

use super::bench_jobs::{Connections, Nothing, PLACES, new_job, per_second, quantiles, start_of};

/// Jobs in the queue if `QUEUED` is not set.
const QUEUED: u32 = 100_000;
/// Unfinished jobs of each owner: as many as one may have by default.
const JOBS_PER_OWNER: u32 = 50;
/// Repetitions of each single measurement.
const TIMES: usize = 200;
/// Jobs of one claim.
const CLAIMED: u32 = 64;
/// Jobs that end while the throughput is measured.
const DRAINED: usize = 20_000;
/// Jobs of new owners that are enqueued while workers are busy with the others.
const NEW_OWNERS: usize = 100;

pub(crate) async fn main() -> anyhow::Result<()> {
    let queued: u32 = match std::env::var("QUEUED") {
        Ok(number) => number.parse().context("QUEUED is not a number")?,
        Err(_unset) => QUEUED,
    };
    let connections = Connections::migrated().await?;
    let web = connections.connect().await?;
    let owners = (queued / JOBS_PER_OWNER).max(1);
    let began = Instant::now();
    fill(&web, queued, owners).await?;
    println!("{queued} jobs of {owners} owners are queued ({:.1?})", began.elapsed());

    let mut times = Vec::with_capacity(TIMES);
    for n in 0..TIMES {
        let job = new_job(UserId::new(format!("dev:new{n}")));
        let began = Instant::now();
        jobs::enqueue(web.jobs(), job).await.context("a job was refused")?;
        times.push(began.elapsed());
    }
    println!("enqueue one: {}", quantiles(times));
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = Instant::now();
        jobs::stats(web.jobs()).await?;
        times.push(began.elapsed());
    }
    println!("count for the metrics: {}", quantiles(times));
    claims(&web).await?;
    drain(&connections, &web).await
}

/// Copies one job until there are `queued`.
async fn fill(web: &App, queued: u32, owners: u32) -> anyhow::Result<()> {
    jobs::enqueue(web.jobs(), new_job(UserId::new("dev:owner0")))
        .await
        .context("it was refused")?;
    // On its own connection, without a statement timeout.
    let db = Database::connect(std::env::var("DATABASE_URL")?).await?;
    let sql = "INSERT INTO jobs SELECT copy.*
        FROM (SELECT * FROM jobs LIMIT 1) AS one, generate_series(2, $1) AS n,
            LATERAL jsonb_populate_record(NULL::jobs, to_jsonb(one) || jsonb_build_object(
                'id', left(md5(n::text), 22), 'owner_sub', 'dev:owner' || n % $2,
                'call', replace(one.call, 'dev:owner0', 'dev:owner' || n % $2),
                'arguments', '{}', -- encrypted for the original
                'run_at', one.run_at + n * interval '1 microsecond')) AS copy";
    let values = [queued, owners].map(|it| sea_orm::Value::from(i64::from(it)));
    let backend = db.get_database_backend();
    db.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    db.execute_unprepared("VACUUM ANALYZE jobs").await?;
    Ok(())
}

/// Claims jobs and releases them.
async fn claims(web: &App) -> anyhow::Result<()> {
    for max in [1, CLAIMED] {
        let (mut turn, mut times) = (jobs::Turn::default(), Vec::with_capacity(TIMES));
        for _ in 0..TIMES {
            let lease = Duration::from_mins(10);
            let options = Claim { worker: "bench", max, lease, excluded_owners: None };
            let began = Instant::now();
            let claimed = jobs::claim(web.jobs(), &mut turn, options).await?;
            times.push(began.elapsed());
            let ends: Vec<(Lease, jobs::End)> =
                claimed.into_iter().map(|job| (job.lease, jobs::End::Released)).collect();
            jobs::finish(web.jobs(), &ends).await?;
        }
        println!("claim {max}: {}", quantiles(times));
    }
    Ok(())
}

/// Runs two workers, and enqueues jobs of new owners meanwhile.
#[expect(clippy::disallowed_methods, reason = "measures what happens in real time")]
async fn drain(connections: &Connections, web: &App) -> anyhow::Result<()> {
    let runner = Arc::new(Nothing::default());
    let shutdown = CancellationToken::new();
    let mut workers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..2 {
        let settings = Settings { concurrency: PLACES, ..connections.worker_settings() };
        let worker = Worker::new(connections.connect().await?, runner.clone(), settings);
        workers.spawn(worker.run(shutdown.clone()));
    }
    let mut latencies = Vec::with_capacity(NEW_OWNERS);
    for n in 0..NEW_OWNERS {
        latencies.push(start_of(web, &runner, new_job(UserId::new(format!("dev:late{n}")))).await?);
    }
    println!("from enqueue to start of a job of a new owner: {}", quantiles(latencies));
    while runner.runs.load(Ordering::Relaxed) < DRAINED {
        sleep(Duration::from_millis(10)).await;
    }
    let (runs, elapsed) = (runner.runs.load(Ordering::Relaxed), began.elapsed());
    println!("two workers: {:.0} jobs/s", per_second(runs, elapsed));
    shutdown.cancel();
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    Ok(())
}
