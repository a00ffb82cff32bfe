//! Jobs of a client with a session: on the stream of their call, resumed anywhere, or looked at later.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    super::{
        jobs::{Decided, job_of, was_put_off},
        weather::pause,
    },
    Call, Client, Next,
};
use crate::client::restart;

/// The most items of an import: more than one batch.
const MOST_ITEMS: usize = 700;

/// What was heard on the stream of a job.
#[derive(Default)]
struct Heard {
    job: Option<String>,
    progress: Vec<f64>,
    /// Every message, with the id of its event.
    messages: Vec<(Option<String>, Value)>,
}

impl Client {
    async fn call_job(&mut self, tool: &str, arguments: Value) -> Call {
        let params = json!({
            "name": tool, "arguments": arguments, "_meta": { "progressToken": self.id },
        });
        self.call("tools/call", params).await
    }

    /// Reads up to a question, the end, or as much progress as is `enough`.
    async fn hear(&mut self, call: &mut Call, heard: &mut Heard, enough: f64) -> Option<Next> {
        loop {
            let next = self.next(call).await;
            let (Next::Message(message) | Next::Answer(message)) = &next else {
                return Some(next);
            };
            heard.messages.push((call.last.clone(), message.clone()));
            let Some(progress) = message["params"]["progress"].as_f64() else {
                return Some(next);
            };
            if heard.job.is_none() {
                heard.job = job_of(message).map(str::to_owned);
            }
            if heard.progress.last().is_some_and(|it| progress <= *it) {
                self.broken(&format!("progress of {progress} after {:?}", heard.progress));
            }
            if restart(message).is_some() {
                self.world.tally.count("jobs of lost workers whose clients were informed");
                continue;
            }
            heard.progress.push(progress);
            if progress > 0.0
                && let Some(job) = &heard.job
            {
                // It was told of before it was kept, but now it runs.
                self.jobs.was_acknowledged(&self.world, job);
            }
            if progress >= enough {
                return None;
            }
        }
    }

    /// The result of a job that was followed up to its answer. Nothing if there is none, which is
    /// noted.
    async fn result(&mut self, call: &mut Call, heard: &mut Heard) -> Option<Value> {
        match self.hear(call, heard, f64::INFINITY).await {
            Some(Next::Answer(answer)) => self.result_in(&answer, heard),
            Some(Next::Lost) if call.last.is_none() => {
                self.world.tally.count("job calls that broke before there was a stream");
                None
            }
            Some(Next::Message(message)) => {
                self.broken(&format!("a job asks for no reason: {message}"));
                None
            }
            Some(Next::Over | Next::Lost) | None => {
                self.broken(&format!("the stream of a job ended after {:?}", heard.progress));
                None
            }
        }
    }

    fn result_in(&mut self, answer: &Value, heard: &Heard) -> Option<Value> {
        // Progress of 0 is told before the job is kept.
        let began = heard.progress.iter().any(|it| *it > 0.0);
        if !began && was_put_off(&self.world, answer) {
            return None;
        }
        if let Some(error) = answer.get("error") {
            let text = error["message"].as_str().unwrap_or_default();
            if text.contains("lost before its job was created") {
                self.world.tally.count("job calls that were lost before their job began");
            } else if !began {
                self.world.tally.count("job calls that could not be made jobs");
            } else {
                self.broken(&format!("a job was answered with an error: {answer}"));
            }
            return None;
        }
        Some(answer["result"].clone())
    }

    /// What was heard after the first message can be heard again, and nothing else.
    async fn hear_again(&mut self, id: u64, heard: &Heard) {
        let [(first, _), rest @ ..] = &heard.messages[..] else { return };
        if rest.is_empty() {
            return;
        }
        let mut call = Call { id, reading: None, last: first.clone() };
        for (_, expected) in rest {
            match self.next(&mut call).await {
                Next::Message(message) | Next::Answer(message) if message == *expected => {}
                Next::Message(message) | Next::Answer(message) => {
                    self.broken(&format!("heard {message} instead of {expected}"));
                    return;
                }
                Next::Over | Next::Lost => {
                    self.broken(&format!("{expected} cannot be heard again"));
                    return;
                }
            }
        }
        self.world.tally.promise_kept();
    }

    pub(super) async fn count_in_job(&mut self) {
        let steps: u32 = self.random.random_range(2..15);
        let arguments = json!({ "steps": steps, "pause_ms": self.random.random_range(5..150) });
        let mut call = self.call_job("test_count_job", arguments).await;
        let mut heard = Heard::default();
        let Some(result) = self.result(&mut call, &mut heard).await else { return };
        let expected: Vec<_> = (0..=steps).map(f64::from).collect();
        let text = format!("counted to {steps}");
        if heard.progress == expected && result["content"][0]["text"] == text {
            self.world.tally.promise_kept();
        } else {
            self.broken(&format!("a job told {:?} of {steps}: {result}", heard.progress));
        }
        if let Some(job) = &heard.job {
            self.jobs.end(&self.world, job).await;
        }
        self.hear_again(call.id, &heard).await;
    }

    pub(super) fn document(&mut self) -> (Vec<String>, Value) {
        let most = if self.random.random_bool(0.2) { MOST_ITEMS } else { 40 };
        let titles = self.items.titles(self.random.random_range(1..most));
        let arguments = json!({ "titles": titles, "existing": "keep_both" });
        (titles, arguments)
    }

    pub(super) fn imported(&mut self, titles: Vec<String>, result: &Value) {
        if result["created"].as_u64() == Some(titles.len() as u64) {
            self.world.tally.promise_kept();
            self.items.were_imported(&self.world, titles);
        } else {
            self.broken(&format!("an import of {} gave {result}", titles.len()));
            self.items.may_be_there(titles);
        }
    }

    pub(super) async fn import(&mut self) {
        let (titles, arguments) = self.document();
        let mut call = self.call_job("items_import", arguments).await;
        let mut heard = Heard::default();
        match self.result(&mut call, &mut heard).await {
            Some(result) => self.imported(titles, &result["structuredContent"]),
            None => self.items.may_be_there(titles),
        }
    }

    /// Starts an import, loses interest in its stream, and asks for the result later.
    pub(super) async fn import_and_look_later(&mut self) {
        let (titles, arguments) = self.document();
        let mut call = self.call_job("items_import", arguments).await;
        let mut heard = Heard::default();
        let first = self.hear(&mut call, &mut heard, 0.0).await;
        let (None, Some(job)) = (first, heard.job.clone()) else {
            self.items.may_be_there(titles);
            return;
        };
        call.reading = None;
        pause(&mut self.random, 0..1_000).await;
        match self.jobs.end(&self.world, &job).await {
            Some(end) => self.imported(titles, &end.result),
            // Its instance has died just before it was kept. That is said on the stream.
            None => match self.result(&mut call, &mut heard).await {
                Some(result) => self.imported(titles, &result["structuredContent"]),
                None => self.items.may_be_there(titles),
            },
        }
    }

    pub(super) async fn be_asked_by_job(&mut self) {
        let Some(old) = self.items.any(&mut self.random) else { return };
        let new = self.items.next_title();
        let arguments = json!({ "titles": [old, new] });
        let mut call = self.call_job("items_import", arguments).await;
        let mut heard = Heard::default();
        let question = match self.hear(&mut call, &mut heard, f64::INFINITY).await {
            Some(Next::Message(question)) => question,
            Some(Next::Answer(answer)) => {
                if self.result_in(&answer, &heard).is_some() {
                    self.broken(&format!("a job did not ask: {answer}"));
                }
                return;
            }
            Some(Next::Lost) if call.last.is_none() => return,
            Some(Next::Over | Next::Lost) | None => {
                self.broken("the stream of a job ended without its question");
                return;
            }
        };
        if let Some(job) = &heard.job {
            self.jobs.was_acknowledged(&self.world, job);
        }
        // Two answers at once, of which one counts, and later one of them again.
        let [one, other] = Decided::answers()
            .map(|it| json!({ "jsonrpc": "2.0", "id": question["id"], "result": it }));
        tokio::join!(self.tell(&one), self.tell(&other));
        let Some(result) = self.result(&mut call, &mut heard).await else {
            // The job goes on without its stream.
            self.items.may_be_there([new]);
            return;
        };
        self.tell(&one).await;
        match Decided::of(&result["structuredContent"]) {
            Some(decided) => {
                self.world.tally.count("questions of jobs answered");
                self.world.tally.promise_kept();
                if matches!(decided, Decided::Skipped) {
                    self.items.were_imported(&self.world, vec![new]);
                }
            }
            None => self.broken(&format!("a job was answered twice: {result}")),
        }
        self.hear_again(call.id, &heard).await;
    }

    pub(super) async fn cancel_job(&mut self) {
        let arguments = json!({ "steps": 200, "pause_ms": 100 });
        let mut call = self.call_job("test_count_job", arguments).await;
        let mut heard = Heard::default();
        let job = match (self.hear(&mut call, &mut heard, 1.0).await, heard.job.clone()) {
            (None, Some(job)) => job,
            (Some(Next::Answer(answer)), _) => {
                if self.result_in(&answer, &heard).is_some() {
                    self.broken("a job to be cancelled had ended");
                }
                return;
            }
            (Some(Next::Lost), _) if call.last.is_none() => return,
            _ => {
                self.broken("a job to be cancelled told nothing");
                return;
            }
        };
        let by_tool = self.random.random_bool(0.5);
        if by_tool {
            self.jobs.cancel(&self.world, &job).await;
        } else {
            let cancelled = json!({
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": { "requestId": call.id },
            });
            self.tell(&cancelled).await;
        }
        // Whoever cancels by protocol wants no answer; a model's own call is answered.
        match (self.hear(&mut call, &mut heard, f64::INFINITY).await, by_tool) {
            (Some(Next::Over), false) => self.world.tally.promise_kept(),
            (Some(Next::Answer(answer)), true) if answer["result"]["isError"] == true => {
                self.world.tally.promise_kept();
            }
            (Some(Next::Answer(answer)), _) => {
                self.broken(&format!("a cancelled job was answered: {answer}"));
            }
            _ => self.broken("the stream of a cancelled job is gone"),
        }
        match self.jobs.end(&self.world, &job).await {
            Some(end) if end.status == "cancelled" => self.world.tally.promise_kept(),
            // The session was gone before the cancel came.
            Some(_) if self.is_excused() => {}
            end => self.world.tally.broken(format!("job {job} was cancelled: {end:?}")),
        }
    }
}
