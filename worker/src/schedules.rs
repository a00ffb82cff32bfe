//! Schedules: the list of all schedules, and the code that runs each of them on one worker. Data
//! that is not in the database, such as pending sign-ins, expires in its store without a schedule.
//!
//! All workers try to run each schedule when it is due; a row in the database lets one of them proceed
//! ([`schedule_runs::take`]). Running a schedule twice is safe, so a worker that dies during a run only
//! delays the work until the next run.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use app::{
    App, BoundStep, Done, Product, downloads,
    metrics::{ELSEWHERE, SCHEDULE_RUNS},
};
use futures_util::future::BoxFuture;
use jobs::schedule_runs::{self, Runs};
use oauth::{calls, cimd, client::ClientId, sweep};
use platform::db::Failure;
use runner::Runner;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

/// A schedule of the base or of the product.
pub type Schedule = app::Schedule<Step>;

/// Does a part of the work, and returns how much. A step that walks through a table reads the
/// position where the previous step ended, and sets the new one.
pub type BaseStep = for<'a> fn(
    &'a App,
    &'a dyn Runner,
    &'a mut Option<ClientId>,
) -> BoxFuture<'a, Result<Done, Failure>>;

/// The step of a schedule.
#[derive(Clone, Debug)]
pub enum Step {
    /// A step of the base.
    Base(BaseStep),
    /// A step of the product.
    Product(BoundStep),
}

/// The maximum number of steps in one run. The rest is left to the next run, so that other
/// schedules run, too.
const MAX_STEPS: u32 = 1_000;

/// A step whose `$call` deletes or changes at most `$batch` rows and returns their number.
macro_rules! sweeping {
    ($app:ident => $call:expr, $batch:expr) => {
        Step::Base(|$app, _, _| {
            Box::pin(async move {
                let count = $call.await?;
                Ok(Done { count, more: count >= $batch })
            })
        })
    };
}

/// The schedules of the base.
const BASE: &[Schedule] = &[
    Schedule {
        name: "lost-jobs",
        when: "*/10 * * * * *",
        what: "requeues jobs whose worker is silent, and closes questions that timed out",
        why: "users wait for them; a lease is 30 s, so this adds a third at most. Jobs of a process \
              that has ended are requeued sooner",
        spacing: Duration::from_secs(5),
        step: Step::Base(|app, _, _| {
            Box::pin(async move {
                let count = jobs::reclaim(app.jobs()).await?;
                Ok(Done { count, more: count > 0 })
            })
        }),
    },
    Schedule {
        name: "untold-clients",
        when: "5/10 * * * * *",
        what: "notifies clients of jobs whose worker died before it could",
        why: "their streams are open; between two runs of lost-jobs, which causes some",
        spacing: Duration::from_secs(5),
        step: Step::Base(|app, runner, _| {
            Box::pin(async move {
                let queue = jobs::work_queue(app.jobs());
                let notifying = runner::notify_some(&*queue, runner, None);
                let count = notifying.await.map_err(jobs::into_failure)?;
                // Failed notifications are retried in the next run, not at once.
                Ok(Done { count, more: false })
            })
        }),
    },
    Schedule {
        name: "expired-codes",
        when: "0 */10 * * * *",
        what: "deletes authorization codes that expired an hour ago",
        why: "a code lives for a minute, so the table stays as small as ten minutes of sign-ins",
        spacing: Duration::from_mins(5),
        step: sweeping!(app => sweep::codes(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "expired-exports",
        when: "0 2/10 * * * *",
        what: "deletes exported files that can no longer be fetched",
        why: "they expire after an hour and are large, so they should be deleted soon after",
        spacing: Duration::from_mins(5),
        step: sweeping!(app => app.downloads().sweep_expired(), downloads::SWEEP_BATCH),
    },
    Schedule {
        name: "expired-tokens",
        when: "0 7 * * * *",
        what: "deletes refresh tokens of grants that ended a month ago",
        why: "hourly, so each run is short; before ended-grants, which depends on it",
        spacing: Duration::from_mins(30),
        step: sweeping!(app => sweep::refresh_tokens(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "ended-grants",
        when: "0 12 * * * *",
        what: "deletes grants that ended a month ago and have no tokens left",
        why: "after expired-tokens",
        spacing: Duration::from_mins(30),
        step: sweeping!(app => sweep::grants(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "old-cutoffs",
        when: "0 22 4 * * *",
        what: "deletes records of revoked access a month after the revocation",
        why: "by then everything issued before has expired; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(app => sweep::cutoffs(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "unused-clients",
        when: "0 17 * * * *",
        what: "deletes registered clients that are not used",
        why: "limits mass registrations to an hour; after ended-grants, since grants keep clients",
        spacing: Duration::from_mins(30),
        step: sweeping!(app => sweep::clients(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "signing-keys",
        when: "0 */15 * * * *",
        what: "creates a new signing key when the current one is a month old, and activates it",
        why: "instances that sign tokens do so, too; this covers times without any",
        spacing: Duration::from_mins(7),
        step: Step::Base(|app, _, _| {
            Box::pin(async move {
                app.oauth().keys().keep_up().await?;
                Ok(Done { count: 0, more: false })
            })
        }),
    },
    Schedule {
        name: "client-documents",
        when: "0 42 4 * * *",
        what: "revokes the grants of clients whose metadata document has been missing for a week",
        why: "daily, to spare the hosts of others; at a quiet hour",
        spacing: Duration::from_hours(12),
        step: Step::Base(|app, _, after| {
            Box::pin(async move {
                let done = cimd::recheck(app.oauth(), after.as_ref()).await?;
                let more = done.last.is_some();
                *after = done.last;
                Ok(Done { count: done.revoked, more })
            })
        }),
    },
    Schedule {
        name: "old-signing-keys",
        when: "0 22 3 * * *",
        what: "deletes signing keys that have not been trusted for three months",
        why: "there are few of them; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(app => sweep::keys(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "old-audit",
        when: "0 27 3 * * *",
        what: "deletes audit log entries that exceed their retention",
        why: "they arrive evenly, so each run deletes one day; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(app => sweep::audit(app.oauth()), sweep::BATCH),
    },
    Schedule {
        name: "old-calls",
        when: "0 32 3 * * *",
        what: "deletes numbers of calls that are older than the account page shows",
        why: "each app in use has one row a day; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(app => calls::sweep(app.oauth()), calls::SWEEP_BATCH),
    },
    Schedule {
        name: "finished-jobs",
        when: "30 */5 * * * *",
        what: "deletes jobs whose result has expired",
        why: "the shortest retention that a client may request is a minute",
        spacing: Duration::from_mins(2),
        step: sweeping!(app => jobs::sweep::finished(app.jobs()), jobs::sweep::BATCH),
    },
];

/// All schedules: those of the base, then those of the product.
pub fn all(product: &Product) -> Vec<Schedule> {
    let product = product.schedules().iter();
    let product = product.map(|schedule| schedule.with_step(Step::Product(schedule.step.clone())));
    BASE.iter().cloned().chain(product).collect()
}

/// The schedule with this name.
pub fn find(product: &Product, name: &str) -> Option<Schedule> {
    all(product).into_iter().find(|schedule| schedule.name == name)
}

/// Runs schedules when they are due, until `shutdown`.
pub async fn run(
    app: App,
    runner: Arc<dyn Runner>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let due = all(app.product());
    let names: Vec<_> = due.iter().map(|schedule| schedule.name).collect();
    if let Err(error) = schedule_runs::register(app.jobs(), &names).await {
        tracing::warn!(
            %error,
            "Could not register the schedules; each registers itself when it first runs"
        );
    }
    let mut scheduler = JobScheduler::new().await.context("could not create the scheduler")?;
    for schedule in due {
        SCHEDULE_RUNS.add([schedule.name, ELSEWHERE], 0);
        let (app, runner, stop) = (app.clone(), Arc::clone(&runner), shutdown.clone());
        let (name, to_run) = (schedule.name, schedule.clone());
        let job = Job::new_async(schedule.when, move |_, _| {
            let (app, runner, stop) = (app.clone(), Arc::clone(&runner), stop.clone());
            let schedule = to_run.clone();
            Box::pin(async move {
                let _counted = run_if_due(&schedule, &app, &*runner, &stop).await;
            })
        });
        let job = job.with_context(|| format!("the time of schedule `{name}` is invalid"))?;
        scheduler.add(job).await.with_context(|| format!("could not add schedule `{name}`"))?;
    }
    scheduler.start().await.context("could not start the scheduler")?;
    shutdown.cancelled().await;
    scheduler.shutdown().await.context("could not stop the scheduler")
}

/// Runs a schedule that is due, unless another worker has run it, and counts the run.
pub async fn run_if_due(
    schedule: &Schedule,
    app: &App,
    runner: &dyn Runner,
    stop: &CancellationToken,
) -> RunOutcome {
    let outcome = try_run(schedule, app, runner, stop).await;
    match outcome {
        RunOutcome::Ran(_) => {
            schedule_runs::count(app.jobs(), schedule.name, Runs { ran: 1, failed: 0 }).await;
        }
        RunOutcome::Failed => {
            schedule_runs::count(app.jobs(), schedule.name, Runs { ran: 0, failed: 1 }).await;
        }
        RunOutcome::Elsewhere => SCHEDULE_RUNS.increment([schedule.name, ELSEWHERE]),
    }
    outcome
}

async fn try_run(
    schedule: &Schedule,
    app: &App,
    runner: &dyn Runner,
    stop: &CancellationToken,
) -> RunOutcome {
    let name = schedule.name;
    if !app.jobs().is_clock_right().await {
        return RunOutcome::Elsewhere;
    }
    match schedule_runs::take(app.jobs(), name, schedule.spacing).await {
        Ok(true) => {}
        Ok(false) => return RunOutcome::Elsewhere,
        Err(error) => {
            tracing::warn!(
                schedule = name, dependency = error.dependency(), error = ?error,
                "Could not start schedule {name}; retrying when it is next due"
            );
            return RunOutcome::Failed;
        }
    }
    match run_now(schedule, app, runner, stop).await {
        Ok(count) => RunOutcome::Ran(count),
        Err(error) => {
            tracing::warn!(
                schedule = name, dependency = error.dependency(), error = ?error,
                "Schedule {name} failed; retrying when it is next due"
            );
            RunOutcome::Failed
        }
    }
}

/// Runs a schedule now, even if another worker runs it, too. Returns the number of processed items.
pub async fn run_now(
    schedule: &Schedule,
    app: &App,
    runner: &dyn Runner,
    stop: &CancellationToken,
) -> Result<u64, Failure> {
    let (mut count, mut after) = (0, None);
    for _ in 0..MAX_STEPS {
        if stop.is_cancelled() {
            break;
        }
        let done = match &schedule.step {
            Step::Base(function) => function(app, runner, &mut after).await?,
            Step::Product(bound) => bound.run(app.any_state()).await?,
        };
        count += done.count;
        if !done.more {
            break;
        }
    }
    if count > 0 {
        let name = schedule.name;
        tracing::info!(schedule = name, count, "Schedule {name} processed {count}");
    }
    Ok(count)
}

/// The outcome of a due run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// This worker ran it; the value is the number of processed items.
    Ran(u64),
    /// Another worker ran it, or has to, because the clock of this one is wrong.
    Elsewhere,
    /// It failed; the next run may succeed.
    Failed,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn every_schedule_has_a_unique_name_and_a_valid_time() {
        let names: BTreeSet<_> = BASE.iter().map(|schedule| schedule.name).collect();
        assert_eq!(names.len(), BASE.len());
        for schedule in BASE {
            Job::new_async(schedule.when, |_, _| Box::pin(async {})).expect(schedule.name);
            assert!(!schedule.what.is_empty() && !schedule.why.is_empty());
        }
    }
}
