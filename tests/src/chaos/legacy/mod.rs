//! A client of 2025-11-25: it has a session, and comes back with `Last-Event-ID` whenever a stream is
//! cut.

mod jobs;
mod tasks;

use std::sync::Arc;

use rand::{RngExt as _, rngs::StdRng};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{
    OPERATION_LIMIT, Promised, World,
    items::Items,
    jobs::Jobs,
    modern::{Asker, come_back},
    weather::pause,
    wire::{Opened, Reading},
};
use crate::schema::Revision;

/// Does one thing after the other until the world is over.
pub(super) async fn run(world: Arc<World>, token: String, mut random: StdRng) -> Promised {
    let user = format!("legacy {:08x}", random.random::<u32>());
    let mut client = Client {
        items: Items::of(&token, user),
        jobs: Jobs::of(&token),
        asker: Asker::new(&token),
        world: Arc::clone(&world),
        token,
        random,
        session: None,
        id: 0,
    };
    while !world.is_over() {
        let what = client.random.random_range(0..21);
        let name = [
            "create",
            "create",
            "count",
            "count",
            "count",
            "ask",
            "ask",
            "cancel",
            "follow",
            "leave",
            "count in a job",
            "count in a job",
            "import",
            "import and look later",
            "be asked by a job",
            "be asked by a job",
            "cancel a job",
            "count in a task",
            "import as a task",
            "be asked by a task",
            "cancel a task",
        ][what];
        let operation = async {
            client.enter().await;
            match name {
                "create" => drop(client.create().await),
                "count" => client.count().await,
                "ask" => client.ask().await,
                "cancel" => client.cancel().await,
                "follow" => client.follow().await,
                "count in a job" => client.count_in_job().await,
                "import" => client.import().await,
                "import and look later" => client.import_and_look_later().await,
                "be asked by a job" => client.be_asked_by_job().await,
                "cancel a job" => client.cancel_job().await,
                "count in a task" => client.count_in_task().await,
                "import as a task" => client.import_as_task().await,
                "be asked by a task" => client.be_asked_by_task().await,
                "cancel a task" => client.cancel_task().await,
                _ => client.leave().await,
            }
        };
        if tokio::time::timeout(OPERATION_LIMIT, operation).await.is_err() {
            world.tally.broken(format!("a legacy client hangs: {name}"));
            client.session = None;
        }
        pause(&mut client.random, 0..50).await;
    }
    Promised { items: client.items, jobs: client.jobs }
}

struct Session {
    id: String,
    /// How often Redis had lost its data before.
    forgotten: u64,
}

struct Client {
    world: Arc<World>,
    token: String,
    random: StdRng,
    session: Option<Session>,
    id: u64,
    items: Items,
    jobs: Jobs,
    /// The same user, as a modern client.
    asker: Asker,
}

/// A call whose answer is being read.
struct Call {
    id: u64,
    reading: Option<Box<Reading>>,
    last: Option<String>,
}

/// What a call says next.
enum Next {
    /// A notification or a request.
    Message(Value),
    /// The answer.
    Answer(Value),
    /// The stream ended for good, without an answer.
    Over,
    /// There is nothing to come back to: the session or the stream is gone, or the connection broke
    /// before there was a stream.
    Lost,
}

impl Client {
    /// Makes sure that there is a session.
    async fn enter(&mut self) {
        while self.session.is_none() {
            self.id += 1;
            let forgotten = self.world.forgotten();
            let body = json!({ "jsonrpc": "2.0", "id": self.id, "method": "initialize", "params": {
                "protocolVersion": Revision::November2025.as_str(),
                "capabilities": { "elicitation": {} },
                "clientInfo": { "name": "chaos", "version": "1" },
            } });
            let request = self.world.http.post(&self.token, &body);
            if let Opened::Stream(mut reading) = self.world.http.open(request).await
                && reading.next().await.is_some()
                && let Some(id) = reading.headers.get("mcp-session-id")
            {
                let id = id.to_str().unwrap_or_default().to_owned();
                self.world.tally.count("sessions begun");
                self.session = Some(Session { id, forgotten });
                return;
            }
            come_back().await;
        }
    }

    fn with_session(&self, request: RequestBuilder) -> RequestBuilder {
        let session = self.session.as_ref().map_or("", |it| it.id.as_str());
        request
            .header("mcp-protocol-version", Revision::November2025.as_str())
            .header("mcp-session-id", session)
    }

    /// Whether Redis has lost its data since the session began.
    fn is_excused(&self) -> bool {
        self.session.as_ref().is_none_or(|it| it.forgotten != self.world.forgotten())
    }

    /// Something that must not be, unless Redis has lost its data.
    fn broken(&mut self, what: &str) {
        if self.is_excused() {
            self.world.tally.count("legacy calls that Redis forgot");
            self.session = None;
        } else {
            let session = self.session.as_ref().map_or("", |it| it.id.as_str());
            self.world.tally.broken(format!("{what} (session {session})"));
            self.session = None;
        }
    }

    /// Sends a message that is answered with nothing, until it is taken.
    async fn tell(&self, body: &Value) -> Option<StatusCode> {
        loop {
            let request = self.with_session(self.world.http.post(&self.token, body));
            match self.world.http.tell(request).await {
                Some(StatusCode::ACCEPTED) => return Some(StatusCode::ACCEPTED),
                Some(status @ (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)) => {
                    return Some(status);
                }
                _ => come_back().await,
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Call {
        self.world.tally.count("legacy calls");
        self.id += 1;
        let id = self.id;
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        loop {
            let request = self.with_session(self.world.http.post(&self.token, &body));
            match self.world.http.open(request).await {
                Opened::Stream(reading) => return Call { id, reading: Some(reading), last: None },
                // Nothing was done.
                Opened::Away => come_back().await,
                Opened::Broken => return Call { id, reading: None, last: None },
                Opened::Gone => {
                    if self.is_excused() {
                        self.session = None;
                    } else {
                        self.broken("a session is gone");
                    }
                    return Call { id, reading: None, last: None };
                }
                Opened::Refused(status) => {
                    self.broken(&format!("a call of {method} was refused: {status}"));
                    return Call { id, reading: None, last: None };
                }
            }
        }
    }

    /// Reads on, wherever.
    async fn next(&mut self, call: &mut Call) -> Next {
        loop {
            if let Some(reading) = &mut call.reading {
                if let Some(message) = reading.next().await {
                    call.last = reading.last.clone().or(call.last.take());
                    self.world.tally.count("legacy events");
                    return if message.get("method").is_some() {
                        Next::Message(message)
                    } else {
                        Next::Answer(message)
                    };
                }
                call.last = reading.last.clone().or(call.last.take());
                if reading.is_over() {
                    return Next::Over;
                }
                call.reading = None;
            }
            let Some(last) = call.last.clone() else {
                return Next::Lost;
            };
            call.reading = self.resume(Some(&last)).await;
            if call.reading.is_none() {
                return Next::Lost;
            }
        }
    }

    /// Opens a stream of the session; nothing if the session or the stream is gone.
    async fn resume(&mut self, last: Option<&str>) -> Option<Box<Reading>> {
        loop {
            let mut request = self.with_session(self.world.http.request(Method::GET, &self.token));
            request = request.header("accept", "text/event-stream");
            if let Some(last) = last {
                request = request.header("last-event-id", last);
                self.world.tally.count("streams resumed");
            }
            match self.world.http.open(request).await {
                Opened::Stream(reading) => return Some(reading),
                Opened::Away | Opened::Broken => come_back().await,
                Opened::Gone | Opened::Refused(_) => return None,
            }
        }
    }

    async fn create(&mut self) -> Option<String> {
        let title = self.items.next_title();
        let draft = json!({ "title": title, "body": "Written under way." });
        let params = json!({ "name": "items_create", "arguments": draft });
        let mut call = self.call("tools/call", params).await;
        loop {
            match self.next(&mut call).await {
                Next::Message(_) => {}
                Next::Answer(answer) => {
                    let id = answer["result"]["structuredContent"]["id"].as_str();
                    if let Some(id) = id {
                        self.items.was_acknowledged(&self.world, title);
                        return Some(id.to_owned());
                    }
                    self.items.is_unknown(&self.world, title);
                    return None;
                }
                Next::Over | Next::Lost => {
                    self.items.is_unknown(&self.world, title);
                    return None;
                }
            }
        }
    }

    async fn count(&mut self) {
        let steps: u32 = self.random.random_range(2..15);
        let arguments = json!({ "steps": steps, "pause_ms": self.random.random_range(5..200) });
        let params = json!({
            "name": "test_count",
            "arguments": arguments,
            "_meta": { "progressToken": self.id },
        });
        let mut call = self.call("tools/call", params).await;
        let mut progress = Vec::new();
        let answer = loop {
            match self.next(&mut call).await {
                Next::Message(message) => {
                    progress.push(message["params"]["progress"].as_f64().unwrap_or(-1.0));
                }
                Next::Answer(answer) => break answer,
                Next::Lost if call.last.is_none() => {
                    self.world.tally.count("legacy calls that broke before there was a stream");
                    return;
                }
                Next::Over | Next::Lost => {
                    self.broken(&format!("a stream ended without its answer after {progress:?}"));
                    return;
                }
            }
        };
        let expected: Vec<_> = (1..=steps).map(f64::from).collect();
        if progress == expected && answer.get("result").is_some() {
            self.world.tally.promise_kept();
        } else {
            self.broken(&format!("a call told {progress:?} of {steps} steps: {answer}"));
        }
    }

    async fn ask(&mut self) {
        let arguments = json!({ "message": "Who are you?" });
        let params = json!({ "name": "test_elicitation", "arguments": arguments });
        let mut call = self.call("tools/call", params).await;
        let question = match self.next(&mut call).await {
            Next::Message(question) => question,
            Next::Lost if call.last.is_none() => return,
            Next::Answer(answer) => {
                // It could not be asked, and that was said.
                if answer.get("error").is_some() {
                    self.world.tally.count("questions that could not be asked");
                } else {
                    self.broken(&format!("nobody asked: {answer}"));
                }
                return;
            }
            Next::Over | Next::Lost => {
                self.broken("a stream ended without its question");
                return;
            }
        };
        let first = call.last.clone();
        // Two answers at once, one of which counts, and one that is too late.
        let names: Vec<String> =
            (0..3).map(|_| format!("{:08x}", self.random.random::<u32>())).collect();
        let answers = names.iter().map(|name| {
            let content = json!({ "username": name, "email": "a@example.com" });
            let result = json!({ "action": "accept", "content": content });
            json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
        });
        let answers: Vec<Value> = answers.collect();
        if self.random.random_bool(0.3) {
            pause(&mut self.random, 0..1_000).await;
        }
        tokio::join!(self.tell(&answers[0]), self.tell(&answers[1]));
        let answer = match self.next(&mut call).await {
            Next::Answer(answer) => answer,
            Next::Message(message) => {
                self.broken(&format!("somebody asked twice: {message}"));
                return;
            }
            Next::Over | Next::Lost => {
                self.broken("a stream ended without the answer to an answer");
                return;
            }
        };
        self.tell(&answers[2]).await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        let counted = names.iter().filter(|it| text.contains(*it)).count();
        if counted == 1 && !text.contains(&names[2]) {
            self.world.tally.count("questions answered by legacy clients");
            self.world.tally.promise_kept();
        } else {
            let lost = answer["error"]["message"].as_str().is_some_and(|it| it.contains("lost"));
            if lost {
                // Its tool is not marked as repeatable, and its instance died after the answer.
                self.world.tally.count("answered calls that were lost with their instance");
            } else {
                self.broken(&format!("an answer did not count: {answer}"));
                return;
            }
        }
        // The same can be heard again, and nothing else.
        let Some(mut again) = self.resume(first.as_deref()).await else {
            self.broken("a stream cannot be heard again");
            return;
        };
        match again.next().await {
            Some(message) if message == answer => self.world.tally.promise_kept(),
            Some(message) => self.broken(&format!("heard {message} instead of {answer}")),
            // Cut while it was read.
            None => {}
        }
    }

    async fn cancel(&mut self) {
        let arguments = json!({ "steps": 200, "pause_ms": 100 });
        let params = json!({
            "name": "test_count",
            "arguments": arguments,
            "_meta": { "progressToken": self.id },
        });
        let mut call = self.call("tools/call", params).await;
        match self.next(&mut call).await {
            Next::Message(_) => {}
            Next::Lost if call.last.is_none() => return,
            _ => {
                self.broken("a call to be cancelled told nothing");
                return;
            }
        }
        let cancelled = json!({
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": { "requestId": call.id },
        });
        self.tell(&cancelled).await;
        loop {
            match self.next(&mut call).await {
                Next::Message(_) => {}
                Next::Over => {
                    self.world.tally.count("calls cancelled");
                    self.world.tally.promise_kept();
                    return;
                }
                Next::Answer(answer) => {
                    self.broken(&format!("a cancelled call was answered: {answer}"));
                    return;
                }
                Next::Lost => {
                    self.broken("the stream of a cancelled call is gone");
                    return;
                }
            }
        }
    }

    /// Follows an item, and hears of its change on the standalone stream.
    async fn follow(&mut self) {
        let Some(item) = self.create().await else { return };
        let uri = format!("items://by-id/{item}");
        let mut call = self.call("resources/subscribe", json!({ "uri": uri })).await;
        let Next::Answer(answer) = self.next(&mut call).await else { return };
        if answer.get("result").is_none() {
            return;
        }
        let mut last = None;
        let mut told = false;
        loop {
            let Some(mut stream) = self.resume(last.as_deref()).await else {
                self.broken("the standalone stream is gone");
                return;
            };
            if !told || last.is_none() {
                // Once there is something to come back to, no change is missed.
                let asker = &mut self.asker;
                let world = Arc::clone(&self.world);
                asker.update(&world, &item).await;
                told = true;
            }
            while let Some(message) = stream.next().await {
                if message["params"]["uri"] == uri.as_str() {
                    self.world.tally.count("changes heard by legacy clients");
                    self.world.tally.promise_kept();
                    return;
                }
            }
            last = stream.last.clone().or(last);
            if self.session.is_none() {
                return;
            }
        }
    }

    /// Ends the session.
    async fn leave(&mut self) {
        loop {
            let request = self.with_session(self.world.http.request(Method::DELETE, &self.token));
            match self.world.http.tell(request).await {
                Some(StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) => break,
                _ => come_back().await,
            }
        }
        self.session = None;
    }
}
