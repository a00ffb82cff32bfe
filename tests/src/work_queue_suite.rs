//! The contract of the queue of jobs (`mcp::job::Jobs` and `runner::WorkQueue`) as a test that any
//! implementation can run.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mcp::{
    Caller, ClientAnswer, ClientCapabilities, ProtocolVersion, Question, RequestId, UserId,
    job::{
        Job, JobCall, JobId, JobOutcome, JobStatus, Jobs, NewJob, NotEnqueued, Origin, Progress,
    },
    store::{SessionId, StreamId, StreamKey, Writer},
};
use runner::{ANNOUNCED_PREFIX, CheckpointError, Claim, Claimed, End, Lease, Turn, WorkQueue};
use serde_json::{json, value::to_raw_value};

/// The lease of the claims of the suite.
const LEASE: Duration = Duration::from_secs(30);

/// A queue, as the engine and as a runner see it.
pub struct Queue<P, R> {
    /// As the engine sees it.
    pub jobs: Arc<dyn Jobs>,
    /// As a runner sees it.
    pub work: Arc<dyn WorkQueue>,
    /// Lets time pass.
    pub pass: P,
    /// Requeues jobs whose lease has expired.
    pub reclaim: R,
    /// The most unfinished jobs of a user.
    pub quota: u64,
}

impl<P: AsyncFn(Duration), R: AsyncFn()> Queue<P, R> {
    /// Runs the whole suite on an empty queue.
    ///
    /// # Panics
    /// If the implementation violates the contract.
    pub async fn run(&self) {
        self.a_job_belongs_to_its_user().await;
        self.a_claimed_job_belongs_to_one_attempt().await;
        self.an_expired_lease_fences_the_attempt().await;
        self.jobs_of_a_silent_worker_can_be_reclaimed_early().await;
        self.progress_and_checkpoints_belong_to_the_current_attempt().await;
        self.a_question_queues_the_job_when_it_is_answered().await;
        self.a_cancelled_job_stays_cancelled().await;
        self.a_failed_attempt_is_retried_until_the_last().await;
        self.a_client_with_a_stream_is_notified_once().await;
        self.a_job_waits_for_its_children().await;
        self.the_children_of_a_cancelled_job_are_cancelled().await;
        self.a_lost_child_ends_for_its_parent().await;
        self.a_user_cannot_exceed_the_quota().await;
    }

    async fn enqueue(&self, job: NewJob) -> JobId {
        self.jobs.enqueue(job).await.expect("enqueue").id
    }

    async fn claim(&self) -> Option<Claimed> {
        self.claim_as("suite").await
    }

    async fn claim_as(&self, worker: &str) -> Option<Claimed> {
        let claim = Claim { worker, max: 1, lease: LEASE, excluded_owners: None };
        self.work.claim(&mut Turn::default(), claim).await.expect("claim").pop()
    }

    async fn finish(&self, lease: &Lease, end: End) -> bool {
        let finished = self.work.finish(&[(lease.clone(), end)]).await.expect("finish");
        finished.written.contains(&lease.job)
    }

    async fn get(&self, id: &JobId) -> Job {
        self.jobs.get(&ada(), id).await.expect("get").expect("the job exists")
    }

    async fn a_job_belongs_to_its_user(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        let bob = UserId::new("suite:bob");
        assert!(self.jobs.get(&bob, &id).await.expect("get").is_none());
        assert!(self.jobs.cancel(&bob, &id).await.expect("cancel").is_none());
        let answered = self.jobs.answer(&bob, &id, answer()).await.expect("answer");
        assert!(answered.is_none());
        assert_eq!(self.get(&id).await.status, JobStatus::Queued);
        let again = NewJob { id: id.clone(), ..job(Origin::Task) };
        assert_eq!(self.enqueue(again).await, id, "a repeated request creates one job");
        assert!(self.jobs.cancel(&ada(), &id).await.expect("cancel").is_some());
    }

    async fn a_claimed_job_belongs_to_one_attempt(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        let claimed = self.claim().await.expect("a job is due");
        assert_eq!((claimed.lease.job.clone(), claimed.lease.number), (id.clone(), 1));
        assert!(self.claim().await.is_none(), "it is claimed");
        assert_eq!(self.get(&id).await.status, JobStatus::Running);
        assert!(self.finish(&claimed.lease, answered("one")).await);
        assert!(!self.finish(&claimed.lease, answered("two")).await, "it has ended");
        assert_eq!(said(&self.get(&id).await), "one");
    }

    async fn an_expired_lease_fences_the_attempt(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        let first = self.claim().await.expect("a job is due").lease;
        let held = [(id.clone(), first.number)];
        (self.pass)(LEASE / 2).await;
        let renewed = self.work.renew(&held, LEASE).await.expect("renew");
        assert_eq!(renewed.into_iter().collect::<Vec<_>>(), held);
        (self.pass)(LEASE / 2 + Duration::from_secs(1)).await;
        (self.reclaim)().await;
        assert!(self.claim().await.is_none(), "the lease was renewed");

        (self.pass)(LEASE).await;
        (self.reclaim)().await;
        let second = self.claim().await.expect("the lease has expired").lease;
        assert_eq!(second.number, first.number + 1);
        assert!(self.work.renew(&held, LEASE).await.expect("renew").is_empty());
        assert!(!self.finish(&first, answered("late")).await, "a write of the first attempt");
        assert!(self.finish(&second, answered("in time")).await);
        assert_eq!(said(&self.get(&id).await), "in time");
    }

    async fn jobs_of_a_silent_worker_can_be_reclaimed_early(&self) {
        const SILENCE: Duration = Duration::from_secs(3);
        let [busy, lost] = ["busy", "lost"].map(|name| format!("{ANNOUNCED_PREFIX}{name}"));
        let silent =
            async || self.work.silent_workers(LEASE, SILENCE).await.expect("find silent workers");
        let names = async || -> Vec<String> {
            silent().await.into_iter().map(|worker| worker.name).collect()
        };
        let mut claims = Vec::new();
        for worker in [&*busy, &*lost, "unannounced"] {
            self.enqueue(job(Origin::Task)).await;
            let claimed = self.claim_as(worker).await.expect("a job is due");
            assert!(!claimed.attempt.follows_loss);
            claims.push(claimed.lease);
        }
        let [kept, taken, other] = &claims[..] else { unreachable!("there are three") };
        assert!(silent().await.is_empty(), "their leases are new");
        (self.pass)(SILENCE * 2).await;
        assert_eq!(names().await, [&*busy, &*lost]);
        let before = silent().await;
        let held = [(kept.job.clone(), kept.number)];
        self.work.renew(&held, LEASE).await.expect("renew");
        assert_eq!(names().await, [&*lost], "a renewal ends the silence");

        for worker in &before {
            let reclaimed = self.work.reclaim_from(worker).await.expect("reclaim");
            assert_eq!(reclaimed, u64::from(worker.name == lost), "not after a renewal");
        }
        let again = self.claim().await.expect("it is due at once");
        assert_eq!((&again.lease.job, again.lease.number), (&taken.job, taken.number + 1));
        assert!(again.attempt.follows_loss);
        assert!(!self.finish(taken, answered("late")).await, "a write of the lost attempt");
        assert!(self.claim().await.is_none(), "the others are running");
        assert!(self.finish(&again.lease, End::Released).await);
        let third = self.claim().await.expect("it was released");
        assert!(!third.attempt.follows_loss, "the attempt before was not lost");
        for lease in [kept, other, &third.lease] {
            assert!(self.finish(lease, answered("done")).await);
        }
    }

    async fn progress_and_checkpoints_belong_to_the_current_attempt(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        let first = self.claim().await.expect("a job is due").lease;
        let progress = |done| Progress { done, total: None, message: None };
        for (number, done) in [(first.number, 2.0), (first.number, 1.0), (first.number + 1, 3.0)] {
            let given = [(id.clone(), number, progress(done))];
            self.work.record_progress(&given).await.expect("record progress");
        }
        assert_eq!(self.get(&id).await.progress, Some(progress(2.0)), "it never decreases");
        self.work.checkpoint(&id, first.number, &json!(7)).await.expect("checkpoint");
        assert!(self.finish(&first, End::Released).await);
        let late = self.work.checkpoint(&id, first.number, &json!(8)).await;
        assert!(matches!(late, Err(CheckpointError::Superseded)));
        let second = self.claim().await.expect("it was released");
        assert_eq!(second.attempt.checkpoint, Some(json!(7)));
        assert_eq!(second.attempt.progress, Some(progress(2.0)));
        assert!(self.finish(&second.lease, answered("done")).await);
    }

    async fn a_question_queues_the_job_when_it_is_answered(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        let first = self.claim().await.expect("a job is due").lease;
        let questions = [("key".to_owned(), Question::Roots)].into();
        assert!(self.finish(&first, End::InputRequired(questions)).await);
        let asking = self.get(&id).await;
        assert_eq!(asking.status, JobStatus::InputRequired);
        assert!(asking.questions.contains_key("key"));
        assert!(self.claim().await.is_none(), "it waits");
        let other = BTreeMap::from([("other".to_owned(), ClientAnswer::Result(json!({})))]);
        self.jobs.answer(&ada(), &id, other).await.expect("answer");
        assert_eq!(self.get(&id).await.status, JobStatus::InputRequired);
        self.jobs.answer(&ada(), &id, answer()).await.expect("answer");
        let second = self.claim().await.expect("it was answered");
        assert_eq!(second.attempt.answers, answer());
        let late = BTreeMap::from([("key".to_owned(), ClientAnswer::Result(json!({ "x": 1 })))]);
        self.jobs.answer(&ada(), &id, late).await.expect("answer");
        assert!(self.finish(&second.lease, answered("done")).await, "a late answer is ignored");
    }

    async fn a_cancelled_job_stays_cancelled(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        let lease = self.claim().await.expect("a job is due").lease;
        let cancelled = self.jobs.cancel(&ada(), &id).await.expect("cancel").expect("it exists");
        assert_eq!(cancelled.status, JobStatus::Cancelled);
        let held = [(id.clone(), lease.number)];
        assert!(self.work.renew(&held, LEASE).await.expect("renew").is_empty());
        assert!(!self.finish(&lease, answered("late")).await);
        assert_eq!(self.get(&id).await.status, JobStatus::Cancelled);
    }

    async fn a_failed_attempt_is_retried_until_the_last(&self) {
        let id = self.enqueue(job(Origin::Task)).await;
        for attempt in 1..=3 {
            let claimed = self.claim().await.expect("the job is due");
            assert_eq!(claimed.attempt.last, attempt == 3);
            assert!(self.finish(&claimed.lease, End::Retry("again".to_owned())).await);
            assert!(self.claim().await.is_none(), "not at once");
            (self.pass)(Duration::from_mins(1)).await;
        }
        let failed = self.get(&id).await;
        assert_eq!((failed.status, said(&failed)), (JobStatus::Failed, "again".to_owned()));
    }

    async fn a_client_with_a_stream_is_notified_once(&self) {
        let key = StreamKey { session: SessionId::random(), stream: StreamId::random() };
        let writer = Writer { key, request: RequestId::Number(1), term: 0 };
        let id = self.enqueue(job(Origin::Stream { writer })).await;
        let lease = self.claim().await.expect("a job is due").lease;
        let only = [id.clone()];
        let pending = async || {
            self.work.unnotified(Some(&only), Duration::ZERO).await.expect("unnotified").pop()
        };
        assert!(pending().await.is_none(), "it runs");
        assert!(self.finish(&lease, answered("done")).await);
        let unnotified = pending().await.expect("it has ended");
        assert_eq!(unnotified.job.status, JobStatus::Completed);
        self.work.mark_notified(&unnotified).await.expect("mark");
        assert!(pending().await.is_none(), "once");
    }

    /// Claims a new job and lets it wait for two children.
    async fn parent(&self) -> (JobId, End) {
        let id = self.enqueue(job(Origin::Task)).await;
        let lease = self.claim().await.expect("a job is due").lease;
        let child = || NewJob { attempts: 1, ..job(Origin::Parent { job: id.clone() }) };
        let children = ["a", "b"].map(|key| (key.to_owned(), child()));
        let end = End::Children(children.into());
        assert!(self.finish(&lease, end.clone()).await);
        (id, end)
    }

    async fn a_job_waits_for_its_children(&self) {
        let (id, same) = self.parent().await;
        assert_eq!(self.get(&id).await.status, JobStatus::Running, "it waits");
        let [one, other] = [self.claim().await, self.claim().await]
            .map(|claimed| claimed.expect("each child is due").lease);
        assert_eq!([&one.parent, &other.parent], [&Some(id.clone()), &Some(id.clone())]);
        let seen = self.jobs.get(&ada(), &one.job).await.expect("get");
        assert!(seen.is_none(), "a user does not see children");
        assert!(self.finish(&one, answered("one")).await);
        assert!(self.claim().await.is_none(), "one child is left");
        assert!(self.finish(&other, answered("other")).await);

        let again = self.claim().await.expect("all children have ended");
        assert_eq!((&again.lease.job, again.lease.number), (&id, 2));
        assert_eq!(again.attempt.children.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(self.finish(&again.lease, same).await);
        let third = self.claim().await.expect("the children exist already, and have ended");
        assert_eq!((&third.lease.job, third.attempt.children.len()), (&id, 2));
        assert!(self.finish(&third.lease, answered("done")).await);
        assert_eq!(said(&self.get(&id).await), "done");
        assert!(self.claim().await.is_none());
    }

    async fn the_children_of_a_cancelled_job_are_cancelled(&self) {
        let (id, _) = self.parent().await;
        let running = self.claim().await.expect("each child is due").lease;
        self.jobs.cancel(&ada(), &id).await.expect("cancel").expect("it exists");
        assert!(self.claim().await.is_none(), "the other child is cancelled");
        let held = [(running.job.clone(), running.number)];
        assert!(self.work.renew(&held, LEASE).await.expect("renew").is_empty());
        assert!(!self.finish(&running, answered("late")).await);
        assert!(self.claim().await.is_none(), "the parent does not run again");
    }

    async fn a_lost_child_ends_for_its_parent(&self) {
        let (id, _) = self.parent().await;
        let answering = self.claim().await.expect("each child is due").lease;
        let lost = self.claim().await.expect("each child is due").lease;
        assert_eq!(lost.parent, Some(id.clone()));
        assert!(self.finish(&answering, answered("done")).await);
        (self.pass)(LEASE + Duration::from_secs(1)).await;
        (self.reclaim)().await;
        let parent = self.claim().await.expect("all children have ended");
        assert_eq!((&parent.lease.job, parent.attempt.children.len()), (&id, 2));
        assert!(self.finish(&parent.lease, answered("done")).await);
    }

    async fn a_user_cannot_exceed_the_quota(&self) {
        let bob = UserId::new("suite:bob");
        let new = || {
            let mut new = job(Origin::Task);
            new.call.caller.user = bob.clone();
            new
        };
        let mut ids = Vec::new();
        for _ in 0..self.quota {
            ids.push(self.enqueue(new()).await);
        }
        let refused = self.jobs.enqueue(new()).await;
        assert!(matches!(refused, Err(NotEnqueued::TooMany { limit }) if limit == self.quota));
        let first = ids.first().expect("a quota is not 0");
        let repeated = NewJob { id: first.clone(), ..new() };
        assert_eq!(self.enqueue(repeated).await, *first, "a repeated request is not refused");
        let of_ada = self.enqueue(job(Origin::Task)).await;
        self.jobs.cancel(&ada(), &of_ada).await.expect("cancel").expect("it exists");
        self.jobs.cancel(&bob, first).await.expect("cancel").expect("it exists");
        self.enqueue(new()).await;
        let refused = self.jobs.enqueue(new()).await;
        assert!(matches!(refused, Err(NotEnqueued::TooMany { .. })), "one has ended");
    }
}

fn ada() -> UserId {
    UserId::new("suite:ada")
}

fn answer() -> BTreeMap<String, ClientAnswer> {
    BTreeMap::from([("key".to_owned(), ClientAnswer::Result(json!({ "roots": [] })))])
}

fn job(origin: Origin) -> NewJob {
    NewJob {
        id: JobId::random(),
        call: JobCall {
            caller: Caller {
                user: ada(),
                client: "suite".into(),
                scopes: ["items:read".to_owned()].into(),
                grant: "suite".into(),
                key: "a-key".into(),
                issued_at: 0,
                expires_at: i64::MAX,
                request: None,
            },
            version: ProtocolVersion::V2025_11_25,
            capabilities: ClientCapabilities::default(),
            log_level: None,
            progress_token: None,
            tool: "a_tool".to_owned(),
            arguments: to_raw_value(&json!({})).expect("plain data"),
            origin,
            trace: None,
        },
        answers: BTreeMap::new(),
        timeout: Duration::from_mins(1),
        attempts: 3,
        ttl: None,
    }
}

fn answered(text: &str) -> End {
    let result = json!({ "content": [{ "type": "text", "text": text }] });
    let result = to_raw_value(&result).expect("plain data");
    End::Answered(JobOutcome::Result { result, is_error: false, is_fault: false })
}

/// The text of the outcome of a job.
fn said(job: &Job) -> String {
    let Some(JobOutcome::Result { result, .. }) = &job.outcome else {
        panic!("{:?} has no result", job.id)
    };
    let result: serde_json::Value = serde_json::from_str(result.get()).expect("it is JSON");
    result["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}
