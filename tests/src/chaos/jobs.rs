//! The jobs of one user, and the outcome of each.
//!
//! A job whose id the client has received exists. It finishes or is cancelled, and its outcome never
//! changes, whichever instance is asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    World,
    modern::{Asker, Outcome, come_back},
};

/// The jobs of one client.
#[derive(Debug)]
pub(super) struct Jobs {
    asker: Asker,
    /// The jobs whose ids the client has received, with their outcomes if known.
    known: BTreeMap<String, Option<End>>,
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    pub(super) status: String,
    /// The result of its tool.
    pub(super) result: Value,
    error: Value,
}

impl Jobs {
    pub(super) fn of(token: &str) -> Self {
        Self { asker: Asker::new(token), known: BTreeMap::new() }
    }

    /// Records a job whose id the client has received: from now on it must exist.
    pub(super) fn was_acknowledged(&mut self, world: &World, job: &str) {
        if !self.known.contains_key(job) {
            world.tally.count("jobs acknowledged");
            self.known.insert(job.to_owned(), None);
        }
    }

    /// Cancels a job with the tool `jobs_cancel`.
    pub(super) async fn cancel(&mut self, world: &World, job: &str) {
        if self.look(world, "jobs_cancel", job).await.is_none() {
            world.tally.broken(format!("job {job} was acknowledged and is lost"));
        }
    }

    /// Waits for the end of a job. `None`: no such job.
    pub(super) async fn end(&mut self, world: &World, job: &str) -> Option<End> {
        loop {
            let found = self.look(world, "jobs_get", job).await?;
            if let Some(end) = End::of(&found) {
                self.has_ended(world, job, &end);
                return Some(end);
            }
            if world.is_over() && found["job"]["status"] == "input_required" {
                // The instance no longer notices its end, and would wait for a day.
                world.tally.count("jobs that waited for an answer at the end");
                self.cancel(world, job).await;
            }
            come_back().await;
        }
    }

    /// Calls a job tool until an instance answers. `None`: no such job.
    async fn look(&mut self, world: &World, tool: &str, job: &str) -> Option<Value> {
        loop {
            let outcome = self.asker.tool(world, tool, json!({ "id": job }), None).await;
            if let Outcome::Answer { message, .. } = outcome {
                let result = &message["result"];
                let text = result["content"][0]["text"].as_str().unwrap_or_default();
                if result["isError"] == true && text.contains("no such job") {
                    return None;
                }
                if result["structuredContent"].is_object() {
                    return Some(result["structuredContent"].clone());
                }
            }
            come_back().await;
        }
    }

    fn has_ended(&mut self, world: &World, job: &str, end: &End) {
        self.was_acknowledged(world, job);
        match self.known.insert(job.to_owned(), Some(end.clone())).flatten() {
            None => match end.status.as_str() {
                "completed" => world.tally.count("jobs completed"),
                "cancelled" => world.tally.count("jobs cancelled"),
                _ => world.tally.broken(format!("job {job} has failed: {end:?}")),
            },
            Some(before) if before != *end => {
                world.tally.broken(format!("job {job} ended twice: {before:?}, and {end:?}"));
            }
            Some(_same) => {}
        }
    }

    /// Checks that every job whose id was received exists and has the recorded outcome, and that no other job
    /// is unfinished.
    pub(super) async fn verify(mut self, world: &World) {
        let known: Vec<_> = self.known.keys().cloned().collect();
        for job in known {
            match self.end(world, &job).await {
                Some(_) => world.tally.promise_kept(),
                None => world.tally.broken(format!("job {job} was acknowledged and is lost")),
            }
        }
        let mut arguments = json!({});
        loop {
            let outcome = self.asker.tool(world, "jobs_list", arguments.clone(), None).await;
            let Outcome::Answer { message, .. } = outcome else {
                world.tally.broken("the jobs of a client cannot be listed".to_owned());
                return;
            };
            let page = &message["result"]["structuredContent"];
            for job in page["jobs"].as_array().into_iter().flatten() {
                let id = job["id"].as_str().unwrap_or_default();
                if !self.known.contains_key(id) {
                    world.tally.count("jobs whose client was never told");
                    self.end(world, id).await;
                }
            }
            match &page["next_cursor"] {
                Value::Null => return,
                cursor => arguments["cursor"] = cursor.clone(),
            }
        }
    }
}

impl End {
    /// The outcome of a job. `None` if it is unfinished.
    fn of(found: &Value) -> Option<Self> {
        let status = found["job"]["status"].as_str()?;
        ["completed", "failed", "cancelled"].contains(&status).then(|| Self {
            status: status.to_owned(),
            result: found["result"].clone(),
            error: found["error"].clone(),
        })
    }
}

/// The outcome of an import of a new item and of one whose title exists, when the user gave two answers to
/// the question at once: to keep the old item, and to import nothing.
pub(super) enum Decided {
    /// The new item was imported.
    Skipped,
    /// Nothing was imported.
    Declined,
}

impl Decided {
    /// Reads the result of the import. `None` if it does not follow from one of the answers alone.
    pub(super) fn of(result: &Value) -> Option<Self> {
        let of = |field: &str| result[field].as_u64();
        match (of("created")?, of("skipped")?, result["reason"].is_string()) {
            (1, 1, false) => Some(Self::Skipped),
            (0, 0, true) => Some(Self::Declined),
            _ => None,
        }
    }

    /// The two answers.
    pub(super) fn answers() -> [Value; 2] {
        [
            json!({ "action": "accept", "content": { "existing": "skip" } }),
            json!({ "action": "decline" }),
        ]
    }
}

/// Whether a call was answered with the advice to try again because the database was unavailable, which
/// guarantees nothing.
pub(super) fn was_put_off(world: &World, answer: &Value) -> bool {
    let result = &answer["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let was = result["isError"] == true && text.contains("try again");
    if was {
        world.tally.count("job calls that were told to try again");
    }
    was
}

/// The id in the first message of a call that is a job.
pub(super) fn job_of(message: &Value) -> Option<&str> {
    let text = message["params"]["message"].as_str()?;
    let (_, rest) = text.split_once("This runs as job ")?;
    rest.split('.').next()
}
