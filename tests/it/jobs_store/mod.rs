//! The job queue on both databases, and the workers. Several services on one database stand for several
//! processes; dropping the runtime of a worker stands for SIGKILL.

#![expect(clippy::unwrap_used, reason = "a story that does not go on as told is a failure")]

mod denied;
mod plans;
mod queue;
mod sealed;
mod ticks;
mod workers;

use std::{collections::BTreeMap, time::Duration};

use app::App;
use jobs::{Claim, Claimed, End, LEASE, Lease, Turn};
use mcp::{
    Caller, ClientAnswer, ClientCapabilities, ProtocolVersion, Question, RequestId, UserId,
    job::{Child, Job, JobCall, JobId, JobOutcome, JobStatus, NewJob, Origin},
    store::{SessionId, StreamId, StreamKey, Writer},
};
use platform::db::Transaction;
use serde_json::{json, value::to_raw_value};

use crate::world::{World, on_both, user};

/// Begins a transaction as the product does: on SQLite it takes the write lock at once. One that
/// only wants it later is refused if somebody else writes then, however long it would wait.
async fn begin(app: &App) -> Transaction {
    app.db().begin().await.unwrap()
}

/// A new job of this user.
pub(crate) fn new_job(owner: &UserId) -> NewJob {
    NewJob {
        id: JobId::random(),
        call: JobCall {
            caller: Caller {
                user: owner.clone(),
                client: "tests".into(),
                scopes: ["items:read".to_owned()].into(),
                grant: "tests".into(),
                key: "a-key".into(),
                issued_at: 0,
                expires_at: i64::MAX,
                request: None,
            },
            version: ProtocolVersion::V2026_07_28,
            capabilities: ClientCapabilities::default(),
            log_level: None,
            progress_token: None,
            tool: "a_tool".to_owned(),
            arguments: to_raw_value(&json!({ "text": "a\u{0}b" })).unwrap(),
            origin: Origin::Task,
            trace: None,
        },
        answers: BTreeMap::new(),
        timeout: Duration::from_mins(1),
        attempts: 3,
        ttl: None,
    }
}

/// The same for a legacy call whose stream is open.
fn streamed_job(owner: &UserId) -> NewJob {
    let mut job = new_job(owner);
    let key = StreamKey { session: SessionId::random(), stream: StreamId::random() };
    job.call.origin =
        Origin::Stream { writer: Writer { key, request: RequestId::Number(1), term: 0 } };
    job
}

async fn enqueue(app: &App, job: NewJob) -> JobId {
    jobs::enqueue(app.jobs(), job).await.unwrap().id
}

fn claims(max: u32) -> Claim<'static> {
    Claim { worker: "a worker", max, lease: LEASE, excluded_owners: None }
}

async fn claim(app: &App, max: u32) -> Vec<Claimed> {
    jobs::claim(app.jobs(), &mut Turn::default(), claims(max)).await.unwrap()
}

/// The only job in the database.
async fn claim_one(app: &App) -> Claimed {
    let mut claimed = claim(app, 10).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

fn text(text: &str) -> JobOutcome {
    let result = json!({ "content": [{ "type": "text", "text": text }] });
    JobOutcome::Result { result: to_raw_value(&result).unwrap(), is_error: false, is_fault: false }
}

/// The client's view of an outcome.
fn said(job: &Job) -> String {
    let Some(JobOutcome::Result { result, .. }) = &job.outcome else {
        panic!("{:?} has no result", job.id)
    };
    let result: serde_json::Value = serde_json::from_str(result.get()).unwrap();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

/// Whether the end of an attempt was accepted.
async fn settle(app: &App, lease: &Lease, end: End) -> bool {
    let settled = jobs::finish(app.jobs(), &[(lease.clone(), end)]).await.unwrap();
    settled.written.contains(&lease.job)
}

async fn get(app: &App, owner: &UserId, id: &JobId) -> Option<Job> {
    jobs::store(app.jobs()).get(owner, id).await.unwrap()
}

async fn status(app: &App, owner: &UserId, id: &JobId) -> JobStatus {
    get(app, owner, id).await.expect("there is such a job").status
}

fn questions(keys: &[&str]) -> BTreeMap<String, Question> {
    keys.iter().map(|&key| (key.to_owned(), Question::Roots)).collect()
}

fn answers(keys: &[&str]) -> BTreeMap<String, ClientAnswer> {
    let answer = |key: &&str| ((*key).to_owned(), ClientAnswer::Result(json!({ "roots": [] })));
    keys.iter().map(answer).collect()
}

/// Children as the engine makes them.
fn children(parent: &Claimed, keys: &[&str]) -> BTreeMap<String, NewJob> {
    let child = |key: &&str| {
        let mut child = new_job(&parent.attempt.call.caller.user);
        child.call.origin = Origin::Parent { job: parent.lease.job.clone() };
        let Child { tool, arguments } =
            Child { tool: "a_part".to_owned(), arguments: to_raw_value(&json!({})).unwrap() };
        child.call.tool = tool;
        child.call.arguments = arguments;
        ((*key).to_owned(), child)
    };
    keys.iter().map(child).collect()
}
