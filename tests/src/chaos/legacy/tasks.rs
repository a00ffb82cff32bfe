//! Jobs of a client with a session as the experimental tasks of 2025-11-25: a call is answered with a
//! handle at once, and the result goes to whoever asks for it, in any session of the same user.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    super::{
        jobs::{Decided, was_put_off},
        modern::come_back,
        weather::pause,
    },
    Client, Next,
};

/// What a request about a task that cannot be is answered with.
const INVALID_PARAMS: i64 = -32602;

/// How long results are kept, in milliseconds: longer than it rages.
const TTL: u64 = 24 * 3600 * 1000;

/// The task that a message says it belongs to.
fn related(message: &Value) -> &Value {
    &message["_meta"]["io.modelcontextprotocol/related-task"]["taskId"]
}

impl Client {
    /// Calls a tool as a task. Gives the id of the task, if the client hears it.
    async fn task(&mut self, tool: &str, arguments: Value) -> Option<String> {
        let task = json!({ "ttl": TTL });
        let params = json!({ "name": tool, "arguments": arguments, "task": task });
        let mut call = self.call("tools/call", params).await;
        match self.next(&mut call).await {
            Next::Answer(answer) => {
                if let Some(task) = answer["result"]["task"]["taskId"].as_str() {
                    self.jobs.was_acknowledged(&self.world, task);
                    return Some(task.to_owned());
                }
                if answer.get("error").is_some() {
                    self.world.tally.count("task calls that failed");
                } else if !was_put_off(&self.world, &answer) {
                    self.broken(&format!("a call of {tool} became no task: {answer}"));
                }
            }
            Next::Message(message) => {
                self.broken(&format!("a call of {tool} told {message} before its task"));
            }
            Next::Lost if call.last.is_none() => {
                self.world.tally.count("task calls that broke before there was a stream");
            }
            Next::Over | Next::Lost => self.broken("a stream ended without its task"),
        }
        None
    }

    /// Sends a request about tasks until somebody answers, with a result or a clear refusal.
    async fn about_task(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        loop {
            self.enter().await;
            let mut call = self.call(method, params.clone()).await;
            match self.next(&mut call).await {
                Next::Answer(answer) if answer.get("result").is_some() => {
                    return Ok(answer["result"].clone());
                }
                Next::Answer(answer) if answer["error"]["code"] == INVALID_PARAMS => {
                    return Err(answer["error"].clone());
                }
                Next::Message(message) => self.broken(&format!("{method} told {message}")),
                Next::Answer(_) | Next::Over | Next::Lost => {}
            }
            come_back().await;
        }
    }

    /// Looks at a task that there must be.
    async fn look_at(&mut self, task: &str) -> Option<String> {
        match self.about_task("tasks/get", json!({ "taskId": task })).await {
            Ok(found) => found["status"].as_str().map(str::to_owned),
            Err(error) => {
                self.world.tally.broken(format!("task {task} was promised and is lost: {error}"));
                None
            }
        }
    }

    /// Looks at a task until it has ended. Gives how.
    async fn task_ended(&mut self, task: &str) -> Option<String> {
        loop {
            let status = self.look_at(task).await?;
            if ["completed", "failed", "cancelled"].contains(&&*status) {
                return Some(status);
            }
            come_back().await;
        }
    }

    /// Waits for the result of a task, coming back as often as it takes, and gives two answers at
    /// once to whatever it asks.
    async fn result_of(&mut self, task: &str) -> Option<Value> {
        loop {
            self.enter().await;
            let mut call = self.call("tasks/result", json!({ "taskId": task })).await;
            loop {
                match self.next(&mut call).await {
                    Next::Message(question) if *related(&question["params"]) == task => {
                        let [one, other] = Decided::answers().map(
                            |it| json!({ "jsonrpc": "2.0", "id": question["id"], "result": it }),
                        );
                        tokio::join!(self.tell(&one), self.tell(&other));
                    }
                    Next::Message(message) => {
                        self.broken(&format!("a wait for task {task} was told {message}"));
                        break;
                    }
                    Next::Answer(answer) if *related(&answer["result"]) == task => {
                        self.world.tally.count("results of tasks given to sessions");
                        return Some(answer["result"].clone());
                    }
                    Next::Answer(answer) if answer["error"]["code"] == INVALID_PARAMS => {
                        let lost = format!("task {task} was promised and is lost: {answer}");
                        self.world.tally.broken(lost);
                        return None;
                    }
                    Next::Answer(answer) if answer.get("error").is_some() => {
                        self.world.tally.count("waits for tasks that failed");
                        break;
                    }
                    Next::Answer(answer) => {
                        self.broken(&format!("the result of task {task} was {answer}"));
                        return None;
                    }
                    Next::Lost if call.last.is_none() => {
                        self.world.tally.count("waits for tasks that broke");
                        break;
                    }
                    Next::Over | Next::Lost => {
                        self.broken(&format!("a stream ended without the result of task {task}"));
                        break;
                    }
                }
            }
            come_back().await;
        }
    }

    /// A task that the client was told of is in the list.
    async fn is_listed(&mut self, task: &str) {
        let mut params = json!({});
        loop {
            let page = match self.about_task("tasks/list", params.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    self.world.tally.broken(format!("tasks cannot be listed: {error}"));
                    return;
                }
            };
            let mut tasks = page["tasks"].as_array().into_iter().flatten();
            if tasks.any(|it| it["taskId"] == task) {
                self.world.tally.promise_kept();
                return;
            }
            match &page["nextCursor"] {
                Value::Null => {
                    self.world.tally.broken(format!("task {task} was promised and is not listed"));
                    return;
                }
                next => params["cursor"] = next.clone(),
            }
        }
    }

    /// The result is the same for everybody who asks, and however they ask.
    async fn has_result(&mut self, task: &str, result: &Value) {
        let again = self.result_of(task).await;
        if again.as_ref() == Some(result) {
            self.world.tally.promise_kept();
        } else {
            self.world.tally.broken(format!("task {task} gave {result}, and then {again:?}"));
        }
        match self.jobs.end(&self.world, task).await {
            Some(_) => self.world.tally.promise_kept(),
            None => self.world.tally.broken(format!("task {task} was promised and is no job")),
        }
    }

    pub(super) async fn count_in_task(&mut self) {
        let steps: u32 = self.random.random_range(2..15);
        let arguments = json!({ "steps": steps, "pause_ms": self.random.random_range(5..150) });
        let Some(task) = self.task("test_count_job", arguments).await else { return };
        if self.random.random_bool(0.5) {
            self.is_listed(&task).await;
        }
        if self.random.random_bool(0.5) {
            match self.task_ended(&task).await.as_deref() {
                Some("completed") => self.world.tally.promise_kept(),
                status => self.world.tally.broken(format!("task {task} to count is {status:?}")),
            }
        }
        let Some(result) = self.result_of(&task).await else { return };
        if result["content"][0]["text"] == format!("counted to {steps}") {
            self.world.tally.promise_kept();
        } else {
            self.world.tally.broken(format!("task {task} of {steps} steps gave {result}"));
        }
        self.has_result(&task, &result).await;
    }

    pub(super) async fn import_as_task(&mut self) {
        let (titles, arguments) = self.document();
        let Some(task) = self.task("items_import", arguments).await else {
            self.items.may_be_there(titles);
            return;
        };
        let Some(result) = self.result_of(&task).await else {
            self.items.may_be_there(titles);
            return;
        };
        self.imported(titles, &result["structuredContent"]);
        self.has_result(&task, &result).await;
    }

    pub(super) async fn be_asked_by_task(&mut self) {
        let Some(old) = self.items.any(&mut self.random) else { return };
        let new = self.items.next_title();
        let arguments = json!({ "titles": [old, new] });
        let asked = match self.task("items_import", arguments).await {
            Some(task) => self.result_of(&task).await.map(|result| (task, result)),
            None => None,
        };
        let Some((task, result)) = asked else {
            self.items.may_be_there([new]);
            return;
        };
        if let Some(decided) = Decided::of(&result["structuredContent"]) {
            self.world.tally.count("questions of tasks answered in sessions");
            self.world.tally.promise_kept();
            if matches!(decided, Decided::Skipped) {
                self.items.were_imported(&self.world, vec![new]);
            }
        } else {
            self.world.tally.broken(format!("task {task} was answered twice: {result}"));
            self.items.may_be_there([new]);
        }
        self.has_result(&task, &result).await;
    }

    pub(super) async fn cancel_task(&mut self) {
        let arguments = json!({ "steps": 200, "pause_ms": 100 });
        let Some(task) = self.task("test_count_job", arguments).await else { return };
        pause(&mut self.random, 0..600).await;
        let params = json!({ "taskId": task });
        match self.about_task("tasks/cancel", params.clone()).await {
            Ok(found) if found["status"] == "cancelled" => self.world.tally.promise_kept(),
            Ok(found) => self.world.tally.broken(format!("a cancelled task is {found}")),
            // The answer to an earlier attempt was lost.
            Err(_ended) => self.world.tally.count("tasks that had been cancelled already"),
        }
        match self.task_ended(&task).await.as_deref() {
            Some("cancelled") => {
                self.world.tally.count("tasks cancelled by sessions");
                self.world.tally.promise_kept();
            }
            status => self.world.tally.broken(format!("task {task} was cancelled: {status:?}")),
        }
        match self.about_task("tasks/cancel", params).await {
            Err(_ended) => self.world.tally.promise_kept(),
            Ok(found) => self.world.tally.broken(format!("a task was cancelled twice: {found}")),
        }
        let Some(result) = self.result_of(&task).await else { return };
        if result["isError"] != true {
            self.world.tally.broken(format!("a cancelled task gave {result}"));
        }
        self.has_result(&task, &result).await;
    }
}
