//! The life of a job, operation by operation.

use std::collections::BTreeSet;

use entity::jobs::{Entity, Model, Status};
use futures_util::future::join_all;
use jobs::{CheckpointError, QUESTION_TIMEOUT, RESULT_TTL, Total};
use mcp::{Signal, job::NotEnqueued};
use oauth::{account, audit::RequestInfo};
use sea_orm::{EntityTrait as _, IntoActiveModel as _};
use serde_json::{json, value::to_raw_value};
use tests::work_queue_suite;
use tokio::task::JoinSet;

use super::*;

on_both!(
    the_tables_pass_the_suite_of_the_queue,
    a_job_is_found_by_its_owner_alone_and_made_once,
    a_job_of_a_transaction_that_fails_never_was,
    several_workers_share_a_queue,
    what_an_attempt_writes_after_another_has_begun_is_void,
    an_error_that_may_pass_is_tried_again_and_kept_at_last,
    a_job_that_kills_its_workers_is_given_up,
    a_released_job_has_not_failed,
    the_last_answer_lets_a_job_go_on,
    a_question_that_nobody_answers_ends_a_job,
    a_cancelled_job_ends_at_once_with_its_children,
    a_parent_goes_on_when_its_last_child_has_ended,
    a_child_that_is_lost_ends_for_its_parent_too,
    ten_thousand_jobs_of_one_person_do_not_keep_out_another,
    slots_can_be_reserved_for_idle_owners,
    processes_that_race_keep_to_the_quota_of_jobs,
    processes_that_race_keep_to_the_quota_of_arguments,
    only_tools_that_run_as_jobs_are_counted_by_name,
    a_result_goes_when_its_time_is_over,
    too_much_of_a_result_is_refused,
    progress_only_grows,
    a_checkpoint_and_its_effect_are_one,
    a_client_is_told_though_the_worker_died,
    the_end_of_an_account_is_the_end_of_its_jobs,
    jobs_are_listed_page_by_page,
    what_becomes_of_jobs_is_counted_over_all_processes,
);

async fn the_tables_pass_the_suite_of_the_queue(world: World) {
    let suite = work_queue_suite::Queue {
        jobs: jobs::store(world.app.jobs()),
        work: jobs::work_queue(world.app.jobs()),
        pass: async |time| world.clock.advance(time),
        reclaim: async || {
            jobs::reclaim(world.app.jobs()).await.unwrap();
        },
        quota: world.app.config().job_quota.jobs,
    };
    suite.run().await;
}

#[tokio::test(start_paused = true)]
async fn the_simulated_queue_passes_the_suite() {
    const QUOTA: usize = 3;
    let queue = simulation::queue(QUOTA);
    let suite = work_queue_suite::Queue {
        jobs: queue.jobs(),
        work: queue.work_queue(),
        pass: tokio::time::advance,
        reclaim: async || queue.reclaim().await.unwrap(),
        quota: u64::try_from(QUOTA).unwrap(),
    };
    suite.run().await;
}

async fn a_job_is_found_by_its_owner_alone_and_made_once(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let new = new_job(&ada);
    let job = jobs::enqueue(app.jobs(), new.clone()).await.unwrap();
    assert!(world.published().contains(&Signal::JobQueued));
    assert_eq!(job.status, JobStatus::Queued);
    assert_eq!(job.ttl, RESULT_TTL);

    let other = world.another().await;
    let found = get(&other, &ada, &job.id).await.unwrap();
    assert_eq!((found.created_at, found.ttl), (job.created_at, job.ttl));
    assert!(get(&other, &user("bob"), &job.id).await.is_none());
    assert_eq!(enqueue(&other, new).await, job.id);
    let claimed = claim_one(&other).await;
    assert_eq!(claimed.attempt.call.arguments.get(), r#"{"text":"a\u0000b"}"#);
    assert_eq!((claimed.attempt.number, claimed.attempt.last), (1, false));
    assert!(claim(app, 10).await.is_empty());
}

async fn a_job_of_a_transaction_that_fails_never_was(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let transaction = begin(app).await;
    let job = jobs::enqueue_in(app.jobs(), &transaction, new_job(&ada)).await.unwrap();
    transaction.rollback().await.unwrap();
    assert!(get(app, &ada, &job.id).await.is_none());
    assert!(claim(app, 1).await.is_empty());
}

async fn several_workers_share_a_queue(world: World) {
    let mut made = BTreeSet::new();
    for n in 0..60 {
        made.insert(enqueue(&world.app, new_job(&user(&format!("p{}", n % 3)))).await);
    }
    let workers = [world.another().await, world.another().await, world.another().await];
    let work = async |app: &App| {
        let (mut turn, mut mine) = (Turn::default(), Vec::new());
        // Others may hold what is left for a moment.
        while jobs::stats(app.jobs()).await.unwrap().queued > 0 {
            let claimed = jobs::claim(app.jobs(), &mut turn, claims(7)).await.unwrap();
            mine.extend(claimed.into_iter().map(|it| it.lease.job));
        }
        mine
    };
    let claimed = join_all(workers.iter().map(work)).await.concat();
    assert_eq!(claimed.len(), 60, "each once");
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), made);
}

async fn what_an_attempt_writes_after_another_has_begun_is_void(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let paused = claim_one(app).await.lease;
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 0);
    world.clock.advance(LEASE);
    assert_eq!(jobs::reclaim(world.another().await.jobs()).await.unwrap(), 1);
    // Between two attempts neither may write.
    assert!(!settle(app, &paused, End::Answered(text("late"))).await);
    let second = claim_one(app).await;
    assert_eq!(second.attempt.number, 2);

    let progress = mcp::job::Progress { done: 1.0, total: None, message: None };
    jobs::record_progress(app.jobs(), &[(id.clone(), paused.number, progress)]).await.unwrap();
    assert!(get(app, &ada, &id).await.unwrap().progress.is_none());
    let refused = jobs::checkpoint(app.jobs(), app.db(), &id, paused.number, &json!(1)).await;
    assert!(matches!(refused, Err(CheckpointError::Superseded)));
    let renewed = jobs::renew(app.jobs(), &[(id.clone(), paused.number)], LEASE).await.unwrap();
    assert!(renewed.is_empty());
    for end in [
        End::Answered(text("late")),
        End::Retry("late".to_owned()),
        End::Released,
        End::InputRequired(questions(&["late"])),
    ] {
        assert!(!settle(app, &paused, end).await);
    }
    assert!(settle(app, &second.lease, End::Answered(text("right"))).await);
    assert_eq!(said(&get(app, &ada, &id).await.unwrap()), "right");
    assert!(!settle(app, &second.lease, End::Answered(text("again"))).await);
}

async fn an_error_that_may_pass_is_tried_again_and_kept_at_last(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    for attempt in 1..=3 {
        let claimed = claim_one(app).await;
        assert_eq!((claimed.attempt.number, claimed.attempt.last), (attempt, attempt == 3));
        let error = format!("no answer, try {attempt}");
        assert!(settle(app, &claimed.lease, End::Retry(error)).await);
        assert!(claim(app, 1).await.is_empty(), "not at once");
        world.clock.advance(Duration::from_mins(1));
    }
    let job = get(app, &ada, &id).await.unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(said(&job), "no answer, try 3");
    assert!(claim(app, 1).await.is_empty());
}

async fn a_job_that_kills_its_workers_is_given_up(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    for _ in 0..3 {
        claim_one(app).await;
        world.clock.advance(LEASE);
        assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 1);
    }
    let job = get(app, &ada, &id).await.unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert!(said(&job).contains("worker was lost"), "{}", said(&job));
}

async fn a_released_job_has_not_failed(world: World) {
    let app = &world.app;
    enqueue(app, new_job(&user("ada"))).await;
    for number in 1..=10 {
        let claimed = claim_one(app).await;
        assert_eq!((claimed.attempt.number, claimed.attempt.last), (number, false));
        assert!(settle(app, &claimed.lease, End::Released).await);
    }
}

async fn the_last_answer_lets_a_job_go_on(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    assert!(settle(app, &claimed.lease, End::InputRequired(questions(&["a", "b"]))).await);
    let store = jobs::store(app.jobs());
    assert!(store.answer(&user("bob"), &id, answers(&["a"])).await.unwrap().is_none());
    let job = store.answer(&ada, &id, answers(&["a", "c"])).await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::InputRequired);
    assert_eq!(job.questions.keys().collect::<Vec<_>>(), ["b"]);
    assert!(claim(app, 1).await.is_empty());

    // Two instances receive the last answer at once.
    let other = jobs::store(world.another().await.jobs());
    let (one, two) = tokio::join!(
        store.answer(&ada, &id, answers(&["b"])),
        other.answer(&ada, &id, answers(&["b"])),
    );
    for job in [one, two] {
        assert_eq!(job.unwrap().unwrap().status, JobStatus::Queued);
    }
    let claimed = claim_one(app).await;
    assert_eq!(claimed.attempt.answers.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((claimed.attempt.number, claimed.attempt.last), (2, false));
}

async fn a_question_that_nobody_answers_ends_a_job(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    assert!(settle(app, &claimed.lease, End::InputRequired(questions(&["a"]))).await);
    world.clock.advance(QUESTION_TIMEOUT.saturating_sub(Duration::from_secs(1)));
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 1);
    let job = get(app, &ada, &id).await.unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert!(said(&job).contains("waited for an answer"), "{}", said(&job));
}

async fn a_cancelled_job_ends_at_once_with_its_children(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let store = jobs::store(app.jobs());
    let waiting = enqueue(app, new_job(&ada)).await;
    assert!(store.cancel(&user("bob"), &waiting).await.unwrap().is_none());
    let job = store.cancel(&ada, &waiting).await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Cancelled);
    assert!(claim(app, 1).await.is_empty());

    let parent = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    let wanted = children(&claimed, &["one", "two"]);
    assert!(settle(app, &claimed.lease, End::Children(wanted)).await);
    let child = claim(app, 1).await.remove(0);
    world.published();
    store.cancel(&ada, &parent).await.unwrap();
    let heard = world.published();
    let told = Signal::JobCancelled { job: child.lease.job.clone() };
    assert!(heard.contains(&told), "{heard:?}");
    assert!(!settle(app, &child.lease, End::Answered(text("late"))).await);
    assert!(claim(app, 10).await.is_empty());

    let done = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    assert!(settle(app, &claimed.lease, End::Answered(text("done"))).await);
    let job = store.cancel(&ada, &done).await.unwrap().unwrap();
    assert_eq!((job.status, said(&job).as_str()), (JobStatus::Completed, "done"));
}

async fn a_parent_goes_on_when_its_last_child_has_ended(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let parent = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    let wanted = children(&claimed, &["one", "two", "three"]);
    assert!(settle(app, &claimed.lease, End::Children(wanted)).await);
    assert_eq!(status(app, &ada, &parent).await, JobStatus::Running);
    let parts = claim(app, 10).await;
    assert_eq!(parts.len(), 3);
    // All end at once, on different instances.
    let instances = [world.another().await, world.another().await, world.another().await];
    let ends = parts.iter().zip(&instances).map(|(part, app)| async move {
        settle(app, &part.lease, End::Answered(text("a part"))).await
    });
    assert_eq!(join_all(ends).await, [true, true, true]);
    let again = claim_one(app).await;
    assert_eq!(again.lease.job, parent);
    assert_eq!(again.attempt.children.len(), 3);
    assert!(get(app, &ada, &parts[0].lease.job).await.is_none(), "clients see the parent only");
    assert!(settle(app, &again.lease, End::Answered(text("all"))).await);
    assert_eq!(said(&get(app, &ada, &parent).await.unwrap()), "all");
}

async fn a_child_that_is_lost_ends_for_its_parent_too(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let parent = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    let mut wanted = children(&claimed, &["one"]);
    wanted.get_mut("one").unwrap().attempts = 1;
    assert!(settle(app, &claimed.lease, End::Children(wanted)).await);
    claim_one(app).await;
    world.clock.advance(LEASE);
    assert_eq!(jobs::reclaim(app.jobs()).await.unwrap(), 1);
    let again = claim_one(app).await;
    assert_eq!(again.lease.job, parent);
    assert!(again.attempt.children["one"].output::<serde_json::Value>().is_err());
}

/// Copies of a queued job, straight into the table. Encrypted arguments are of no use to a copy, so they are
/// replaced by a text of the same length.
async fn copies(app: &App, like: &JobId, number: usize) {
    let row = Entity::find_by_id(like.as_str()).one(app.db()).await.unwrap().unwrap();
    let length = row.arguments.as_ref().unwrap().len();
    let arguments = Some(json!("x".repeat(length - 2)).to_string());
    let row = Model { arguments, ..row };
    let copy = || Model { id: JobId::random().to_string(), ..row.clone() }.into_active_model();
    let copies: Vec<_> = std::iter::repeat_with(copy).take(number).collect();
    for some in copies.chunks(500) {
        Entity::insert_many(some.to_vec()).exec_without_returning(app.db()).await.unwrap();
    }
}

async fn ten_thousand_jobs_of_one_person_do_not_keep_out_another(world: World) {
    let (app, ada, bob) = (&world.app, user("ada"), user("bob"));
    let like = enqueue(app, new_job(&ada)).await;
    copies(app, &like, 9_999).await;
    let mut turn = Turn::default();
    let first = jobs::claim(app.jobs(), &mut turn, claims(8)).await.unwrap();
    assert_eq!(first.len(), 8);
    world.clock.advance(Duration::from_secs(1));
    let his = enqueue(app, new_job(&bob)).await;
    let next = jobs::claim(app.jobs(), &mut turn, claims(8)).await.unwrap();
    assert!(next.iter().any(|it| it.lease.job == his), "the next claim takes his");
    // And so for whoever comes before her in the order of names.
    world.clock.advance(Duration::from_secs(1));
    let hers = enqueue(app, new_job(&user("aaa"))).await;
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds <= 3, "one round of those who wait");
        let next = jobs::claim(app.jobs(), &mut turn, claims(8)).await.unwrap();
        if next.iter().any(|it| it.lease.job == hers) {
            break;
        }
    }
    // Together they share: half of a claim for each.
    let like = enqueue(app, new_job(&bob)).await;
    copies(app, &like, 20).await;
    let shared = jobs::claim(app.jobs(), &mut Turn::default(), claims(8)).await.unwrap();
    assert_eq!(shared.iter().filter(|it| it.lease.owner == bob.as_str()).count(), 4);
}

async fn slots_can_be_reserved_for_idle_owners(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let like = enqueue(app, new_job(&ada)).await;
    copies(app, &like, 20).await;
    let busy = [ada.as_str().to_owned()];
    let kept = Claim { excluded_owners: Some(&busy), ..claims(4) };
    let mut turn = Turn::default();
    assert!(jobs::claim(app.jobs(), &mut turn, kept).await.unwrap().is_empty());
    let like = enqueue(app, new_job(&user("bob"))).await;
    copies(app, &like, 20).await;
    let claimed = jobs::claim(app.jobs(), &mut turn, kept).await.unwrap();
    let owners: Vec<_> = claimed.iter().map(|it| it.lease.owner.as_str()).collect();
    assert_eq!(owners, [user("bob").as_str()], "one of his, none of hers");
}

async fn processes_that_race_keep_to_the_quota_of_jobs(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let limit = app.config().job_quota.jobs;
    let like = enqueue(app, new_job(&ada)).await;
    copies(app, &like, usize::try_from(limit).unwrap() - 6).await;
    let (kept, refused) = race(&world, 20, || new_job(&ada)).await;
    assert_eq!(kept, 5);
    for error in refused {
        assert!(matches!(error, NotEnqueued::TooMany { limit: 1_000 }), "{error}");
    }
    let used = jobs::usage(app.db(), &ada, app.config().job_quota).await.unwrap();
    assert!(used.to_string().starts_with("1,000 of 1,000 unfinished jobs, "), "{used}");

    enqueue(app, new_job(&user("bob"))).await;
    let again = NewJob { id: like.clone(), ..new_job(&ada) };
    assert_eq!(enqueue(app, again).await, like, "a job that is there is no new one");
    jobs::store(app.jobs()).cancel(&ada, &like).await.unwrap();
    enqueue(app, new_job(&ada)).await;
}

async fn processes_that_race_keep_to_the_quota_of_arguments(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let large = || {
        let mut job = new_job(&ada);
        job.call.arguments = to_raw_value(&"x".repeat(500_000)).unwrap();
        job
    };
    let like = enqueue(app, large()).await;
    copies(app, &like, 12).await;
    let (kept, refused) = race(&world, 8, large).await;
    assert_eq!(kept, 2, "15 of 0.5 MB, and their quotes, are less than 8 MB; 16 are not");
    for error in refused {
        assert!(matches!(error, NotEnqueued::TooLarge { megabytes: 8 }), "{error}");
    }
    enqueue(app, new_job(&ada)).await;
    jobs::store(app.jobs()).cancel(&ada, &like).await.unwrap();
    enqueue(app, large()).await;
}

/// Enqueues jobs at the same moment in three processes. Returns the number of jobs that were added,
/// and the other errors.
async fn race(world: &World, number: usize, job: impl Fn() -> NewJob) -> (usize, Vec<NotEnqueued>) {
    let processes = [world.app.clone(), world.another().await, world.another().await];
    let mut calls = JoinSet::new();
    for app in processes.iter().cycle().take(number) {
        let app = app.clone();
        let job = job();
        calls.spawn(async move {
            // Like the engine, it tries again if the lock was not free in time.
            loop {
                let answer = jobs::enqueue(app.jobs(), job.clone()).await;
                if !matches!(answer, Err(NotEnqueued::Unavailable(_))) {
                    break answer;
                }
            }
        });
    }
    let answers = tests::in_time("the database answers", calls.join_all()).await;
    let number = answers.iter().filter(|answer| answer.is_ok()).count();
    (number, answers.into_iter().filter_map(Result::err).collect())
}

async fn only_tools_that_run_as_jobs_are_counted_by_name(world: World) {
    let jobs = world.app.jobs();
    assert_eq!(jobs.tool_label("items_import"), "items_import");
    for other in ["items_list", "a_tool", ""] {
        assert_eq!(jobs.tool_label(other), "other");
    }
}

async fn a_result_goes_when_its_time_is_over(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let day = Duration::from_hours(24);
    let parent = enqueue(app, NewJob { ttl: Some(day), ..new_job(&ada) }).await;
    let claimed = claim_one(app).await;
    let wanted = children(&claimed, &["one"]);
    assert!(settle(app, &claimed.lease, End::Children(wanted)).await);
    let child = claim_one(app).await;
    assert!(settle(app, &child.lease, End::Answered(text("a part"))).await);
    world.clock.advance(day * 8);
    assert_eq!(jobs::sweep::finished(app.jobs()).await.unwrap(), 0, "its parent wants it");
    let again = claim_one(app).await;
    assert_eq!(again.attempt.children.len(), 1);
    assert!(settle(app, &again.lease, End::Answered(text("all"))).await);
    world.clock.advance(day.saturating_sub(Duration::from_secs(1)));
    assert_eq!(jobs::sweep::finished(app.jobs()).await.unwrap(), 0);
    assert_eq!(said(&get(app, &ada, &parent).await.unwrap()), "all");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(jobs::sweep::finished(app.jobs()).await.unwrap(), 1);
    assert!(Entity::find().one(app.db()).await.unwrap().is_none(), "its child went with it");
}

async fn too_much_of_a_result_is_refused(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    let large = "x".repeat(jobs::MAX_RESULT);
    assert!(settle(app, &claimed.lease, End::Answered(text(&large))).await);
    let job = get(app, &ada, &id).await.unwrap();
    assert!(said(&job).contains("larger than"), "{}", said(&job));
    let refused =
        jobs::checkpoint(app.jobs(), app.db(), &id, 1, &json!("x".repeat(jobs::MAX_CHECKPOINT)))
            .await;
    assert!(matches!(refused, Err(CheckpointError::TooLarge { .. })));
}

async fn progress_only_grows(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let number = claim_one(app).await.lease.number;
    for done in [1.0, 3.0, 2.0] {
        let message = Some(format!("part {done}\0"));
        let progress = mcp::job::Progress { done, total: Some(4.0), message };
        jobs::record_progress(app.jobs(), &[(id.clone(), number, progress)]).await.unwrap();
    }
    let progress = get(app, &ada, &id).await.unwrap().progress.unwrap();
    assert_eq!((progress.done, progress.total), (3.0, Some(4.0)));
    assert_eq!(progress.message.unwrap(), "part 3\u{fffd}");
    assert!(world.published().contains(&Signal::JobChanged { job: id }));
}

async fn a_checkpoint_and_its_effect_are_one(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let number = claim_one(app).await.lease.number;
    let transaction = begin(app).await;
    jobs::checkpoint(app.jobs(), &transaction, &id, number, &json!({ "done": 1 })).await.unwrap();
    transaction.rollback().await.unwrap();
    let transaction = begin(app).await;
    jobs::checkpoint(app.jobs(), &transaction, &id, number, &json!({ "done": 2 })).await.unwrap();
    transaction.commit().await.unwrap();
    world.clock.advance(LEASE);
    jobs::reclaim(app.jobs()).await.unwrap();
    assert_eq!(claim_one(app).await.attempt.checkpoint, Some(json!({ "done": 2 })));
}

async fn a_client_is_told_though_the_worker_died(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let silence = Duration::from_secs(10);
    let id = enqueue(app, streamed_job(&ada)).await;
    enqueue(app, new_job(&ada)).await; // its client asks
    for claimed in claim(app, 2).await {
        let ends = [(claimed.lease, End::InputRequired(questions(&["a"])))];
        jobs::finish(app.jobs(), &ends).await.unwrap();
    }
    // Whoever wrote that should tell the client, and has some time for it.
    assert!(jobs::unnotified(app.jobs(), None, silence).await.unwrap().is_empty());
    world.clock.advance(silence);
    let untold = jobs::unnotified(world.another().await.jobs(), None, silence).await.unwrap();
    assert_eq!(untold.len(), 1);
    assert_eq!(untold[0].job.questions.len(), 1);

    // Before it is marked, the job has gone on: that has to be told, too.
    jobs::store(app.jobs()).answer(&ada, &id, answers(&["a"])).await.unwrap();
    let claimed = claim_one(app).await;
    let ends = [(claimed.lease, End::Answered(text("done")))];
    let settled = jobs::finish(app.jobs(), &ends).await.unwrap();
    assert_eq!(settled.to_notify, std::slice::from_ref(&id));
    jobs::mark_notified(app.jobs(), &untold[0]).await.unwrap();
    let untold = jobs::unnotified(app.jobs(), Some(&[id]), silence).await.unwrap();
    assert_eq!(said(&untold[0].job), "done");
    jobs::mark_notified(app.jobs(), &untold[0]).await.unwrap();
    world.clock.advance(silence);
    assert!(jobs::unnotified(app.jobs(), None, silence).await.unwrap().is_empty());
}

async fn the_end_of_an_account_is_the_end_of_its_jobs(world: World) {
    let (app, ada, bob) = (&world.app, user("ada"), user("bob"));
    enqueue(app, new_job(&ada)).await;
    let claimed = claim_one(app).await;
    let his = enqueue(app, new_job(&bob)).await;
    account::delete(app.oauth(), &ada, &RequestInfo::none()).await.unwrap();
    assert!(!settle(app, &claimed.lease, End::Answered(text("late"))).await);
    let left = Entity::find().all(app.db()).await.unwrap();
    assert_eq!(
        left.iter().map(|it| (&*it.id, it.status)).collect::<Vec<_>>(),
        [(his.as_str(), Status::Queued)]
    );
}

async fn jobs_are_listed_page_by_page(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let store = jobs::store(app.jobs());
    let mut made = Vec::new();
    for n in 0..5 {
        made.insert(0, enqueue(app, new_job(&ada)).await);
        if n % 2 == 0 {
            world.clock.advance(Duration::from_secs(1));
        }
    }
    enqueue(app, new_job(&user("bob"))).await;
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&ada, after.as_deref(), 2).await.unwrap().unwrap();
        listed.extend(page.jobs.into_iter().map(|it| it.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), made.iter().collect());
    assert_eq!((listed.len(), &listed[4]), (5, &made[4]), "the oldest last");
    assert!(store.list(&ada, Some("nonsense"), 2).await.unwrap().is_none());
}

async fn what_becomes_of_jobs_is_counted_over_all_processes(world: World) {
    let (one, other, ada) = (&world.app, world.another().await, user("ada"));
    let import = || {
        let mut job = new_job(&ada);
        "items_import".clone_into(&mut job.call.tool);
        job
    };
    let again = || End::Retry("not now".to_owned());
    for (app, ends) in [
        (one, vec![End::Answered(text("done"))]),
        (&other, vec![again(), End::Released, End::Answered(JobOutcome::failed("no"))]),
        (&other, vec![again(), again(), again()]),
    ] {
        enqueue(one, import()).await;
        for end in ends {
            let lease = claim_one(app).await.lease;
            assert!(settle(app, &lease, end).await);
            world.clock.advance(Duration::from_mins(1));
        }
    }
    // Lost with its worker, and then not wanted any more.
    let id = enqueue(one, import()).await;
    claim_one(one).await;
    world.clock.advance(LEASE);
    assert_eq!(jobs::reclaim(other.jobs()).await.unwrap(), 1);
    jobs::store(one.jobs()).cancel(&ada, &id).await.unwrap();
    // Not wanted any more while it runs.
    let id = enqueue(one, import()).await;
    let late = claim_one(&other).await.lease;
    jobs::store(one.jobs()).cancel(&ada, &id).await.unwrap();
    assert!(!settle(&other, &late, End::Answered(text("late"))).await, "void, so not counted");
    // Whatever a tool is called, it makes no further row.
    for tool in ["a_tool", "another_tool"] {
        let mut job = new_job(&ada);
        tool.clone_into(&mut job.call.tool);
        enqueue(one, job).await;
        let lease = claim_one(one).await.lease;
        assert!(settle(one, &lease, End::Answered(text("done"))).await);
    }

    let counted = async || {
        let totals =
            jobs::totals(other.jobs()).await.unwrap().into_iter().filter(|it| it.total > 0);
        let line = |it: Total| format!("{:?} {} {} {}", it.what, it.tool, it.how, it.total);
        totals.map(line).collect::<Vec<_>>()
    };
    assert_eq!(counted().await, [] as [&str; 0], "gathered, and not written yet");
    for app in [one, &other, one, &other] {
        jobs::write_totals(app.jobs()).await.unwrap();
    }
    assert_eq!(
        counted().await,
        [
            "Attempt items_import answered 2",
            "Attempt items_import cancelled 1",
            "Attempt items_import lost 1",
            "Attempt items_import released 1",
            "Attempt items_import retry 4",
            "Attempt other answered 2",
            "Job items_import cancelled 2",
            "Job items_import failed 1",
            "Job items_import ok 1",
            "Job items_import tool_error 1",
            "Job other ok 2",
        ]
    );
}
