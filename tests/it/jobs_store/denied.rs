//! Finding jobs whose access was revoked.

use jobs::{DeniedJobs, End, Turn};
use mcp::{UserId, job::JobStatus};
use oauth::{account, audit::RequestInfo};

use super::{
    World, children, claim, claim_one, claims, enqueue, get, new_job, on_both, questions, said,
    settle, status, user,
};

on_both!(
    a_job_that_is_queued_too_late_is_ended_at_the_claim,
    whoever_else_waits_does_not_wait_longer,
    a_job_that_waits_ends_with_its_parts,
    a_job_of_a_later_access_goes_on,
    many_jobs_end_in_batches,
);

async fn block(world: &World, person: &UserId) {
    account::block(world.app.oauth(), person, &RequestInfo::none()).await.unwrap();
}

async fn a_job_that_is_queued_too_late_is_ended_at_the_claim(world: World) {
    let (app, eve) = (&world.app, user("eve"));
    block(&world, &eve).await;
    // By an instance that has not heard of it.
    let late = enqueue(app, new_job(&eve)).await;
    assert_eq!(status(app, &eve, &late).await, JobStatus::Queued);
    assert!(claim(app, 10).await.is_empty());
    let job = get(app, &eve, &late).await.unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert!(said(&job).contains("blocked"), "{}", said(&job));
}

async fn whoever_else_waits_does_not_wait_longer(world: World) {
    let (app, eve, zoe) = (&world.app, user("eve"), user("zoe"));
    block(&world, &eve).await;
    for _ in 0..20 {
        enqueue(app, new_job(&eve)).await;
    }
    let hers = enqueue(app, new_job(&zoe)).await;
    let claimed = jobs::claim(app.jobs(), &mut Turn::default(), claims(1)).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease.job, hers);
}

async fn a_job_that_waits_ends_with_its_parts(world: World) {
    let (app, eve) = (&world.app, user("eve"));
    let parent = enqueue(app, new_job(&eve)).await;
    let claimed = claim_one(app).await;
    let parts = children(&claimed, &["a", "b"]);
    assert!(settle(app, &claimed.lease, End::Children(parts)).await);
    let running = claim(app, 1).await.remove(0);
    let asking = enqueue(app, new_job(&eve)).await;
    let asked = claim(app, 10).await.into_iter().find(|it| it.lease.job == asking).unwrap();
    assert!(settle(app, &asked.lease, End::InputRequired(questions(&["q"]))).await);
    block(&world, &eve).await;
    for job in [&parent, &asking] {
        assert_eq!(status(app, &eve, job).await, JobStatus::Failed);
    }
    let renewed =
        jobs::renew(app.jobs(), &[(running.lease.job, running.lease.number)], jobs::LEASE).await;
    assert!(renewed.unwrap().is_empty());
    assert!(claim(app, 10).await.is_empty());
}

async fn a_job_of_a_later_access_goes_on(world: World) {
    let (app, eve) = (&world.app, user("eve"));
    let before = enqueue(app, new_job(&eve)).await;
    block(&world, &eve).await;
    account::unblock(app.oauth(), &eve, &RequestInfo::none()).await.unwrap();
    let mut new = new_job(&eve);
    new.call.caller.issued_at = i64::from(i32::MAX) * 2;
    let after = enqueue(app, new).await;
    let ended = jobs::end_denied(app.jobs(), &DeniedJobs::OfPerson(eve.clone())).await.unwrap();
    assert!(ended.is_empty(), "what there was has ended before");
    assert_eq!(status(app, &eve, &before).await, JobStatus::Failed);
    assert_eq!(claim_one(app).await.lease.job, after);
}

async fn many_jobs_end_in_batches(world: World) {
    let (app, eve) = (&world.app, user("eve"));
    let mut last = None;
    for _ in 0..600 {
        last = Some(enqueue(app, new_job(&eve)).await);
    }
    block(&world, &eve).await;
    assert_eq!(status(app, &eve, &last.unwrap()).await, JobStatus::Failed);
    assert!(claim(app, 10).await.is_empty());
    assert!(jobs::end_denied(app.jobs(), &DeniedJobs::OfPerson(eve)).await.unwrap().is_empty());
}
