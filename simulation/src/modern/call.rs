//! A call of a modern client: it reads the response, answers the questions with the next request, and
//! calls again if a response was lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::{Duration, Instant, sleep_until};

use super::{
    ANY, Request, Response,
    wire::{Answer, Meaning},
};
use crate::{
    client::{Client, INTRUDER, RETRY},
    plan::ToolKind,
    properties::Property,
    random::Random,
    record::{Fate, ModernRecord, UNAVAILABLE},
    world::pass,
};

/// How often a client calls a tool again whose response was lost.
const MAX_ATTEMPTS: u64 = 4;

/// How often a client repeats a request with answers whose response was lost.
const MAX_REPEATS: u64 = 8;

/// More rounds of questions than any tool has.
const MAX_ROUNDS: usize = 8;

/// How reading a response has ended.
enum RoundEnd {
    Answered(Result<String, String>),
    /// The server needs answers to these questions, and this state with them.
    Asked(Vec<String>, String),
    /// The connection was lost, or the server refused the request.
    Lost,
    /// The client has closed the connection.
    Closed,
}

/// Calls a tool, and follows the call to its end. `cancel`: cancels it after this time in
/// milliseconds.
pub(crate) async fn call(
    client: Arc<Client>,
    part: u64,
    tool: ToolKind,
    cancel: Option<u64>,
    mut random: Random,
) {
    let steps = random.below(5);
    let pause = match random.below(100) {
        0..60 => random.below(60),
        60..66 if tool.is_job() => random.between(8_000, 14_000),
        _ => random.below(4_000),
    };
    let accept = match random.below(20) {
        0 => "application/json",
        1..4 => "text/event-stream",
        _ => ANY,
    };
    for attempt in 0..MAX_ATTEMPTS {
        // A call whose response was lost may have taken effect, so the next one is another call.
        let key = format!("call {part}.{attempt}");
        let arguments = format!(r#"{{"key":"{key}","steps":{steps},"pause":{pause}}}"#);
        let needed = (steps + 1) * pause;
        if tool == ToolKind::Touch {
            client.touches(cancel.is_none());
        }
        let mut calling = Calling {
            client: Arc::clone(&client),
            tool,
            accept,
            arguments,
            record: ModernRecord::new(key, tool, steps, needed),
            given: BTreeMap::new(),
            progress: None,
        };
        let began = client.world().now();
        let closes = cancel.map(|after| Instant::now() + Duration::from_millis(after));
        calling.record.fate = calling.run(&mut random, closes).await;
        let mut record = calling.record;
        record.duration = client.world().now() - began;
        client.world().note(|| format!("client {}: {record:?}", client.number));
        let is_lost = record.fate == Fate::Unknown;
        client.record_modern(record);
        if !is_lost || cancel.is_some() || random.chance(300) {
            return;
        }
        pass(random.below(RETRY)).await;
    }
}

struct Calling {
    client: Arc<Client>,
    tool: ToolKind,
    accept: &'static str,
    arguments: String,
    record: ModernRecord,
    /// The answers so far, by the tool's key.
    given: BTreeMap<String, String>,
    progress: Option<f64>,
}

impl Calling {
    async fn run(&mut self, random: &mut Random, closes: Option<Instant>) -> Fate {
        let mut answers = BTreeMap::new();
        let mut state = None;
        let mut repeats = 0;
        for _ in 0..MAX_ROUNDS {
            let end = loop {
                match self.round(random, &answers, state.as_deref(), closes).await {
                    RoundEnd::Lost if state.is_some() && repeats < MAX_REPEATS => {
                        if closes.is_some_and(|at| Instant::now() >= at) || random.chance(100) {
                            break RoundEnd::Lost;
                        }
                        repeats += 1;
                        pass(random.below(RETRY)).await;
                    }
                    end => break end,
                }
            };
            let (questions, sealed) = match end {
                RoundEnd::Answered(outcome) => {
                    self.record.responses.push(outcome);
                    return Fate::Answered;
                }
                RoundEnd::Lost => return Fate::Unknown,
                RoundEnd::Closed => {
                    self.record.closed_at = Some(self.client.world().now());
                    return Fate::Cancelled;
                }
                RoundEnd::Asked(questions, sealed) => (questions, sealed),
            };
            answers = self.answers(random, &questions);
            if random.chance(100) {
                self.misuse(random, &answers, &sealed).await;
            }
            let delay = match random.below(10) {
                0..7 => random.below(400),
                7..9 => random.below(9_000),
                _ => random.below(20_000),
            };
            self.record.needed += delay;
            let answered_at = Instant::now() + Duration::from_millis(delay);
            if let Some(at) = closes.filter(|at| *at < answered_at) {
                sleep_until(at).await;
                self.record.closed_at = Some(self.client.world().now());
                return Fate::Cancelled;
            }
            pass(delay).await;
            self.given.extend(answers.clone());
            if random.chance(200) {
                self.answer_twice(random, &answers, &sealed).await;
            }
            state = Some(sealed);
        }
        let what = format!("{}: is asked again and again", self.record.key);
        self.client.world().violated(Property::OneAnswer, what);
        Fate::Unknown
    }

    /// Chooses answers to some of the questions, at least to one.
    fn answers(&mut self, random: &mut Random, questions: &[String]) -> BTreeMap<String, String> {
        let mut answers = BTreeMap::new();
        for question in questions {
            if self.given.contains_key(question) {
                let what = format!("{}: the question {question} is asked twice", self.record.key);
                self.client.world().violated(Property::OneAnswer, what);
            }
            if answers.is_empty() || random.chance(700) {
                let value = format!("v{}", random.below(1_000));
                self.record.answers.push(value.clone());
                answers.insert(question.clone(), value);
            }
        }
        answers
    }

    /// Whether these answers are the last ones that the tool needs.
    fn is_last_round(&self, answers: &BTreeMap<String, String>) -> bool {
        let known: BTreeSet<_> = self.given.keys().chain(answers.keys()).collect();
        known.len() >= self.tool.questions()
    }

    fn params(
        &self,
        answers: &BTreeMap<String, String>,
        state: Option<&str>,
        arguments: &str,
    ) -> String {
        let answered = state.map(|state| {
            let responses = input_responses(answers);
            format!(r#""requestState":"{state}","inputResponses":{responses},"#)
        });
        let answered = answered.unwrap_or_default();
        format!(r#""name":"{}","arguments":{arguments},{answered}"#, self.tool.name())
    }

    fn request<'a>(&'a self, params: &'a str) -> Request<'a> {
        Request {
            method: "tools/call",
            name: Some(self.tool.name()),
            params,
            has_tasks: false,
            accept: self.accept,
        }
    }

    /// Sends one request of the call and reads the response.
    async fn round(
        &mut self,
        random: &mut Random,
        answers: &BTreeMap<String, String>,
        state: Option<&str>,
        closes: Option<Instant>,
    ) -> RoundEnd {
        if self.is_last_round(answers) {
            self.record.complete_requests += 1;
        }
        self.progress = None; // every request has its own
        let params = self.params(answers, state, &self.arguments);
        let (client, user) = (Arc::clone(&self.client), self.client.user());
        let mut response = client.send_modern(random, &user, self.request(&params)).await;
        let closing = async {
            match closes {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            end = self.read(random, &mut response) => end,
            () = closing => RoundEnd::Closed,
        }
    }

    async fn read(&mut self, random: &mut Random, response: &mut Response) -> RoundEnd {
        let client = Arc::clone(&self.client);
        while let Some(meaning) = response.next(&client).await {
            match meaning {
                Meaning::Progress(progress) => self.on_progress(progress),
                Meaning::Response(id, answer) => {
                    response.check_id(&client, &id);
                    if response.next(&client).await.is_some() {
                        let what = format!("{}: a message after the response", self.record.key);
                        client.world().violated(Property::OneResponse, what);
                    }
                    return self.on_answer(answer);
                }
                Meaning::Other => {}
                other => {
                    let what = format!("{}: received {other:?}", self.record.key);
                    client.world().violated(Property::OneResponse, what);
                }
            }
            if !client.world().is_calm() && random.chance(20) {
                return RoundEnd::Closed; // the client disconnects
            }
        }
        RoundEnd::Lost
    }

    fn on_progress(&mut self, progress: f64) {
        if let Some(last) = self.progress.replace(progress)
            && progress <= last
        {
            let what = format!("{}: {progress} after {last}", self.record.key);
            self.client.world().violated(Property::ProgressIncreases, what);
        }
    }

    fn on_answer(&mut self, answer: Answer) -> RoundEnd {
        match answer {
            // Before the answers had an effect: they can be sent again.
            Answer::Complete(Err(error))
                if error.contains(UNAVAILABLE) && !self.given.is_empty() =>
            {
                RoundEnd::Lost
            }
            Answer::Complete(outcome) => RoundEnd::Answered(outcome),
            Answer::Asked(questions, state) => {
                self.client.see_state(self.tool, &self.arguments, &state);
                RoundEnd::Asked(questions, state)
            }
            Answer::Started(_) | Answer::Read(_) => {
                let what = format!("{}: received {answer:?}", self.record.key);
                self.client.world().violated(Property::OneResponse, what);
                RoundEnd::Lost
            }
        }
    }

    /// Sends other answers to the same questions at the same time, to whatever instance.
    async fn answer_twice(
        &mut self,
        random: &mut Random,
        answers: &BTreeMap<String, String>,
        state: &str,
    ) {
        let mut others = answers.clone();
        if random.chance(500) {
            for value in others.values_mut() {
                *value = format!("w{}", random.below(1_000));
                self.record.answers.push(value.clone());
            }
        }
        self.record.is_repeated = true;
        if self.is_last_round(answers) {
            self.record.complete_requests += 1;
        }
        let params = self.params(&others, Some(state), &self.arguments);
        let user = self.client.user();
        let mut response = self.client.send_modern(random, &user, self.request(&params)).await;
        let (client, key) = (Arc::clone(&self.client), self.record.key.clone());
        tokio::spawn(async move {
            while let Some(meaning) = response.next(&client).await {
                if let Meaning::Response(_, Answer::Complete(outcome)) = meaning {
                    client.record_repeated(&key, outcome);
                    return;
                }
            }
        });
    }

    /// Presents the state of this call as another user, or with another call.
    async fn misuse(&self, random: &mut Random, answers: &BTreeMap<String, String>, state: &str) {
        let is_other_user = random.chance(500);
        let user = if is_other_user { INTRUDER.to_owned() } else { self.client.user() };
        let arguments = if is_other_user {
            self.arguments.clone()
        } else {
            self.arguments.replace("call ", "another call ")
        };
        let params = self.params(answers, Some(state), &arguments);
        let answer = self.client.ask_modern(random, &user, self.request(&params)).await;
        if answer.is_none() || matches!(answer, Some(Answer::Complete(Err(_)))) {
            return;
        }
        let what = format!("{}: {user} was answered with {answer:?}", self.record.key);
        let property = if is_other_user { Property::UsersAreSeparate } else { Property::OneAnswer };
        self.client.world().violated(property, what);
    }
}

/// The member `inputResponses` with these answers.
pub(super) fn input_responses(answers: &BTreeMap<String, String>) -> String {
    let answers = answers.iter().map(|(key, value)| {
        format!(r#""{key}":{{"action":"accept","content":{{"value":"{value}"}}}}"#)
    });
    format!("{{{}}}", answers.collect::<Vec<_>>().join(","))
}
