//! What has to happen at certain times: the whole list, and what makes each of it happen once. What
//! is not a row, such as a half-done sign-in, ends by itself where it is kept.
//!
//! Every worker has a clock, and all of them try at every tick. A row in the database lets one of
//! them in ([`ticks::take`]). What is run is safe to run twice, so that a worker that dies in the
//! middle costs nothing but the time until the next tick.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use service::{
    Service,
    db::Failure,
    exports, jobs,
    metrics::{ELSEWHERE, SCHEDULE_RUNS},
    notes,
    oauth::{cimd, client::ClientId, sweep},
    ticks::{self, Runs},
};
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

use crate::{announcing::announce_some, runner::Runner};

/// Something that has to happen again and again.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// What `notes-mcp-worker once` takes.
    pub name: &'static str,
    /// When: second, minute, hour, day of the month, month, day of the week; in UTC.
    pub when: &'static str,
    /// What happens.
    pub what: &'static str,
    /// Why then.
    pub why: &'static str,
    /// How far two runs are apart at the least: less than the time between two ticks, so that
    /// clocks of workers may differ, and more than they differ by.
    spacing: Duration,
    step: Step,
}

/// Does some of the work, and says how much that was. What goes along a table gets where the last
/// step has ended.
type Step = for<'a> fn(
    &'a Service,
    &'a dyn Runner,
    &'a mut Option<ClientId>,
) -> BoxFuture<'a, Result<Done, Failure>>;

/// How much a step has done.
#[derive(Clone, Copy, Debug)]
struct Done {
    count: u64,
    more: bool,
}

/// The most steps of one run. What is left then waits for the next tick, and others get a turn.
const MAX_STEPS: u32 = 1_000;

/// A step of a verb that deletes or changes at most so many rows.
macro_rules! sweeping {
    ($verb:path, $batch:expr) => {
        |service, _, _| {
            Box::pin(async move {
                let count = $verb(service).await?;
                Ok(Done { count, more: count >= $batch })
            })
        }
    };
}

/// Every schedule there is.
pub const ALL: &[Schedule] = &[
    Schedule {
        name: "lost-jobs",
        when: "*/10 * * * * *",
        what: "takes over jobs whose worker is silent, and gives up questions nobody answers",
        why: "a person waits for them; a lease is 30 s, so this adds a third at most",
        spacing: Duration::from_secs(5),
        step: |service, _, _| {
            Box::pin(async move {
                let count = jobs::take_over(service).await?;
                Ok(Done { count, more: count > 0 })
            })
        },
    },
    Schedule {
        name: "untold-clients",
        when: "5/10 * * * * *",
        what: "tells clients of jobs whose worker died before it could",
        why: "their streams are open and wait; between two runs of lost-jobs, which makes some",
        spacing: Duration::from_secs(5),
        step: |service, runner, _| {
            Box::pin(async move {
                let count = announce_some(service, runner, None).await?;
                // What could not be told is there again: not at once.
                Ok(Done { count, more: false })
            })
        },
    },
    Schedule {
        name: "search-index",
        when: "2/10 * * * * *",
        what: "indexes notes that a program of an earlier version has written",
        why: "during a deploy, and once for all notes after one; nothing is left to do otherwise",
        spacing: Duration::from_secs(5),
        step: sweeping!(notes::index::refresh, notes::index::REFRESH_BATCH),
    },
    Schedule {
        name: "expired-codes",
        when: "0 */10 * * * *",
        what: "deletes authorization codes that expired an hour ago",
        why: "a code lives for a minute, so the table stays as small as ten minutes of sign-ins",
        spacing: Duration::from_mins(5),
        step: sweeping!(sweep::codes, sweep::BATCH),
    },
    Schedule {
        name: "expired-exports",
        when: "0 2/10 * * * *",
        what: "deletes exported files that can no longer be fetched",
        why: "they live for an hour and are large, so they should not lie about for long after it",
        spacing: Duration::from_mins(5),
        step: sweeping!(exports::sweep_expired, exports::SWEEP_BATCH),
    },
    Schedule {
        name: "expired-tokens",
        when: "0 7 * * * *",
        what: "deletes refresh tokens of grants that ended a month ago",
        why: "hourly is little work each time; before ended-grants, which wait for them",
        spacing: Duration::from_mins(30),
        step: sweeping!(sweep::refresh_tokens, sweep::BATCH),
    },
    Schedule {
        name: "ended-grants",
        when: "0 12 * * * *",
        what: "deletes grants that ended a month ago and have no tokens left",
        why: "after expired-tokens",
        spacing: Duration::from_mins(30),
        step: sweeping!(sweep::grants, sweep::BATCH),
    },
    Schedule {
        name: "old-cutoffs",
        when: "0 22 4 * * *",
        what: "forgets when a person's access was ended, a month after it",
        why: "by then nothing is left that was issued before; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(sweep::cutoffs, sweep::BATCH),
    },
    Schedule {
        name: "unused-clients",
        when: "0 17 * * * *",
        what: "deletes clients that registered and are not used",
        why: "whoever registers in masses gets an hour of them; after ended-grants, which keep them",
        spacing: Duration::from_mins(30),
        step: sweeping!(sweep::clients, sweep::BATCH),
    },
    Schedule {
        name: "signing-keys",
        when: "0 */15 * * * *",
        what: "asks for a new signing key when one is a month old, and lets it take over",
        why: "instances that sign do so too; this makes it happen while none is running",
        spacing: Duration::from_mins(7),
        step: |service, _, _| {
            Box::pin(async move {
                service.keys().keep_up().await?;
                Ok(Done { count: 0, more: false })
            })
        },
    },
    Schedule {
        name: "client-documents",
        when: "0 42 4 * * *",
        what: "ends what clients were given whose metadata document has been gone for a week",
        why: "once a day is what hosts of others may be asked; at an hour when few are",
        spacing: Duration::from_hours(12),
        step: |service, _, after| {
            Box::pin(async move {
                let done = cimd::recheck(service, after.as_ref()).await?;
                let more = done.last.is_some();
                *after = done.last;
                Ok(Done { count: done.revoked, more })
            })
        },
    },
    Schedule {
        name: "old-signing-keys",
        when: "0 22 3 * * *",
        what: "deletes signing keys that nobody has trusted for three months",
        why: "there are few of them; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(sweep::keys, sweep::BATCH),
    },
    Schedule {
        name: "old-audit",
        when: "0 27 3 * * *",
        what: "deletes lines of the audit log that are older than it is kept",
        why: "they come evenly, so a day's worth goes at once; at night",
        spacing: Duration::from_hours(12),
        step: sweeping!(sweep::audit, sweep::BATCH),
    },
    Schedule {
        name: "finished-jobs",
        when: "30 */5 * * * *",
        what: "deletes jobs whose result is not kept any longer",
        why: "the shortest time that a client may have one kept is a minute",
        spacing: Duration::from_mins(2),
        step: sweeping!(jobs::sweep::finished, jobs::sweep::BATCH),
    },
];

/// The schedule of that name.
pub fn find(name: &str) -> Option<&'static Schedule> {
    ALL.iter().find(|it| it.name == name)
}

/// Runs what is due, when it is due, until `shutdown`.
pub async fn run(
    service: Service,
    runner: Arc<dyn Runner>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let names: Vec<_> = ALL.iter().map(|it| it.name).collect();
    if let Err(error) = ticks::register(&service, &names).await {
        tracing::warn!(%error, "Could not register the schedules; each does so when it first runs");
    }
    let mut scheduler = JobScheduler::new().await.context("the clock could not be set up")?;
    for schedule in ALL {
        SCHEDULE_RUNS.add([schedule.name, ELSEWHERE], 0);
        let (service, runner, stop) = (service.clone(), Arc::clone(&runner), shutdown.clone());
        let job = Job::new_async(schedule.when, move |_, _| {
            let (service, runner, stop) = (service.clone(), Arc::clone(&runner), stop.clone());
            Box::pin(async move {
                let _counted = schedule.tick(&service, &*runner, &stop).await;
            })
        });
        let job = job.with_context(|| format!("`{}` has no good time", schedule.name))?;
        scheduler.add(job).await.with_context(|| format!("`{}` was not set", schedule.name))?;
    }
    scheduler.start().await.context("the clock could not be started")?;
    shutdown.cancelled().await;
    scheduler.shutdown().await.context("the clock could not be stopped")
}

impl Schedule {
    /// Runs it, unless another worker has, and counts that.
    pub async fn tick(
        &self,
        service: &Service,
        runner: &dyn Runner,
        stop: &CancellationToken,
    ) -> Tick {
        let tick = self.run_if_due(service, runner, stop).await;
        match tick {
            Tick::Ran(_) => ticks::count(service, self.name, Runs { ran: 1, failed: 0 }).await,
            Tick::Failed => ticks::count(service, self.name, Runs { ran: 0, failed: 1 }).await,
            Tick::Elsewhere => SCHEDULE_RUNS.count([self.name, ELSEWHERE]),
        }
        tick
    }

    async fn run_if_due(
        &self,
        service: &Service,
        runner: &dyn Runner,
        stop: &CancellationToken,
    ) -> Tick {
        let name = self.name;
        match ticks::take(service, name, self.spacing).await {
            Ok(true) => {}
            Ok(false) => return Tick::Elsewhere,
            Err(error) => {
                tracing::warn!(
                    schedule = name, dependency = error.dependency(), error = ?error,
                    "`{name}` was not run: {error}"
                );
                return Tick::Failed;
            }
        }
        match self.run(service, runner, stop).await {
            Ok(count) => Tick::Ran(count),
            Err(error) => {
                tracing::warn!(
                    schedule = name, dependency = error.dependency(), error = ?error,
                    "`{name}` has failed: {error}"
                );
                Tick::Failed
            }
        }
    }

    /// Runs it now, whoever else does. Gives how much there was to do.
    pub async fn run(
        &self,
        service: &Service,
        runner: &dyn Runner,
        stop: &CancellationToken,
    ) -> Result<u64, Failure> {
        let (mut count, mut after) = (0, None);
        for _ in 0..MAX_STEPS {
            if stop.is_cancelled() {
                break;
            }
            let done = (self.step)(service, runner, &mut after).await?;
            count += done.count;
            if !done.more {
                break;
            }
        }
        if count > 0 {
            let name = self.name;
            tracing::info!(schedule = name, count, "`{name}` has done {count}");
        }
        Ok(count)
    }
}

/// What came of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// It ran here, and did so much.
    Ran(u64),
    /// Another worker has run it.
    Elsewhere,
    /// It did not work; the next one may.
    Failed,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn every_schedule_has_a_name_of_its_own_and_a_time_that_exists() {
        let names: BTreeSet<_> = ALL.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), ALL.len());
        for schedule in ALL {
            Job::new_async(schedule.when, |_, _| Box::pin(async {})).expect(schedule.name);
            assert!(!schedule.what.is_empty() && !schedule.why.is_empty());
        }
    }
}
