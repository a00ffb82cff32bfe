//! Jobs of a modern client: as tasks, and as calls that stay open.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    super::{
        World,
        jobs::{Decided, job_of, was_put_off},
        weather::pause,
        wire::Opened,
    },
    Asker, CAPABILITIES, Client, Outcome, come_back,
};

/// The most items of an import: more than one batch.
const MOST_ITEMS: usize = 700;

/// A request of a client that can hold a task handle.
fn with_tasks(mut params: Value) -> Value {
    params["_meta"][CAPABILITIES] = json!({
        "elicitation": { "form": {} }, "extensions": { "io.modelcontextprotocol/tasks": {} },
    });
    params
}

/// Sends a request about a task until it is answered. Nothing if it is refused.
async fn about_task(
    asker: &mut Asker,
    world: &World,
    method: &str,
    params: Value,
) -> Option<Value> {
    loop {
        match asker.send(world, method, with_tasks(params.clone())).await {
            Outcome::Answer { message, .. } if message.get("result").is_some() => {
                return Some(message["result"].clone());
            }
            Outcome::Refused => return None,
            Outcome::Answer { .. } | Outcome::Broken => come_back().await,
        }
    }
}

impl Client {
    /// Calls a tool as a task. Gives the id of the task.
    async fn task(&mut self, tool: &str, arguments: Value) -> Option<String> {
        let params = with_tasks(json!({ "name": tool, "arguments": arguments }));
        let Outcome::Answer { message, .. } =
            self.asker.send(&self.world, "tools/call", params).await
        else {
            return None;
        };
        let Some(task) = message["result"]["taskId"].as_str() else {
            if !was_put_off(&self.world, &message) {
                self.world.tally.broken(format!("a call of {tool} became no task: {message}"));
            }
            return None;
        };
        self.jobs.was_acknowledged(&self.world, task);
        Some(task.to_owned())
    }

    /// Looks at a task until it has ended, or has a question.
    async fn task_ended(&mut self, task: &str, or_asks: bool) -> Option<Value> {
        loop {
            let params = json!({ "taskId": task });
            let found = about_task(&mut self.asker, &self.world, "tasks/get", params).await?;
            match found["status"].as_str() {
                Some("completed" | "failed" | "cancelled") => return Some(found),
                Some("input_required") if or_asks => return Some(found),
                _ => come_back().await,
            }
        }
    }

    pub(super) async fn import_as_task(&mut self) {
        let most = if self.random.random_bool(0.2) { MOST_ITEMS } else { 40 };
        let titles = self.items.titles(self.random.random_range(1..most));
        let arguments = json!({ "titles": titles, "existing": "keep_both" });
        let Some(task) = self.task("items_import", arguments).await else {
            self.items.may_be_there(titles);
            return;
        };
        let cancels = self.random.random_bool(0.25);
        if cancels {
            pause(&mut self.random, 0..200).await;
            let params = json!({ "taskId": task });
            about_task(&mut self.asker, &self.world, "tasks/cancel", params).await;
        }
        let Some(ended) = self.task_ended(&task, false).await else { return };
        let created = ended["result"]["structuredContent"]["created"].as_u64();
        match ended["status"].as_str() {
            Some("completed") if created == Some(titles.len() as u64) => {
                self.world.tally.promise_kept();
                self.items.were_imported(&self.world, titles);
            }
            Some("cancelled") if cancels => {
                self.world.tally.promise_kept();
                self.items.may_be_there(titles);
            }
            _ => self.world.tally.broken(format!("an import of {}: {ended}", titles.len())),
        }
        self.jobs.end(&self.world, &task).await;
    }

    pub(super) async fn be_asked_by_task(&mut self) {
        let Some(old) = self.items.any(&mut self.random) else { return };
        let new = self.items.next_title();
        let arguments = json!({ "titles": [old, new] });
        let Some(task) = self.task("items_import", arguments).await else { return };
        let Some(asks) = self.task_ended(&task, true).await else { return };
        let questions = asks["inputRequests"].as_object();
        let Some(key) = questions.and_then(|it| it.keys().next()) else {
            self.world.tally.broken(format!("a task did not ask: {asks}"));
            return;
        };
        // Two answers at once, of which one counts, and later both again.
        let [one, other] = Decided::answers()
            .map(|answer| json!({ "taskId": task, "inputResponses": { key: answer } }));
        let mut elsewhere = self.asker.clone();
        tokio::join!(
            about_task(&mut self.asker, &self.world, "tasks/update", one.clone()),
            about_task(&mut elsewhere, &self.world, "tasks/update", other),
        );
        let Some(ended) = self.task_ended(&task, false).await else { return };
        match Decided::of(&ended["result"]["structuredContent"]) {
            Some(decided) => {
                self.world.tally.count("questions of tasks answered");
                self.world.tally.promise_kept();
                if matches!(decided, Decided::Skipped) {
                    self.items.were_imported(&self.world, vec![new]);
                }
            }
            None => self.world.tally.broken(format!("a task was answered twice: {ended}")),
        }
        about_task(&mut self.asker, &self.world, "tasks/update", one).await;
        self.jobs.end(&self.world, &task).await;
    }

    /// A job whose call stays open, up to its end or until the client has had enough.
    pub(super) async fn wait_for_job(&mut self) {
        let steps: u32 = self.random.random_range(2..12);
        let params = json!({
            "name": "test_count_job",
            "arguments": { "steps": steps, "pause_ms": self.random.random_range(5..150) },
            "_meta": { "progressToken": "job" },
        });
        let patience = if self.random.random_bool(0.3) { 1 } else { usize::MAX };
        let world = std::sync::Arc::clone(&self.world);
        world.tally.count("modern calls");
        let mut reading = loop {
            let request = self.asker.request(&world.http, "tools/call", params.clone());
            match world.http.open(request).await {
                Opened::Stream(reading) => break reading,
                Opened::Away => come_back().await,
                Opened::Refused(status) => {
                    world.tally.broken(format!("a job was refused: {status}"));
                    return;
                }
                Opened::Gone | Opened::Broken => return,
            }
        };
        let mut job = None;
        let mut progress = Vec::new();
        let mut answer = None;
        while answer.is_none() && progress.len() <= patience {
            let Some(message) = reading.next().await else { break };
            if message.get("method").is_none() {
                answer = Some(message);
                continue;
            }
            progress.extend(message["params"]["progress"].as_f64());
            if job.is_none()
                && let Some(id) = job_of(&message)
            {
                self.jobs.was_acknowledged(&world, id);
                job = Some(id.to_owned());
            }
        }
        drop(reading);
        if !progress.is_sorted_by(|one, next| one < next) {
            world.tally.broken(format!("the progress of a job: {progress:?}"));
        }
        let Some(job) = job else {
            world.tally.count("job calls that broke before there was a job");
            return;
        };
        let Some(end) = self.jobs.end(&world, &job).await else {
            world.tally.broken(format!("job {job} was acknowledged and is lost"));
            return;
        };
        let Some(answer) = answer else {
            // Whoever held the connection has cancelled the job, unless they died.
            world.tally.count("job calls that were left or broke");
            world.tally.promise_kept();
            return;
        };
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        if end.status == "completed" && text == format!("counted to {steps}") {
            world.tally.promise_kept();
        } else if end.status == "completed" && text.contains("continues as job") {
            world.tally.count("job calls whose instance went");
            world.tally.promise_kept();
        } else {
            world.tally.broken(format!("a call of a job was told {answer}, and it {end:?}"));
        }
    }
}
