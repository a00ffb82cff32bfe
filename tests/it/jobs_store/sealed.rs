//! Jobs whose content a process cannot decrypt, jobs that the previous version stored in plain text, and
//! a change of the secret.

use std::{collections::BTreeMap, time::Duration};

use app::App;
use jobs::{End, LEASE};
use mcp::{
    Signal, UserId,
    job::{JobId, JobOutcome, JobStatus, Progress},
};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;

use super::{
    answers, begin, children, claim, claim_one, enqueue, get, new_job, questions, said, settle,
    status, streamed_job, text,
};
use crate::world::{SECRET, World, on_both, user};

/// The secret of a service that does not have the one of its world.
const OTHER: &str = "the secret of a service that has no other one";

on_both!(
    a_job_that_cannot_be_decrypted_fails_at_its_first_claim,
    a_parent_goes_on_after_a_child_that_cannot_be_decrypted,
    a_question_that_cannot_be_decrypted_ends_its_job,
    an_answer_to_a_question_that_cannot_be_decrypted_ends_its_job,
    a_result_that_cannot_be_decrypted_is_delivered_once,
    a_column_is_read_in_its_own_job_only,
    a_job_in_plain_text_is_read,
    a_job_in_plain_text_is_finished,
    a_change_of_the_secret_in_two_steps_loses_no_job,
);

async fn run(app: &App, sql: &str) {
    app.db().execute_unprepared(sql).await.unwrap();
}

async fn column(app: &App, id: &JobId, name: &str) -> Option<String> {
    let sql = format!("SELECT {name} AS value FROM jobs WHERE id = '{id}'");
    let statement = Statement::from_string(app.db().get_database_backend(), sql);
    app.db().query_one_raw(statement).await.unwrap().unwrap().try_get("", "value").unwrap()
}

fn is_announced(world: &World, job: &JobId) -> bool {
    world.published().contains(&Signal::JobChanged { job: job.clone() })
}

/// The jobs with a pending notification, all of which are marked as notified.
async fn notified(app: &App) -> Vec<JobId> {
    let silent = Duration::ZERO;
    let unnotified = jobs::unnotified(app.jobs(), None, silent).await.unwrap();
    for one in &unnotified {
        assert!(said(&one.job).contains("can no longer read"), "{one:?}");
        jobs::mark_notified(app.jobs(), one).await.unwrap();
    }
    unnotified.into_iter().map(|it| it.job.id).collect()
}

async fn is_failed(app: &App, owner: &UserId, id: &JobId) {
    let job = get(app, owner, id).await.unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert!(job.questions.is_empty());
    assert!(said(&job).contains("can no longer read"), "{}", said(&job));
    assert_eq!(column(app, id, "arguments").await, None);
}

async fn a_job_that_cannot_be_decrypted_fails_at_its_first_claim(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let stranger = world.another_with(OTHER).await;
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost.push(enqueue(&stranger, streamed_job(&ada)).await);
    }
    world.clock.advance(Duration::from_secs(1));
    let good = enqueue(app, new_job(&ada)).await;
    world.published();
    // Jobs are claimed in their order, one at a time: a claim goes on after those that fail.
    let claimed = claim(app, 1).await;
    assert_eq!(claimed.iter().map(|it| &it.lease.job).collect::<Vec<_>>(), [&good]);
    assert!(is_announced(&world, &lost[0]), "its waiting clients are told");
    let mut told = Vec::new();
    for id in &lost {
        is_failed(app, &ada, id).await;
    }
    told.extend(notified(app).await);
    told.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    lost.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    assert_eq!(told, lost, "their clients are told");
    assert!(notified(app).await.is_empty(), "once");
    world.clock.advance(Duration::from_hours(1));
    assert!(claim(&stranger, 10).await.is_empty(), "they are not tried again");
}

async fn a_parent_goes_on_after_a_child_that_cannot_be_decrypted(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    enqueue(app, new_job(&ada)).await;
    let parent = claim_one(app).await;
    settle(app, &parent.lease, End::Children(children(&parent, &["a", "b"]))).await;
    // The row of one child is damaged.
    run(
        app,
        "UPDATE jobs SET arguments = (SELECT arguments FROM jobs WHERE parent_key = 'b')
        WHERE parent_key = 'a'",
    )
    .await;
    let other = claim(app, 10).await;
    assert_eq!(other.len(), 1, "the damaged one has failed");
    settle(app, &other[0].lease, End::Answered(text("b is done"))).await;
    let again = claim_one(app).await;
    assert_eq!(again.lease.job, parent.lease.job);
    let outcomes = &again.attempt.children;
    let JobOutcome::Result { result, is_error: true, .. } = &outcomes["a"] else {
        panic!("{outcomes:?}")
    };
    assert!(result.get().contains("can no longer read"), "{result}");
    assert!(matches!(outcomes["b"], JobOutcome::Result { is_error: false, .. }));
}

/// A job that waits for its client, at a service with another secret.
async fn asking(world: &World) -> (App, UserId, JobId) {
    let ada = user("ada");
    let stranger = world.another_with(OTHER).await;
    let id = enqueue(&stranger, streamed_job(&ada)).await;
    let claimed = claim_one(&stranger).await;
    settle(&stranger, &claimed.lease, End::InputRequired(questions(&["a"]))).await;
    world.published();
    (stranger, ada, id)
}

async fn a_question_that_cannot_be_decrypted_ends_its_job(world: World) {
    let (stranger, ada, id) = asking(&world).await;
    let app = &world.app;
    assert_eq!(status(&stranger, &ada, &id).await, JobStatus::InputRequired);
    assert_eq!(
        notified(app).await,
        std::slice::from_ref(&id),
        "its client is told that it has failed"
    );
    assert!(is_announced(&world, &id));
    assert!(notified(app).await.is_empty(), "once");
    is_failed(app, &ada, &id).await;
    // It stays failed, also where its question could be read.
    assert_eq!(status(&stranger, &ada, &id).await, JobStatus::Failed);
    let answering = jobs::store(stranger.jobs());
    answering.answer(&ada, &id, answers(&["a"])).await.unwrap();
    assert!(claim(&stranger, 10).await.is_empty());
}

async fn an_answer_to_a_question_that_cannot_be_decrypted_ends_its_job(world: World) {
    let (_, ada, id) = asking(&world).await;
    let app = &world.app;
    let answered = jobs::store(app.jobs()).answer(&ada, &id, answers(&["a"])).await.unwrap();
    assert_eq!(answered.unwrap().status, JobStatus::Failed);
    is_failed(app, &ada, &id).await;
    assert!(claim(app, 10).await.is_empty());
}

async fn a_result_that_cannot_be_decrypted_is_delivered_once(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let stranger = world.another_with(OTHER).await;
    let id = enqueue(&stranger, streamed_job(&ada)).await;
    let claimed = claim_one(&stranger).await;
    let progress = Progress { done: 1.0, total: None, message: Some("a message".to_owned()) };
    let progress = [(id.clone(), claimed.lease.number, progress)];
    jobs::record_progress(stranger.jobs(), &progress).await.unwrap();
    settle(&stranger, &claimed.lease, End::Answered(text("a result"))).await;

    let job = get(app, &ada, &id).await.unwrap();
    assert_eq!(job.status, JobStatus::Completed, "the job has ended");
    assert!(said(&job).contains("can no longer read"));
    let progress = job.progress.unwrap();
    assert!(progress.message.is_none() && progress.done > 0.5, "{progress:?}");
    let listed = jobs::store(app.jobs()).list_of_tools(&ada, None, None, 10).await.unwrap();
    assert_eq!(listed.unwrap().jobs.len(), 1);
    assert_eq!(said(&get(&stranger, &ada, &id).await.unwrap()), "a result", "nothing was changed");
    assert_eq!(notified(app).await, [id]);
    assert!(notified(app).await.is_empty());
}

async fn a_column_is_read_in_its_own_job_only(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let (one, other) = (enqueue(app, new_job(&ada)).await, enqueue(app, new_job(&ada)).await);
    let claimed = claim(app, 10).await;
    for ended in &claimed {
        settle(app, &ended.lease, End::Answered(text("a result"))).await;
    }
    run(
        app,
        &format!(
            "UPDATE jobs SET outcome = (SELECT outcome FROM jobs WHERE id = '{one}')
            WHERE id = '{other}'"
        ),
    )
    .await;
    assert_eq!(said(&get(app, &ada, &one).await.unwrap()), "a result");
    assert!(said(&get(app, &ada, &other).await.unwrap()).contains("can no longer read"));
    let stored = column(app, &one, "outcome").await.unwrap();
    assert!(stored.starts_with("sealed:1:") && !stored.contains("a result"), "{stored}");
    // In another column, too.
    run(app, &format!("UPDATE jobs SET message = outcome, progress = 1 WHERE id = '{one}'")).await;
    let read = get(app, &ada, &one).await.unwrap();
    assert_eq!(read.progress.unwrap().message, None);
}

async fn a_job_in_plain_text_is_read(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, new_job(&ada)).await;
    let answer = json!({ "v": 1, "it": { "a": { "result": { "roots": [] } } } });
    run(
        app,
        &format!(
            "UPDATE jobs SET arguments = '{{\"text\":\"plain\"}}', answers = '{answer}',
            progress = 1, message = 'in words', checkpoint = '{{\"v\":1,\"it\":7}}'
            WHERE id = '{id}'"
        ),
    )
    .await;
    let arguments = json!({ "text": "plain" });
    let found = jobs::store(app.jobs()).find_unfinished(&ada, "a_tool", &arguments).await;
    assert_eq!(found.unwrap().unwrap().id, id);
    let claimed = claim_one(app).await;
    assert_eq!(claimed.attempt.call.arguments.get(), r#"{"text":"plain"}"#);
    assert_eq!(claimed.attempt.answers, answers(&["a"]));
    assert_eq!(claimed.attempt.checkpoint, Some(json!(7)));
    assert_eq!(claimed.attempt.progress.unwrap().message.unwrap(), "in words");
}

/// The state of a job as the previous version leaves it.
async fn a_job_in_plain_text_is_finished(world: World) {
    let (app, ada) = (&world.app, user("ada"));
    let id = enqueue(app, streamed_job(&ada)).await;
    let claimed = claim_one(app).await;
    settle(app, &claimed.lease, End::InputRequired(questions(&["a", "b"]))).await;
    let plain: BTreeMap<_, _> = questions(&["a", "b"]);
    let plain = json!({ "v": 1, "it": plain });
    run(
        app,
        &format!("UPDATE jobs SET questions = '{plain}', arguments = '{{}}' WHERE id = '{id}'"),
    )
    .await;
    assert_eq!(get(app, &ada, &id).await.unwrap().questions, questions(&["a", "b"]));
    let store = jobs::store(app.jobs());
    store.answer(&ada, &id, answers(&["a", "b"])).await.unwrap();
    let again = claim_one(app).await;
    assert_eq!(again.attempt.answers, answers(&["a", "b"]));
    settle(app, &again.lease, End::Retry("a reason".to_owned())).await;
    // Lost at its last attempt, it fails for the reason that the previous version stored.
    let spent = "UPDATE jobs SET error = 'in plain text', max_attempts = 2";
    run(app, spent).await;
    world.clock.advance(Duration::from_mins(1));
    claim_one(app).await;
    world.clock.advance(LEASE * 2);
    jobs::reclaim(app.jobs()).await.unwrap();
    assert_eq!(said(&get(app, &ada, &id).await.unwrap()), "in plain text");
}

async fn a_change_of_the_secret_in_two_steps_loses_no_job(world: World) {
    let ada = user("ada");
    let secrets = [
        SECRET.to_owned(),
        format!("{SECRET},{OTHER}"), // all processes can read what the new one encrypts
        format!("{OTHER},{SECRET}"), // it encrypts
        OTHER.to_owned(),
    ];
    let mut steps = Vec::new();
    for secret in &secrets {
        steps.push(world.another_with(secret).await);
    }
    for (before, after) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)] {
        let (before, after) = (&steps[before], &steps[after]);
        let id = enqueue(before, new_job(&ada)).await;
        let first = claim_one(after).await;
        assert_eq!(first.attempt.call.arguments.get(), new_job(&ada).call.arguments.get());
        settle(after, &first.lease, End::InputRequired(questions(&["a"]))).await;
        let asked = get(before, &ada, &id).await.unwrap();
        assert_eq!(asked.questions, questions(&["a"]));
        jobs::store(before.jobs()).answer(&ada, &id, answers(&["a"])).await.unwrap();
        let second = claim_one(after).await;
        assert_eq!(second.attempt.answers, answers(&["a"]));
        let (db, number) = (begin(after).await, second.lease.number);
        jobs::checkpoint(after.jobs(), &db, &id, number, &json!({ "done": 1 })).await.unwrap();
        db.commit().await.unwrap();
        settle(after, &second.lease, End::Released).await;
        let third = claim_one(before).await;
        assert_eq!(third.attempt.checkpoint, Some(json!({ "done": 1 })));
        settle(before, &third.lease, End::Answered(text("a result"))).await;
        assert_eq!(said(&get(after, &ada, &id).await.unwrap()), "a result");
    }
    // Without the first step, a process that has only the old secret fails the jobs of the others.
    let id = enqueue(&steps[2], new_job(&ada)).await;
    assert!(claim(&steps[0], 10).await.is_empty());
    is_failed(&steps[0], &ada, &id).await;
}
