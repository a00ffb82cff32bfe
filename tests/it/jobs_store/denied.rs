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
    account::block(world.service.oauth(), person, &RequestInfo::none()).await.unwrap();
}

async fn a_job_that_is_queued_too_late_is_ended_at_the_claim(world: World) {
    let (service, eve) = (&world.service, user("eve"));
    block(&world, &eve).await;
    // By an instance that has not heard of it.
    let late = enqueue(service, new_job(&eve)).await;
    assert_eq!(status(service, &eve, &late).await, JobStatus::Queued);
    assert!(claim(service, 10).await.is_empty());
    let job = get(service, &eve, &late).await.unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert!(said(&job).contains("blocked"), "{}", said(&job));
}

async fn whoever_else_waits_does_not_wait_longer(world: World) {
    let (service, eve, zoe) = (&world.service, user("eve"), user("zoe"));
    block(&world, &eve).await;
    for _ in 0..20 {
        enqueue(service, new_job(&eve)).await;
    }
    let hers = enqueue(service, new_job(&zoe)).await;
    let claimed = jobs::claim(service.jobs(), &mut Turn::default(), claims(1)).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease.job, hers);
}

async fn a_job_that_waits_ends_with_its_parts(world: World) {
    let (service, eve) = (&world.service, user("eve"));
    let parent = enqueue(service, new_job(&eve)).await;
    let claimed = claim_one(service).await;
    let parts = children(&claimed, &["a", "b"]);
    assert!(settle(service, &claimed.lease, End::Children(parts)).await);
    let running = claim(service, 1).await.remove(0);
    let asking = enqueue(service, new_job(&eve)).await;
    let asked = claim(service, 10).await.into_iter().find(|it| it.lease.job == asking).unwrap();
    assert!(settle(service, &asked.lease, End::InputRequired(questions(&["q"]))).await);
    block(&world, &eve).await;
    for job in [&parent, &asking] {
        assert_eq!(status(service, &eve, job).await, JobStatus::Failed);
    }
    let renewed =
        jobs::renew(service.jobs(), &[(running.lease.job, running.lease.number)], jobs::LEASE)
            .await;
    assert!(renewed.unwrap().is_empty());
    assert!(claim(service, 10).await.is_empty());
}

async fn a_job_of_a_later_access_goes_on(world: World) {
    let (service, eve) = (&world.service, user("eve"));
    let before = enqueue(service, new_job(&eve)).await;
    block(&world, &eve).await;
    account::unblock(service.oauth(), &eve, &RequestInfo::none()).await.unwrap();
    let mut new = new_job(&eve);
    new.call.caller.issued_at = i64::from(i32::MAX) * 2;
    let after = enqueue(service, new).await;
    let ended = jobs::end_denied(service.jobs(), &DeniedJobs::OfPerson(eve.clone())).await.unwrap();
    assert!(ended.is_empty(), "what there was has ended before");
    assert_eq!(status(service, &eve, &before).await, JobStatus::Failed);
    assert_eq!(claim_one(service).await.lease.job, after);
}

async fn many_jobs_end_in_batches(world: World) {
    let (service, eve) = (&world.service, user("eve"));
    let mut last = None;
    for _ in 0..600 {
        last = Some(enqueue(service, new_job(&eve)).await);
    }
    block(&world, &eve).await;
    assert_eq!(status(service, &eve, &last.unwrap()).await, JobStatus::Failed);
    assert!(claim(service, 10).await.is_empty());
    assert!(jobs::end_denied(service.jobs(), &DeniedJobs::OfPerson(eve)).await.unwrap().is_empty());
}
