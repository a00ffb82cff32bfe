//! A client of 2026-07-28: what breaks is asked again, wherever.

mod jobs;

use std::sync::Arc;

use rand::{RngExt as _, rngs::StdRng};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{
    OPERATION_LIMIT, Promised, World,
    items::Items,
    jobs::Jobs,
    weather::pause,
    wire::{Http, Opened},
};
use crate::schema::Revision;

/// How a request ended.
pub(super) enum Outcome {
    /// With an answer, after these messages.
    Answer { before: Vec<Value>, message: Value },
    /// Nobody knows: the connection broke.
    Broken,
    /// Not at all: it was refused, which is noted.
    Refused,
}

/// Where a request says what its client can do.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Sends modern requests for one user.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    token: String,
    id: u64,
}

impl Asker {
    pub(super) fn new(token: &str) -> Self {
        Self { token: token.to_owned(), id: 0 }
    }

    fn request(&mut self, http: &Http, method: &str, mut params: Value) -> RequestBuilder {
        self.id += 1;
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] =
            json!(Revision::July2026.as_str());
        if params["_meta"][CAPABILITIES].is_null() {
            params["_meta"][CAPABILITIES] = json!({ "elicitation": { "form": {} } });
        }
        let body = json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
        let mut request = http
            .post(&self.token, &body)
            .header("mcp-protocol-version", Revision::July2026.as_str())
            .header("mcp-method", method);
        if let Some(name) = params["name"].as_str().or(params["taskId"].as_str()) {
            request = request.header("mcp-name", name);
        }
        request
    }

    /// Calls a tool once.
    pub(super) async fn tool(
        &mut self,
        world: &World,
        name: &str,
        arguments: Value,
        more: Option<Value>,
    ) -> Outcome {
        let mut params = more.unwrap_or_else(|| json!({}));
        params["name"] = json!(name);
        params["arguments"] = arguments;
        self.send(world, "tools/call", params).await
    }

    /// Sends a request once; comes back as long as nothing was done.
    pub(super) async fn send(&mut self, world: &World, method: &str, params: Value) -> Outcome {
        world.tally.count("modern calls");
        loop {
            let request = self.request(&world.http, method, params.clone());
            let mut reading = match world.http.open(request).await {
                Opened::Stream(reading) => reading,
                Opened::Away => {
                    come_back().await;
                    continue;
                }
                Opened::Refused(status) => {
                    world.tally.broken(format!("{method} was refused ({status}): {params}"));
                    return Outcome::Refused;
                }
                Opened::Gone | Opened::Broken => return Outcome::Broken,
            };
            let mut before = Vec::new();
            while let Some(message) = reading.next().await {
                if message.get("method").is_none() {
                    return Outcome::Answer { before, message };
                }
                before.push(message);
            }
            return Outcome::Broken;
        }
    }

    /// Writes to an item until that is acknowledged.
    pub(super) async fn update(&mut self, world: &World, item: &str) {
        let arguments = json!({ "id": item, "body": "Changed." });
        loop {
            let outcome = self.tool(world, "items_update", arguments.clone(), None).await;
            if let Outcome::Answer { message, .. } = outcome
                && message["result"]["isError"] != true
                && message.get("error").is_none()
            {
                return;
            }
            come_back().await;
        }
    }
}

/// The pause before somebody who was turned away comes back.
#[expect(clippy::disallowed_methods, reason = "what a client does that has to wait")]
pub(super) async fn come_back() {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

/// Does one thing after the other until the world is over.
pub(super) async fn run(world: Arc<World>, token: String, mut random: StdRng) -> Promised {
    let user = format!("modern {:08x}", random.random::<u32>());
    let mut client = Client {
        asker: Asker::new(&token),
        items: Items::of(&token, user),
        jobs: Jobs::of(&token),
        world: Arc::clone(&world),
        random,
    };
    while !world.is_over() {
        let what = client.random.random_range(0..14);
        let name = [
            "create",
            "create",
            "create",
            "count",
            "count",
            "ask",
            "ask",
            "listen",
            "import as a task",
            "import as a task",
            "be asked by a task",
            "be asked by a task",
            "wait for a job",
            "wait for a job",
        ][what];
        let operation = async {
            match name {
                "create" => drop(client.create().await),
                "count" => client.count().await,
                "ask" => client.ask().await,
                "listen" => client.listen().await,
                "import as a task" => client.import_as_task().await,
                "be asked by a task" => client.be_asked_by_task().await,
                _ => client.wait_for_job().await,
            }
        };
        if tokio::time::timeout(OPERATION_LIMIT, operation).await.is_err() {
            world.tally.broken(format!("a modern client hangs: {name}"));
        }
        pause(&mut client.random, 0..50).await;
    }
    Promised { items: client.items, jobs: client.jobs }
}

struct Client {
    world: Arc<World>,
    asker: Asker,
    items: Items,
    jobs: Jobs,
    random: StdRng,
}

impl Client {
    async fn create(&mut self) -> Option<String> {
        let title = self.items.next_title();
        let draft = json!({ "title": title, "body": "Written under way." });
        let outcome = self.asker.tool(&self.world, "items_create", draft, None).await;
        if let Outcome::Answer { message, .. } = &outcome
            && let Some(id) = message["result"]["structuredContent"]["id"].as_str()
        {
            self.items.was_acknowledged(&self.world, title);
            return Some(id.to_owned());
        }
        self.items.is_unknown(&self.world, title);
        None
    }

    async fn count(&mut self) {
        let steps = self.random.random_range(2..10);
        let arguments = json!({ "steps": steps, "pause_ms": self.random.random_range(5..60) });
        let token = json!({ "_meta": { "progressToken": "count" } });
        let outcome = self.asker.tool(&self.world, "test_count", arguments, Some(token)).await;
        let Outcome::Answer { before, message } = outcome else {
            self.world.tally.count("modern calls that broke");
            return;
        };
        let tally = &self.world.tally;
        tally.add("modern events", before.len());
        let progress: Vec<_> =
            before.iter().map(|it| it["params"]["progress"].as_f64().unwrap_or(-1.0)).collect();
        let expected: Vec<_> = (1..=steps).map(f64::from).collect();
        if progress == expected && message.get("result").is_some() {
            tally.promise_kept();
        } else {
            tally.broken(format!("a modern call told {progress:?} of {steps}: {message}"));
        }
    }

    async fn ask(&mut self) {
        let arguments = json!({ "message": "Who are you?" });
        let tool = "test_elicitation";
        let asked = self.asker.tool(&self.world, tool, arguments.clone(), None).await;
        let Outcome::Answer { message, .. } = asked else { return };
        let state = &message["result"]["requestState"];
        let questions = message["result"]["inputRequests"].as_object();
        let Some(key) = questions.and_then(|it| it.keys().next()) else {
            self.world.tally.broken(format!("a modern client was not asked: {message}"));
            return;
        };
        let name = format!("{:08x}", self.random.random::<u32>());
        let content = json!({ "username": name, "email": "a@example.com" });
        let responses = json!({ key: { "action": "accept", "content": content } });
        let more = json!({ "requestState": state, "inputResponses": responses });
        // Whatever breaks, the answer can be given again, anywhere.
        loop {
            let answered =
                self.asker.tool(&self.world, tool, arguments.clone(), Some(more.clone())).await;
            let Outcome::Answer { message, .. } = answered else {
                come_back().await;
                continue;
            };
            let text = message["result"]["content"][0]["text"].as_str().unwrap_or_default();
            if text.contains(&name) {
                self.world.tally.count("questions answered by modern clients");
                self.world.tally.promise_kept();
            } else {
                self.world.tally.broken(format!("a modern answer did not count: {message}"));
            }
            return;
        }
    }

    async fn listen(&mut self) {
        let Some(item) = self.create().await else { return };
        let uri = format!("items://by-id/{item}");
        let world = Arc::clone(&self.world);
        loop {
            let params = json!({ "notifications": { "resourceSubscriptions": [uri] } });
            let request = self.asker.request(&world.http, "subscriptions/listen", params);
            let Opened::Stream(mut stream) = world.http.open(request).await else {
                come_back().await;
                continue;
            };
            if stream.next().await.is_none() {
                continue;
            }
            self.asker.update(&world, &item).await;
            while let Some(message) = stream.next().await {
                if message["method"] == "notifications/resources/updated" {
                    world.tally.count("changes heard by modern clients");
                    world.tally.promise_kept();
                    return;
                }
                if message.get("result").is_some() {
                    // The instance is about to go.
                    break;
                }
            }
            world.tally.count("reconnects of modern listeners");
        }
    }
}
