//! A call as its client follows it: it reads the events, answers questions, and resumes the stream at
//! another instance whenever the connection is lost.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::StatusCode;
use tokio::{sync::Notify, time::timeout};

use super::{
    client::{Client, RETRY, SILENCE, Session, answer_body},
    message::Meaning,
    network::{Connection, Method},
    plan::{QUICK_CANCEL, ToolKind},
    properties::Property,
    random::Random,
    record::{CallRecord, Fate, SentAnswer},
    sse::{self, Event},
    world::pass,
};

/// A call that a client follows.
struct Following {
    client: Arc<Client>,
    session: Arc<Session>,
    record: CallRecord,
    /// The position after which the open connection continues.
    after: u64,
    progress: Option<f64>,
    questions: BTreeSet<String>,
    shared: Arc<Shared>,
}

/// What the tasks of a call share.
#[derive(Default)]
struct Shared {
    /// Whether a cancellation was acknowledged.
    is_cancelled: AtomicBool,
    answers: Mutex<Vec<SentAnswer>>,
    stream: Mutex<Option<String>>,
    /// Notified when the stream is known.
    stream_opened: Notify,
    cancelled_after: Mutex<Option<u64>>,
}

/// Calls a tool, and follows the call to its end. `cancel`: cancels it after this time in
/// milliseconds.
pub(super) async fn call(
    client: Arc<Client>,
    part: u64,
    tool: ToolKind,
    cancel: Option<u64>,
    mut random: Random,
) {
    let session = client.session(&mut random).await;
    let request = client.next_id();
    let key = format!("call {part}");
    let steps = random.below(5);
    let pause = match random.below(100) {
        0..60 => random.below(60),
        // Longer than the lease of a job.
        60..66 if tool.is_job() => random.between(8_000, 14_000),
        _ => random.below(4_000),
    };
    let token = if random.chance(800) { r#","_meta":{"progressToken":"t"}"# } else { "" };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{request},"method":"tools/call","params":{{"name":"{}","arguments":{{"key":"{key}","steps":{steps},"pause":{pause}}}{token}}}}}"#,
        tool.name()
    );
    if tool == ToolKind::Touch {
        client.touches(false); // its session may end first
    }
    let needed = (steps + 1) * pause;
    let record = CallRecord::new(key, (tool, steps), request, session.id.clone(), needed);
    let began = client.world().now();
    let shared = Arc::new(Shared::default());
    let mut following = Following {
        client: Arc::clone(&client),
        session: Arc::clone(&session),
        record,
        after: 0,
        progress: None,
        questions: BTreeSet::new(),
        shared: Arc::clone(&shared),
    };
    let cancelling = cancel.map(|after| {
        let (client, mut random) = (Arc::clone(&client), Random::new(random.next()));
        tokio::spawn(async move {
            if after < QUICK_CANCEL {
                drop(timeout(SILENCE, shared.stream_opened.notified()).await);
            }
            pass(after).await;
            let body = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{request}}}}}"#
            );
            // Before the stream exists, a cancellation may overtake its request.
            let stream = lock(&shared.stream).clone();
            if client.deliver(&mut random, &session, &body).await {
                shared.is_cancelled.store(true, Ordering::Relaxed);
                let store = &client.cluster.store;
                *lock(&shared.cancelled_after) = match stream {
                    Some(stream) => store.last_event(&session.id, &stream).await,
                    None => None,
                };
            }
        })
    });
    client.world().note(|| format!("client {} {}: {body}", client.number, following.record.key));
    following.record.fate = following.follow(&mut random, body).await;
    following.shared.stream_opened.notify_one(); // no stream will be opened any more
    if let Some(cancelling) = cancelling {
        drop(cancelling.await);
    }
    let mut record = following.record;
    record.answers.clone_from(&lock(&following.shared.answers));
    record.cancelled_after = *lock(&following.shared.cancelled_after);
    record.duration = client.world().now() - began;
    client.world().note(|| {
        let CallRecord { key, fate, response, .. } = &record;
        format!("client {} {key}: {fate:?} {response:?}", client.number)
    });
    client.record(record);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How reading a connection has ended.
enum ReadEnd {
    /// The connection was closed or lost.
    Closed,
    /// The session does not exist.
    NoSession,
    /// The stream does not exist.
    NoStream,
    /// The request was refused; it may be repeated.
    Refused,
}

impl Following {
    async fn follow(&mut self, random: &mut Random, body: String) -> Fate {
        let accept = match random.below(20) {
            0 => "application/json",
            1..4 => "text/event-stream",
            _ => "application/json, text/event-stream",
        };
        let request = (Method::Post, [("accept", accept)]);
        let (client, session) = (Arc::clone(&self.client), Arc::clone(&self.session));
        let user = client.user();
        let mut connection = {
            let request = (request.0, request.1.as_slice());
            client.send(random, &session, &user, request, body).await
        };
        loop {
            // When the connection ends, the cancellation may have been the reason.
            let was_cancelled = self.shared.is_cancelled.load(Ordering::Relaxed);
            match self.read(random, &mut connection).await {
                ReadEnd::NoSession => {
                    client.lost(&session);
                    return Fate::Lost;
                }
                ReadEnd::NoStream => {
                    if !session.may_be_lost(&client.cluster) {
                        let what = format!("{}: its stream does not exist", self.record.key);
                        client.world().violated(Property::EventsOnceInOrder, what);
                    }
                    return Fate::Lost;
                }
                ReadEnd::Closed | ReadEnd::Refused => {}
            }
            drop(connection);
            if self.record.response.is_some() {
                return Fate::Answered;
            }
            let Some(stream) = &self.record.stream else {
                return Fate::Unknown;
            };
            if was_cancelled {
                return Fate::Cancelled;
            }
            // Sometimes the client forgets what it has received.
            let received = u64::try_from(self.record.events.len()).unwrap_or(0);
            self.after = if random.chance(150) { random.below(received + 1) } else { received };
            let last = format!("{stream}.{}", self.after);
            pass(random.below(RETRY)).await;
            let resume = [("last-event-id", last.as_str()), ("accept", "text/event-stream")];
            let request = (Method::Get, resume.as_slice());
            connection = client.send(random, &session, &user, request, String::new()).await;
            client.world().note(|| format!("{}: resumes after {last}", self.record.key));
        }
    }

    async fn read(&mut self, random: &mut Random, connection: &mut Connection) -> ReadEnd {
        let Some(head) = self.client.head(connection).await else {
            return ReadEnd::Closed;
        };
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return ReadEnd::NoSession,
            StatusCode::BAD_REQUEST => return ReadEnd::NoStream,
            _ => return ReadEnd::Refused,
        }
        if !head.is_events {
            if let Some(body) = connection.chunk().await {
                self.receive(random, &String::from_utf8_lossy(&body));
            }
            return ReadEnd::Closed;
        }
        while let Ok(Some(chunk)) = timeout(SILENCE, connection.chunk()).await {
            for event in sse::events(&String::from_utf8_lossy(&chunk)) {
                self.on_event(random, &event);
            }
            if !self.client.world().is_calm() && random.chance(30) {
                break; // the client disconnects
            }
        }
        ReadEnd::Closed
    }

    fn on_event(&mut self, random: &mut Random, Event { id, data }: &Event<'_>) {
        let Some(data) = data else {
            return;
        };
        let Some(id) = id else {
            // A response that needed no stream.
            self.receive(random, data);
            return;
        };
        self.client.see_event(id);
        let Some((stream, number)) = id.rsplit_once('.') else {
            return self.misdelivered(&format!("a malformed event id: {id}"));
        };
        let number: u64 = number.parse().unwrap_or(0);
        if self.record.stream.is_none() {
            self.record.stream = Some(stream.to_owned());
            *lock(&self.shared.stream) = Some(stream.to_owned());
            self.shared.stream_opened.notify_one();
        }
        if self.record.stream.as_deref() != Some(stream) {
            return self.misdelivered(&format!("an event of another stream: {id}"));
        }
        if data.is_empty() {
            if number != self.after {
                self.misdelivered(&format!("begins after {number} instead of {}", self.after));
            }
            return;
        }
        if number != self.after + 1 {
            return self.misdelivered(&format!("event {number} after event {}", self.after));
        }
        self.after = number;
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        match self.record.events.get(index) {
            Some(before) if before == data => {}
            Some(before) => {
                let what = format!("event {number} was {before}, and is {data} now");
                self.misdelivered(&what);
            }
            None => {
                self.receive(random, data);
                self.record.events.push((*data).to_owned());
            }
        }
    }

    fn misdelivered(&self, what: &str) {
        let what = format!("{}: {what}", self.record.key);
        self.client.world().violated(Property::EventsOnceInOrder, what);
    }

    /// Receives a message for the first time.
    fn receive(&mut self, random: &mut Random, message: &str) {
        let world = Arc::clone(self.client.world());
        let key = &self.record.key;
        world.note(|| format!("client {} {key}: receives {message}", self.client.number));
        match Meaning::of(message) {
            Some(Meaning::Response(id, outcome)) => {
                if id != self.record.request.to_string() {
                    world.violated(Property::OneResponse, format!("{key}: a response to {id}"));
                }
                if let Some(before) = self.record.response.replace(outcome) {
                    let what = format!("{key}: {message} after {before:?}");
                    world.violated(Property::OneResponse, what);
                }
            }
            Some(Meaning::Progress(progress)) => {
                if let Some(last) = self.progress.replace(progress)
                    && progress <= last
                {
                    let what = format!("{key}: {progress} after {last}");
                    world.violated(Property::ProgressIncreases, what);
                }
            }
            Some(Meaning::Question(id)) => {
                self.client.see_question(&id);
                if !self.questions.insert(id.clone()) {
                    let what = format!("{key}: the question {id} is asked twice");
                    world.violated(Property::OneAnswer, what);
                }
                self.answer(random, &id);
            }
            Some(Meaning::Other) => {}
            None => world.violated(Property::OneResponse, format!("{key}: {message}")),
        }
    }

    /// Answers a question, in one of several ways.
    fn answer(&mut self, random: &mut Random, question: &str) {
        let behavior = random.below(100);
        let delay = match behavior {
            0..70 => random.below(400),
            70..92 => random.below(9_000),
            _ => random.below(20_000),
        };
        self.record.needed += delay;
        let is_twice = random.chance(250);
        let is_at_once = random.chance(500);
        let value = format!("v{}", random.below(1_000));
        let sends = |value: String, is_late: bool| {
            let answers = &self.shared.answers;
            let sent = SentAnswer { value: value.clone(), is_late };
            lock(answers).push(sent);
            answer_body(question, &value)
        };
        let other = format!("w{}", random.below(1_000));
        let first = sends(value, false);
        let second = is_twice.then(|| sends(other, !is_at_once));
        let (client, session) = (Arc::clone(&self.client), Arc::clone(&self.session));
        let mut randoms = [Random::new(random.next()), Random::new(random.next())];
        tokio::spawn(async move {
            pass(delay).await;
            let [one, two] = &mut randoms;
            let answering = client.deliver(one, &session, &first);
            match second {
                Some(second) if is_at_once => {
                    tokio::join!(answering, client.deliver(two, &session, &second));
                }
                Some(second) => {
                    if answering.await {
                        client.deliver(two, &session, &second).await;
                    }
                }
                None => drop(answering.await),
            }
        });
    }
}
