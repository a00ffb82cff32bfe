//! A call of a job tool as a task: its client polls the task, answers its questions on the standalone
//! stream or through `tasks/result`, and reads the result.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;

use super::{
    client::{Answer, Client, RETRY, Session},
    message::Meaning,
    network::Method,
    plan::ToolKind,
    properties::Property,
    random::Random,
    record::{CallRecord, Fate},
    world::pass,
};

/// The interval at which a client polls, in milliseconds.
const POLL: u64 = 900;

/// How long a client follows a task after the last fault, in milliseconds.
pub(super) const PATIENCE: u64 = 120_000;

/// A response to a task method.
#[derive(Deserialize)]
struct Response {
    result: Option<TaskResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskResult {
    task: Option<Task>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_id: String,
}

/// Calls a tool as a task, and follows it to its end. `cancel`: cancels it after this time in
/// milliseconds.
pub(super) async fn task(
    client: Arc<Client>,
    part: u64,
    tool: ToolKind,
    cancel: Option<u64>,
    mut random: Random,
) {
    // A task that asks needs a client that listens for its questions: `calls` does that.
    let tool = if tool == ToolKind::JobAsk { ToolKind::Job } else { tool };
    let session = client.session(&mut random).await;
    let (steps, pause) = (random.below(5), random.below(2_000));
    let request = client.next_id();
    let key = format!("task {part}");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{request},"method":"tools/call","params":{{"name":"{}","arguments":{{"key":"{key}","steps":{steps},"pause":{pause}}},"task":{{}}}}}}"#,
        tool.name()
    );
    let mut record = CallRecord::new(key, (tool, steps), request, session.id.clone(), 0);
    let polling = Polling { client: &client, session: &session, key: record.key.clone() };
    if let Some(created) = polling.request(&mut random, body).await
        && let Some(id) = created.result.and_then(|result| result.task).map(|task| task.task_id)
    {
        client.world().note(|| format!("client {} {} is task {id}", client.number, polling.key));
        record.fate = polling.follow(&mut random, &id, cancel, &mut record.response).await;
    }
    client.world().note(|| {
        let CallRecord { key, fate, response, .. } = &record;
        format!("client {} {key}: {fate:?} {response:?}", client.number)
    });
    client.record(record);
}

struct Polling<'a> {
    client: &'a Arc<Client>,
    session: &'a Arc<Session>,
    key: String,
}

impl Polling<'_> {
    /// Sends a request. `None`: no usable response.
    async fn request(&self, random: &mut Random, body: String) -> Option<Response> {
        let Answer { body, .. } = self.send(random, body).await?;
        serde_json::from_str(&body).ok()
    }

    async fn send(&self, random: &mut Random, body: String) -> Option<Answer> {
        let Self { client, session, .. } = self;
        let request = (Method::Post, [].as_slice());
        let answer = client.short(random, session, &client.user(), request, body).await?;
        if answer.status == StatusCode::NOT_FOUND {
            client.lost(session);
        }
        Some(answer)
    }

    async fn follow(
        &self,
        random: &mut Random,
        id: &str,
        cancel: Option<u64>,
        response: &mut Option<Result<String, String>>,
    ) -> Fate {
        let world = Arc::clone(self.client.world());
        let began = world.now();
        let mut cancel = cancel.map(|after| began + after);
        let mut ended: Option<String> = None;
        loop {
            if self.session.may_be_lost(&self.client.cluster) {
                return Fate::Lost;
            }
            if cancel.is_some_and(|at| world.now() >= at)
                && let Some(cancelled) = self.request(random, self.method("tasks/cancel", id)).await
                && cancelled.result.is_some()
            {
                cancel = None;
            }
            if let Some(found) = self.request(random, self.method("tasks/get", id)).await
                && let Some(status) = found.result.and_then(|result| result.status)
            {
                if let Some(before) = &ended
                    && *before != status
                {
                    let what = format!("{}: {status} after {before}", self.key);
                    world.violated(Property::OneEnd, what);
                }
                if ["completed", "failed", "cancelled"].contains(&status.as_str()) {
                    if ended.is_some() {
                        let result = self.method("tasks/result", id);
                        if let Some(Answer { status: StatusCode::OK, body }) =
                            self.send(random, result).await
                            && let Some(Meaning::Response(_, outcome)) = Meaning::of(&body)
                        {
                            *response = Some(outcome);
                            return Fate::Answered;
                        }
                    }
                    ended = Some(status);
                    continue;
                }
            }
            if world.is_calm_for(PATIENCE) {
                let what = format!("{} has not ended after {PATIENCE} ms", self.key);
                world.violated(Property::EveryWaitEnds, what);
                return Fate::Unknown;
            }
            pass(random.between(RETRY, POLL)).await;
        }
    }

    fn method(&self, method: &str, id: &str) -> String {
        let request = self.client.next_id();
        format!(
            r#"{{"jsonrpc":"2.0","id":{request},"method":"{method}","params":{{"taskId":"{id}"}}}}"#
        )
    }
}
