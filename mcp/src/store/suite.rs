//! What every implementation of the stores must do, as a test that any of them can run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Answered, Received, Session, SessionId, Signal, Stores, StreamId, StreamKey, SuspendedCall,
    Topic,
};
use crate::{
    caller::UserId,
    question::Answer,
    rpc::RequestId,
    types::{ClientCapabilities, LogLevel},
    version::ProtocolVersion,
};

/// How long a session of the suite's stores is kept: long enough for a real server, short enough
/// for one whose time cannot be advanced.
pub const SESSION_TTL: Duration = Duration::from_secs(2);

/// Runs the whole suite. `make` gives stores with nothing in them, for a session lifetime; `pass`
/// lets time pass.
///
/// # Panics
/// When the implementation breaks a promise.
pub async fn run<M, P>(make: impl Fn(Duration) -> M, pass: impl Fn(Duration) -> P)
where
    M: Future<Output = Stores>,
    P: Future<Output = ()>,
{
    sessions_live_and_end(&make(SESSION_TTL).await, &pass).await;
    subscriptions_are_kept(&make(SESSION_TTL).await).await;
    a_question_is_answered_once(&make(SESSION_TTL).await).await;
    the_last_of_many_answers_completes_the_call(&make(SESSION_TTL).await).await;
    a_waiting_call_ends_by_time_cancel_or_session(&make(SESSION_TTL).await, &pass).await;
    a_stream_is_read_in_order_and_ends_with_its_answers(&make(SESSION_TTL).await).await;
    an_answer_counts_once(&make(SESSION_TTL).await).await;
    a_dead_writer_is_replaced_by_one_error(&make(SESSION_TTL).await, &pass).await;
    a_standalone_stream_never_ends(&make(SESSION_TTL).await).await;
    signals_reach_their_topic_only(&make(SESSION_TTL).await).await;
}

fn session(user: &str) -> Session {
    Session {
        user: UserId::new(user),
        version: ProtocolVersion::V2025_11_25,
        capabilities: ClientCapabilities::default(),
        client_info: None,
        log_level: LogLevel::Info,
        subscriptions: BTreeSet::new(),
    }
}

fn call(request: i64, open: &[(&str, &str)]) -> SuspendedCall {
    SuspendedCall {
        stream: StreamId::random(),
        request: RequestId::Number(request),
        method: "tools/call".into(),
        params: None,
        answers: BTreeMap::new(),
        open: open.iter().map(|(id, key)| ((*id).to_owned(), (*key).to_owned())).collect(),
        progress: Some(0.5),
    }
}

fn yes() -> Answer {
    Answer::Result(serde_json::json!({ "action": "accept" }))
}

const MINUTE: Duration = Duration::from_mins(1);

async fn sessions_live_and_end<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    let sessions = &stores.sessions;
    let (kept, idle) = (SessionId::random(), SessionId::random());
    sessions.create(&kept, &session("test:ada")).await.expect("create");
    sessions.create(&idle, &session("test:bob")).await.expect("create");
    assert_eq!(sessions.load(&SessionId::random()).await.expect("load"), None);
    sessions.set_log_level(&kept, LogLevel::Error).await.expect("set the level");
    for _ in 0..2 {
        pass(SESSION_TTL.mul_f64(0.6)).await;
        let found = sessions.load(&kept).await.expect("load").expect("use keeps it alive");
        assert_eq!(found.log_level, LogLevel::Error);
        assert_eq!(found.user.as_str(), "test:ada");
    }
    assert_eq!(sessions.load(&idle).await.expect("load"), None, "an idle session expires");
    assert!(sessions.delete(&kept).await.expect("delete"));
    assert!(!sessions.delete(&kept).await.expect("delete"), "the second delete finds nothing");
    assert_eq!(sessions.load(&kept).await.expect("load"), None);
    sessions.set_log_level(&kept, LogLevel::Debug).await.expect("set the level");
    assert_eq!(sessions.load(&kept).await.expect("load"), None, "nothing revives a session");
    assert!(!sessions.subscribe(&kept, "x:1").await.expect("subscribe"));
    assert_eq!(sessions.load(&kept).await.expect("load"), None, "nothing revives a session");
}

async fn subscriptions_are_kept(stores: &Stores) {
    let sessions = &stores.sessions;
    let id = SessionId::random();
    sessions.create(&id, &session("test:ada")).await.expect("create");
    for uri in ["x:1", "x:2", "x:1"] {
        assert!(sessions.subscribe(&id, uri).await.expect("subscribe"));
    }
    sessions.unsubscribe(&id, "x:2").await.expect("unsubscribe");
    let found = sessions.load(&id).await.expect("load").expect("there");
    assert_eq!(found.subscriptions, BTreeSet::from(["x:1".to_owned()]));
}

async fn a_question_is_answered_once(stores: &Stores) {
    let (mine, other) = (SessionId::random(), SessionId::random());
    for id in [&mine, &other] {
        stores.sessions.create(id, &session("test:ada")).await.expect("create");
    }
    stores.questions.suspend(&mine, &call(1, &[("q1", "confirm")]), MINUTE).await.expect("suspend");
    let foreign = stores.questions.answer(&other, "q1", yes()).await.expect("answer");
    assert!(matches!(foreign, Answered::Unknown), "a question belongs to its session");
    let tries = (0..8).map(|_| stores.questions.answer(&mine, "q1", yes()));
    let mut completed = Vec::new();
    for answered in futures_util::future::join_all(tries).await {
        if let Answered::Complete(call) = answered.expect("answer") {
            completed.push(call);
        }
    }
    assert_eq!(completed.len(), 1, "one answer wins");
    assert_eq!(completed[0].answers, BTreeMap::from([("confirm".to_owned(), yes())]));
    assert_eq!(completed[0].progress, Some(0.5));
}

async fn the_last_of_many_answers_completes_the_call(stores: &Stores) {
    let id = SessionId::random();
    stores.sessions.create(&id, &session("test:ada")).await.expect("create");
    let many: Vec<(String, String)> =
        (0..8).map(|it| (format!("q{it}"), format!("k{it}"))).collect();
    let open: Vec<(&str, &str)> = many.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
    stores.questions.suspend(&id, &call(1, &open), MINUTE).await.expect("suspend");
    let tries = open.iter().map(|(question, _)| stores.questions.answer(&id, question, yes()));
    let mut complete = 0;
    for answered in futures_util::future::join_all(tries).await {
        match answered.expect("answer") {
            Answered::Complete(call) => {
                complete += 1;
                assert_eq!(call.answers.len(), 8);
            }
            Answered::Waiting => {}
            Answered::Unknown => panic!("every question is there"),
        }
    }
    assert_eq!(complete, 1);
}

async fn a_waiting_call_ends_by_time_cancel_or_session<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    let id = SessionId::random();
    let questions = &stores.questions;
    stores.sessions.create(&id, &session("test:ada")).await.expect("create");
    let short = Duration::from_millis(500);
    questions.suspend(&id, &call(1, &[("late", "k")]), short).await.expect("suspend");
    questions.suspend(&id, &call(2, &[("cancelled", "k")]), MINUTE).await.expect("suspend");
    questions.suspend(&id, &call(3, &[("deleted", "k")]), MINUTE).await.expect("suspend");
    pass(short.mul_f64(1.2)).await;
    let withdrawn = questions.withdraw(&id, &RequestId::Number(2)).await.expect("withdraw");
    assert_eq!(withdrawn.expect("it waited").request, RequestId::Number(2));
    let again = questions.withdraw(&id, &RequestId::Number(2)).await.expect("withdraw");
    assert!(again.is_none(), "the second cancel finds nothing");
    stores.sessions.delete(&id).await.expect("delete");
    for question in ["late", "cancelled", "deleted"] {
        let answered = questions.answer(&id, question, yes()).await.expect("answer");
        assert!(matches!(answered, Answered::Unknown), "{question}");
    }
}

fn key() -> StreamKey {
    StreamKey { session: SessionId::random(), stream: StreamId::random() }
}

async fn texts(stores: &Stores, key: &StreamKey, after: u64, max: usize) -> (Vec<String>, bool) {
    let page = stores.log.read(key, after, max).await.expect("read").expect("the stream is there");
    (page.events.into_iter().map(|it| it.1.to_string()).collect(), page.ended)
}

async fn a_stream_is_read_in_order_and_ends_with_its_answers(stores: &Stores) {
    let (one, two) = (RequestId::Number(1), RequestId::String("two".into()));
    let key = key();
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none(), "not opened yet");
    stores.log.append(&key, "lost").await.expect("append");
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none(), "append opens nothing");
    stores.log.open(&key, &[one.clone(), two.clone()], MINUTE).await.expect("open");
    assert_eq!(texts(stores, &key, 0, 10).await, (vec![], false));
    stores.log.append(&key, "a").await.expect("append");
    stores.log.finish(&key, &one, Some("answer one")).await.expect("finish");
    stores.log.append(&key, "b").await.expect("append");
    assert_eq!(
        texts(stores, &key, 0, 10).await,
        (vec!["a".into(), "answer one".into(), "b".into()], false)
    );
    stores.log.finish(&key, &two, None).await.expect("finish");
    stores.log.append(&key, "after the end").await.expect("append");
    assert!(!texts(stores, &key, 0, 2).await.1, "a page that is not the last");
    assert_eq!(texts(stores, &key, 2, 10).await, (vec!["b".into()], true));
    assert_eq!(texts(stores, &key, 3, 10).await, (vec![], true));
    let other = StreamKey { session: SessionId::random(), stream: key.stream.clone() };
    assert!(stores.log.read(&other, 0, 10).await.expect("read").is_none(), "another session's");
    stores.log.forget(&key.session).await.expect("forget");
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none());
}

async fn an_answer_counts_once(stores: &Stores) {
    let request = RequestId::Number(1);
    let key = key();
    stores.log.open(&key, std::slice::from_ref(&request), MINUTE).await.expect("open");
    let tries = (0..8).map(|_| stores.log.finish(&key, &request, Some("answer")));
    for tried in futures_util::future::join_all(tries).await {
        tried.expect("finish");
    }
    assert_eq!(texts(stores, &key, 0, 10).await, (vec!["answer".into()], true));
}

async fn a_dead_writer_is_replaced_by_one_error<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    let lease = Duration::from_millis(500);
    let key = key();
    let write = |request: &RequestId| format!("lost {request}");
    stores.log.open(&key, &[RequestId::Number(7)], lease).await.expect("open");
    stores.log.abandon(&key, &write).await.expect("abandon");
    assert_eq!(texts(stores, &key, 0, 10).await, (vec![], false), "the writer lives");
    pass(lease.mul_f64(0.6)).await;
    stores.log.renew(&key, lease).await.expect("renew");
    pass(lease.mul_f64(0.6)).await;
    let page = stores.log.read(&key, 0, 10).await.expect("read").expect("there");
    assert!(!page.orphaned, "the lease was renewed");
    pass(lease.mul_f64(0.6)).await;
    let page = stores.log.read(&key, 0, 10).await.expect("read").expect("there");
    assert!(page.orphaned);
    for tried in
        futures_util::future::join_all((0..8).map(|_| stores.log.abandon(&key, &write))).await
    {
        tried.expect("abandon");
    }
    assert_eq!(texts(stores, &key, 0, 10).await, (vec!["lost 7".into()], true));
    stores.log.finish(&key, &RequestId::Number(7), Some("late")).await.expect("finish");
    assert_eq!(texts(stores, &key, 0, 10).await, (vec!["lost 7".into()], true), "too late");
}

async fn a_standalone_stream_never_ends(stores: &Stores) {
    let key = StreamKey { session: SessionId::random(), stream: StreamId::standalone() };
    assert_eq!(texts(stores, &key, 0, 10).await, (vec![], false), "it exists by itself");
    stores.log.append(&key, "a").await.expect("append");
    assert_eq!(texts(stores, &key, 0, 10).await, (vec!["a".into()], false));
    let page = stores.log.read(&key, 1, 10).await.expect("read").expect("there");
    assert!(page.events.is_empty() && !page.ended && !page.orphaned);
}

async fn signals_reach_their_topic_only(stores: &Stores) {
    let (ada, bob) = (UserId::new("test:ada"), UserId::new("test:bob"));
    let mut hers = stores.bus.subscribe(Topic::User(ada.clone())).await.expect("subscribe");
    let mut his = stores.bus.subscribe(Topic::User(bob.clone())).await.expect("subscribe");
    let changed = Signal::ResourceUpdated { user: ada, uri: "x:1".into() };
    stores.bus.publish(changed.clone()).await.expect("publish");
    let his_own = Signal::ResourceListChanged { user: bob };
    stores.bus.publish(his_own.clone()).await.expect("publish");
    assert_eq!(hers.recv().await, Received::Signal(changed));
    assert_eq!(his.recv().await, Received::Signal(his_own));

    let key = key();
    let session = Topic::Session(key.session.clone());
    let mut follower = stores.bus.subscribe(session).await.expect("subscribe");
    stores.log.open(&key, &[RequestId::Number(1)], MINUTE).await.expect("open");
    stores.log.append(&key, "a").await.expect("append");
    let expected = Received::Signal(Signal::StreamChanged(key));
    assert_eq!(follower.recv().await, expected, "every change wakes a follower");
}
