//! Values in Redis that a process cannot decrypt, that were moved to another place, or that the
//! previous version stored in plain text.

#![expect(clippy::unwrap_used, reason = "a story that does not go on as told is a failure")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mcp::{
    ClientAnswer, ContentKey, ContentKeys, RequestId, Signal, Stores,
    job::JobId,
    store::{
        Answered, OpenQuestion, Received, SessionId, StoredCall, StreamId, StreamKey, Topic,
        Writer, redis::Connection,
    },
};
use oauth::pending::{Key, PENDING_TTL};
use platform::clock::{Clock, MockClock, SystemClock};
use redis::{Client, Value, aio::MultiplexedConnection};
use serde_json::json;
use tests::redis::{fresh_prefix, shared};

const MINUTE: Duration = Duration::from_mins(1);

/// Instances with different keys, on one Redis.
struct Instances {
    prefix: String,
    url: &'static str,
    redis: MultiplexedConnection,
}

impl Instances {
    async fn new() -> Self {
        let url = shared().await;
        let client = Client::open(url).unwrap();
        let redis = client.get_multiplexed_async_connection().await.unwrap();
        Self { prefix: fresh_prefix(), url, redis }
    }

    fn connection(&self) -> Connection {
        Connection::new(self.url, &self.prefix).unwrap()
    }

    /// The stores of an instance with these keys.
    fn with(&self, keys: &[u8]) -> Stores {
        Stores::in_redis(&self.connection(), MINUTE, keys_of(keys)).unwrap()
    }

    async fn run<T: redis::FromRedisValue>(&mut self, command: &[&str]) -> T {
        let mut sent = redis::cmd(command[0]);
        sent.arg(&command[1..]);
        sent.query_async(&mut self.redis).await.unwrap()
    }

    /// The only key whose name contains `part`.
    async fn key(&mut self, part: &str) -> String {
        let pattern = format!("{}*{part}*", self.prefix);
        let found: Vec<String> = self.run(&["KEYS", &pattern]).await;
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        found[0].clone()
    }
}

fn keys_of(numbers: &[u8]) -> ContentKeys {
    let key = |number: &u8| ContentKey::new([*number; 8], [*number; 32]);
    ContentKeys::new(numbers.iter().map(key), "SETTING")
}

fn call() -> StoredCall {
    StoredCall {
        method: "tools/call".to_owned(),
        params: None,
        answers: BTreeMap::new(),
        asked_at: None,
        progress: None,
    }
}

fn said(text: &str) -> ClientAnswer {
    ClientAnswer::Result(json!({ "said": text }))
}

async fn opened(stores: &Stores, lease: Duration) -> Writer {
    let key = StreamKey { session: SessionId::random(), stream: StreamId::random() };
    let request = RequestId::Number(1);
    stores.log.open(&key, &[(request.clone(), Some(call()))], lease).await.unwrap();
    Writer { key, request, term: 0 }
}

/// A call that asks these questions, each with the same key as id.
async fn asking(stores: &Stores, asked: &StoredCall, questions: &[&str]) -> Writer {
    let writer = opened(stores, MINUTE).await;
    suspend(stores, &writer, asked, questions).await;
    writer
}

async fn suspend(stores: &Stores, writer: &Writer, asked: &StoredCall, questions: &[&str]) {
    let message = |name: &&str| OpenQuestion {
        id: format!("id-of-{name}"),
        key: (*name).to_owned(),
        message: format!("asks {name}"),
    };
    let open: Vec<_> = questions.iter().map(message).collect();
    assert!(stores.questions.suspend(writer, asked, &open, MINUTE, MINUTE).await.unwrap());
}

async fn answered(stores: &Stores, writer: &Writer, question: &str, lease: Duration) -> Answered {
    let (session, id) = (&writer.key.session, format!("id-of-{question}"));
    stores.questions.answer(session, &id, said(question), lease).await.unwrap()
}

async fn texts(stores: &Stores, key: &StreamKey) -> Option<Vec<String>> {
    let page = stores.log.read(key, 0, 10).await.unwrap()?;
    Some(page.events.iter().map(|(_, message)| message.to_string()).collect())
}

/// Waits until a lease of a millisecond has lapsed.
async fn lapsed() {
    #[expect(clippy::disallowed_methods, reason = "time of a real server cannot be advanced")]
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_decrypted_has_expired() {
    let instances = Instances::new().await;
    let (here, stranger) = (instances.with(&[1]), instances.with(&[2]));
    let writer = opened(&here, MINUTE).await;
    assert_eq!(texts(&stranger, &writer.key).await.unwrap(), [""; 0], "it is empty");
    here.log.write(&writer, 1, "a message").await.unwrap();
    assert_eq!(texts(&stranger, &writer.key).await, None);
    assert_eq!(texts(&here, &writer.key).await.unwrap(), ["a message"]);
    assert_eq!(texts(&instances.with(&[2, 1]), &writer.key).await.unwrap(), ["a message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_stream_goes_on_without_what_cannot_be_decrypted() {
    let instances = Instances::new().await;
    let (here, stranger) = (instances.with(&[1]), instances.with(&[2]));
    let key = StreamKey { session: SessionId::random(), stream: StreamId::standalone() };
    here.log.append(&key.session, "one").await.unwrap();
    stranger.log.append(&key.session, "two").await.unwrap();
    assert_eq!(texts(&here, &key).await.unwrap(), ["one", ""]);
    assert_eq!(texts(&stranger, &key).await.unwrap(), ["", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_decrypted_is_answered_as_a_lost_one() {
    let instances = Instances::new().await;
    let (here, stranger) = (instances.with(&[1]), instances.with(&[2]));
    let brief = Duration::from_millis(1);
    // The stranger cannot read the call, and here the answer cannot be read.
    for answering in [&here, &stranger] {
        let writer = asking(&here, &call(), &["one"]).await;
        let taken = answered(answering, &writer, "one", brief).await;
        lapsed().await;
        if std::ptr::eq(answering, &raw const here) {
            assert!(matches!(taken, Answered::Complete(..)), "{taken:?}");
            let orphans = stranger.log.take_over(&writer.key, MINUTE).await.unwrap();
            assert!(orphans[0].call.is_none(), "{orphans:?}");
            continue;
        }
        assert!(matches!(taken, Answered::Unknown), "{taken:?}");
        let orphans = here.log.take_over(&writer.key, MINUTE).await.unwrap();
        assert!(orphans[0].call.is_none(), "{orphans:?}");
        // No instance takes it over again: it has a lease, within which it is answered.
        assert!(here.log.take_over(&writer.key, MINUTE).await.unwrap().is_empty());
        here.log.finish(&orphans[0].writer, Some("an error")).await.unwrap();
        let page = here.log.read(&writer.key, 1, 10).await.unwrap().unwrap();
        assert!(page.ended && &*page.events[0].1 == "an error", "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_read_for_their_own_question_only() {
    let mut instances = Instances::new().await;
    let here = instances.with(&[1]);
    let earlier = StoredCall { answers: [("zero".to_owned(), said("zero"))].into(), ..call() };
    let swaps: [(&str, &str, &str); 3] = [
        ("call:", "answer:one", "answer:two"),
        ("call:", "answer:zero", "answer:one"),
        ("call:", "call", "answer:one"),
    ];
    for (hash, from, to) in swaps {
        let writer = asking(&here, &earlier, &["one", "two", "three"]).await;
        for question in ["one", "two"] {
            let waits = answered(&here, &writer, question, MINUTE).await;
            assert!(matches!(waits, Answered::Waiting), "{waits:?}");
        }
        let key = instances.key(&format!("{{{}}}:{hash}", writer.key.session.as_str())).await;
        let value: Value = instances.run(&["HGET", &key, from]).await;
        let value: Vec<u8> = redis::from_redis_value(value).unwrap();
        let mut set = redis::cmd("HSET");
        let () = set.arg(&key).arg(to).arg(value).query_async(&mut instances.redis).await.unwrap();
        let last = answered(&here, &writer, "three", MINUTE).await;
        assert!(matches!(last, Answered::Unknown), "{from} as {to}: {last:?}");
    }
    let writer = asking(&here, &earlier, &["one"]).await;
    let Answered::Complete(second, complete) = answered(&here, &writer, "one", MINUTE).await else {
        panic!("nothing was moved")
    };
    assert_eq!(complete.answers.len(), 2);
    // Asked again, it has the answers of both rounds.
    suspend(&here, &second, &complete, &["two"]).await;
    let Answered::Complete(_, complete) = answered(&here, &writer, "two", MINUTE).await else {
        panic!("nothing was moved")
    };
    let expected = ["one", "two", "zero"].map(|name| (name.to_owned(), said(name)));
    assert_eq!(complete.answers, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_in_its_own_stream_only() {
    let mut instances = Instances::new().await;
    let here = instances.with(&[1]);
    let (one, other) = (opened(&here, MINUTE).await, opened(&here, MINUTE).await);
    here.log.write(&one, 1, "a secret").await.unwrap();
    let key = instances.key(&format!("{{{}}}:log:", one.key.session.as_str())).await;
    let moved = key.replace(one.key.session.as_str(), other.key.session.as_str());
    let moved = moved.replace(one.key.stream.as_str(), other.key.stream.as_str());
    let _: u64 = instances.run(&["COPY", &key, &moved]).await;
    assert_eq!(texts(&here, &other.key).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_previous_version_stored_in_plain_text_is_read() {
    let mut instances = Instances::new().await;
    let here = instances.with(&[1]);
    let writer = asking(&here, &call(), &["one", "two"]).await;
    let session = writer.key.session.as_str().to_owned();
    let log = instances.key(&format!("{{{session}}}:log:")).await;
    let hash = instances.key(&format!("{{{session}}}:call:")).await;
    let plain = r#"1{"method":"tools/call","params":{"name":"a"},"answers":{}}"#;
    let _: u64 = instances.run(&["HSET", &hash, "call", plain]).await;
    let _: String = instances.run(&["XADD", &log, "9-0", "m", "1a plain event"]).await;
    assert_eq!(texts(&here, &writer.key).await.unwrap(), ["asks one", "asks two", "a plain event"]);

    // The previous version stores one answer, this one the other.
    let answer = format!("1{}", serde_json::to_string(&said("plain")).unwrap());
    let _: u64 = instances.run(&["HSET", &hash, "answer:one", &answer]).await;
    let _: u64 = instances.run(&["HINCRBY", &hash, "open", "-1"]).await;
    let Answered::Complete(_, complete) = answered(&here, &writer, "two", MINUTE).await else {
        panic!("it was the last one")
    };
    let expected = [("one", said("plain")), ("two", said("two"))];
    assert_eq!(complete.answers, expected.map(|(name, it)| (name.to_owned(), it)).into());
    assert_eq!(complete.params.unwrap().get(), r#"{"name":"a"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_cannot_be_decrypted_is_ignored() {
    let mut instances = Instances::new().await;
    let (here, stranger) = (instances.with(&[1]), instances.with(&[2]));
    let job = JobId::random();
    let mut signals = here.bus.subscribe(Topic::Job(job.clone())).await.unwrap();
    let message = |text: &str| Signal::JobMessage {
        job: job.clone(),
        progress: Some(0.5),
        message: text.into(),
    };
    stranger.bus.publish(message("of a stranger")).await.unwrap();
    here.bus.publish(message("encrypted")).await.unwrap();
    assert_eq!(signals.recv().await, Received::Signal(message("encrypted")));
    // The previous version publishes in plain text.
    let channel = format!("{}job:{job}", instances.prefix);
    let plain = format!("1{}", serde_json::to_string(&message("plain")).unwrap());
    let _: u64 = instances.run(&["PUBLISH", &channel, &plain]).await;
    assert_eq!(signals.recv().await, Received::Signal(message("plain")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_sign_in_that_cannot_be_decrypted_has_expired() {
    let mut instances = Instances::new().await;
    let clock: Arc<dyn Clock> = Arc::new(MockClock::at(SystemClock.now()));
    let stores = |keys| oauth::Stores::in_redis(&instances.connection(), &clock, keys_of(keys));
    let (here, stranger) = (stores(&[1]).pending, stores(&[2]).pending);
    let (one, two) = (Key::new("suite", "one"), Key::new("suite", "two"));
    for key in [&one, &two] {
        here.put(key, b"a state".to_vec(), PENDING_TTL).await.unwrap();
        assert_eq!(stranger.peek(key).await.unwrap(), None);
        assert_eq!(here.peek(key).await.unwrap().unwrap(), b"a state");
    }
    let name = |key: &Key| format!("{}{}", instances.prefix, key.as_str());
    let (from, to) = (name(&one), name(&two));
    let _: u64 = instances.run(&["COPY", &from, &to, "REPLACE"]).await;
    assert_eq!(here.take(&two).await.unwrap(), None, "it was stored for another key");
    assert_eq!(here.take(&one).await.unwrap().unwrap(), b"a state");
}
