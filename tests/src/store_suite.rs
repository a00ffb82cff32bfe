//! The contract of the MCP stores (`mcp::store`) as a test that any implementation can run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mcp::{
    ClientAnswer, ClientCapabilities, LogLevel, ProtocolVersion, RequestId, UserId,
    job::JobId,
    store::{
        Answered, CatalogDigest, DeletedSession, MAX_EVENTS, MAX_SESSIONS_PER_USER,
        MAX_STREAM_BYTES, MAX_SUBSCRIPTION_BYTES, Mark, OpenQuestion, Received, Session, SessionId,
        Signal, StoredCall, Stores, StreamId, StreamKey, Topic, Writer,
    },
};

/// How long a session of the suite's stores is kept: long enough for a real server, short enough
/// for one whose time cannot be advanced.
pub const SESSION_TTL: Duration = Duration::from_secs(6);

/// Runs the whole suite. `make` creates empty stores with the given session lifetime; `pass` lets
/// time pass.
///
/// # Panics
/// If the implementation violates the contract.
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
    a_repeated_write_has_no_effect(&make(SESSION_TTL).await).await;
    a_cancelled_request_has_no_writer(&make(SESSION_TTL).await).await;
    an_answer_counts_once(&make(SESSION_TTL).await).await;
    a_job_may_write_from_anywhere(&make(SESSION_TTL).await, &pass).await;
    a_lost_call_is_taken_over_by_one(&make(SESSION_TTL).await, &pass).await;
    an_answered_question_makes_a_call_that_can_be_taken_over(&make(SESSION_TTL).await, &pass).await;
    a_standalone_stream_never_ends(&make(SESSION_TTL).await).await;
    signals_reach_their_topic_only(&make(SESSION_TTL).await).await;
    subscribers_are_found(&make(SESSION_TTL).await).await;
    the_newest_catalog_is_known(&make(SESSION_TTL).await).await;
    a_session_belongs_to_its_user(&make(SESSION_TTL).await).await;
    the_longest_idle_session_makes_room(&make(SESSION_TTL).await, &pass).await;
    subscriptions_are_bounded_in_bytes(&make(SESSION_TTL).await).await;
    a_stream_is_bounded_in_events_and_bytes(&make(SESSION_TTL).await).await;
}

fn session(user: &str) -> Session {
    Session {
        user: UserId::new(user),
        version: ProtocolVersion::V2025_11_25,
        capabilities: ClientCapabilities::default(),
        client_info: None,
        log_level: LogLevel::Info,
        subscriptions: BTreeSet::new(),
        catalog: CatalogDigest::default(),
        began: Some(1_700_000_000),
    }
}

fn ada() -> UserId {
    UserId::new("test:ada")
}

fn call() -> StoredCall {
    StoredCall {
        method: "tools/call".into(),
        params: None,
        answers: BTreeMap::new(),
        asked_at: Some(1_700_000_000),
        progress: Some(0.5),
    }
}

/// The first run of the only request of a new stream.
async fn opened(stores: &Stores, session: &SessionId, request: i64, lease: Duration) -> Writer {
    let key = StreamKey { session: session.clone(), stream: StreamId::random() };
    let request = RequestId::Number(request);
    let requests = [(request.clone(), Some(call()))];
    stores.log.open(&key, &requests, lease).await.expect("open");
    Writer { key, request, term: 0 }
}

/// A call that waits for answers.
async fn suspended(
    stores: &Stores,
    session: &SessionId,
    request: i64,
    open: &[(&str, &str)],
    ttl: Duration,
) -> Writer {
    let writer = opened(stores, session, request, MINUTE).await;
    let open: Vec<_> = open
        .iter()
        .map(|(id, key)| OpenQuestion {
            id: (*id).to_owned(),
            key: (*key).to_owned(),
            message: format!("asked {id}"),
        })
        .collect();
    let call = call();
    for _ in 0..2 {
        let suspending = stores.questions.suspend(&writer, &call, &open, ttl, MINUTE);
        assert!(suspending.await.expect("suspend"));
    }
    let asked: Vec<_> = open.into_iter().map(|it| it.message).collect();
    let logged = texts(stores, &writer.key, 0, MAX_EVENTS).await.0;
    assert_eq!(logged, asked, "each question is asked once");
    writer
}

fn yes() -> ClientAnswer {
    ClientAnswer::Result(serde_json::json!({ "action": "accept" }))
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
    assert_eq!(sessions.load(&ada(), &SessionId::random()).await.expect("load"), None);
    sessions.set_log_level(&kept, LogLevel::Error).await.expect("set the level");
    for _ in 0..2 {
        pass(SESSION_TTL.mul_f64(0.6)).await;
        let found = sessions.load(&ada(), &kept).await.expect("load").expect("use keeps it alive");
        assert_eq!(found.log_level, LogLevel::Error);
        assert_eq!(found.user.as_str(), "test:ada");
    }
    assert_eq!(
        sessions.load(&UserId::new("test:bob"), &idle).await.expect("load"),
        None,
        "an idle session expires"
    );
    assert_eq!(sessions.delete(&UserId::new("test:bob"), &idle).await.expect("delete"), None);
    let deleted = sessions.delete(&ada(), &kept).await.expect("delete");
    assert_eq!(deleted, Some(DeletedSession { began: session("test:ada").began }));
    assert_eq!(
        sessions.delete(&ada(), &kept).await.expect("delete"),
        None,
        "the second delete finds nothing"
    );
    assert_eq!(sessions.load(&ada(), &kept).await.expect("load"), None);
    sessions.set_log_level(&kept, LogLevel::Debug).await.expect("set the level");
    assert_eq!(
        sessions.load(&ada(), &kept).await.expect("load"),
        None,
        "nothing revives a session"
    );
    assert!(!sessions.subscribe(&kept, "x:1").await.expect("subscribe"));
    assert_eq!(
        sessions.load(&ada(), &kept).await.expect("load"),
        None,
        "nothing revives a session"
    );
}

async fn subscriptions_are_kept(stores: &Stores) {
    let sessions = &stores.sessions;
    let id = SessionId::random();
    sessions.create(&id, &session("test:ada")).await.expect("create");
    for uri in ["x:1", "x:2", "x:1"] {
        assert!(sessions.subscribe(&id, uri).await.expect("subscribe"));
    }
    sessions.unsubscribe(&id, "x:2").await.expect("unsubscribe");
    let found = sessions.load(&ada(), &id).await.expect("load").expect("there");
    assert_eq!(found.subscriptions, BTreeSet::from(["x:1".to_owned()]));
}

async fn a_question_is_answered_once(stores: &Stores) {
    let (mine, other) = (SessionId::random(), SessionId::random());
    for id in [&mine, &other] {
        stores.sessions.create(id, &session("test:ada")).await.expect("create");
    }
    let first = suspended(stores, &mine, 1, &[("q1", "confirm")], MINUTE).await;
    let foreign = stores.questions.answer(&other, "q1", yes(), MINUTE).await.expect("answer");
    assert!(matches!(foreign, Answered::Unknown), "a question belongs to its session");
    let tries = (0..8).map(|_| stores.questions.answer(&mine, "q1", yes(), MINUTE));
    let mut completed = Vec::new();
    for answered in futures_util::future::join_all(tries).await {
        if let Answered::Complete(writer, call) = answered.expect("answer") {
            completed.push((writer, call));
        }
    }
    assert_eq!(completed.len(), 1, "one answer wins");
    let (second, call) = &completed[0];
    assert_eq!(call.answers, BTreeMap::from([("confirm".to_owned(), yes())]));
    assert_eq!(call.progress, Some(0.5));
    assert_eq!((&second.key, &second.request), (&first.key, &first.request));
    assert!(second.term > first.term, "it is another run");
    assert!(!stores.log.write(&first, 1, "late").await.expect("write"), "the first one is over");
    assert!(stores.log.write(second, 1, "a").await.expect("write"));
    let expected = (vec!["asked q1".into(), "a".into()], false);
    assert_eq!(texts(stores, &first.key, 0, 10).await, expected);
}

async fn the_last_of_many_answers_completes_the_call(stores: &Stores) {
    let id = SessionId::random();
    stores.sessions.create(&id, &session("test:ada")).await.expect("create");
    let many: Vec<(String, String)> =
        (0..8).map(|it| (format!("q{it}"), format!("k{it}"))).collect();
    let open: Vec<(&str, &str)> = many.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
    suspended(stores, &id, 1, &open, MINUTE).await;
    let tries = open.iter().map(|it| stores.questions.answer(&id, it.0, yes(), MINUTE));
    let mut complete = 0;
    for answered in futures_util::future::join_all(tries).await {
        match answered.expect("answer") {
            Answered::Complete(_, call) => {
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
    let short = Duration::from_secs(2);
    suspended(stores, &id, 1, &[("late", "k")], short).await;
    let cancelled = suspended(stores, &id, 2, &[("cancelled", "k")], MINUTE).await;
    suspended(stores, &id, 3, &[("deleted", "k")], MINUTE).await;
    pass(short.mul_f64(1.2)).await;
    let withdrawn = questions.withdraw(&id, &RequestId::Number(2)).await.expect("withdraw");
    assert_eq!(withdrawn, Some(cancelled), "it waited");
    let again = questions.withdraw(&id, &RequestId::Number(2)).await.expect("withdraw");
    assert!(again.is_none(), "the second cancel finds nothing");
    stores.sessions.delete(&ada(), &id).await.expect("delete");
    for question in ["late", "cancelled", "deleted"] {
        let answered = questions.answer(&id, question, yes(), MINUTE).await.expect("answer");
        assert!(matches!(answered, Answered::Unknown), "{question}");
    }
}

async fn texts(stores: &Stores, key: &StreamKey, after: u64, max: usize) -> (Vec<String>, bool) {
    let page = stores.log.read(key, after, max).await.expect("read").expect("the stream is there");
    (page.events.into_iter().map(|it| it.1.to_string()).collect(), page.ended)
}

async fn a_stream_is_read_in_order_and_ends_with_its_answers(stores: &Stores) {
    let key = StreamKey { session: SessionId::random(), stream: StreamId::random() };
    let writer = |request| Writer { key: key.clone(), request, term: 0 };
    let (one, two) = (RequestId::Number(1), RequestId::String("two".into()));
    let requests = [(one.clone(), None), (two.clone(), None)];
    let (one, two) = (writer(one), writer(two));
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none(), "not opened yet");
    assert!(!stores.log.write(&one, 1, "lost").await.expect("write"), "writing opens nothing");
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none());
    stores.log.open(&key, &requests, MINUTE).await.expect("open");
    assert_eq!(texts(stores, &key, 0, 10).await, (vec![], false));
    assert!(stores.log.write(&one, 1, "a").await.expect("write"));
    stores.log.finish(&one, Some("answer one")).await.expect("finish");
    assert!(!stores.log.write(&one, 2, "too late").await.expect("write"));
    assert!(stores.log.write(&two, 1, "b").await.expect("write"));
    assert_eq!(
        texts(stores, &key, 0, 10).await,
        (vec!["a".into(), "answer one".into(), "b".into()], false)
    );
    stores.log.finish(&two, None).await.expect("finish");
    assert!(!stores.log.renew(&two, MINUTE).await.expect("renew"), "it is over");
    assert!(!texts(stores, &key, 0, 2).await.1, "a page that is not the last");
    assert_eq!(texts(stores, &key, 2, 10).await, (vec!["b".into()], true));
    assert_eq!(texts(stores, &key, 3, 10).await, (vec![], true));
    let other = StreamKey { session: SessionId::random(), stream: key.stream.clone() };
    assert!(stores.log.read(&other, 0, 10).await.expect("read").is_none(), "another session's");
    let another = StreamKey { session: key.session.clone(), stream: StreamId::random() };
    stores.log.open(&another, &[(RequestId::Number(3), None)], MINUTE).await.expect("open");
    stores.log.append(&key.session, "of no call").await.expect("append");
    let listed = stores.log.call_streams(&key.session).await.expect("list");
    assert_eq!(listed.len(), 2, "and none of another session, nor the standalone one");
    stores.log.forget_stream(&key).await.expect("forget");
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none());
    let listed = stores.log.call_streams(&key.session).await.expect("list");
    assert_eq!(listed, std::slice::from_ref(&another.stream));
    stores.log.forget(&key.session).await.expect("forget");
    assert!(stores.log.read(&another, 0, 10).await.expect("read").is_none());
    assert!(stores.log.call_streams(&key.session).await.expect("list").is_empty());
    assert!(stores.log.read(&key, 0, 10).await.expect("read").is_none());
}

async fn a_repeated_write_has_no_effect(stores: &Stores) {
    let writer = opened(stores, &SessionId::random(), 1, MINUTE).await;
    for (number, message) in [(1, "a"), (1, "a"), (2, "b"), (1, "a"), (2, "b")] {
        assert!(stores.log.write(&writer, number, message).await.expect("write"));
    }
    assert_eq!(texts(stores, &writer.key, 0, 10).await, (vec!["a".into(), "b".into()], false));
}

async fn a_cancelled_request_has_no_writer(stores: &Stores) {
    let session = SessionId::random();
    let one = opened(stores, &session, 1, MINUTE).await;
    let two = opened(stores, &session, 2, MINUTE).await;
    stores.log.cancel(&session, &one.request).await.expect("cancel");
    assert!(!stores.log.renew(&one, MINUTE).await.expect("renew"), "its writer learns of it");
    assert!(!stores.log.write(&one, 1, "late").await.expect("write"));
    stores.log.finish(&one, Some("late")).await.expect("finish");
    assert_eq!(texts(stores, &one.key, 0, 10).await, (vec![], true), "it ends without an answer");
    assert!(stores.log.renew(&two, MINUTE).await.expect("renew"), "another request continues");
    stores.log.cancel(&SessionId::random(), &two.request).await.expect("cancel");
    assert!(
        stores.log.renew(&two, MINUTE).await.expect("renew"),
        "a cancel in another session has no effect"
    );
}

async fn an_answer_counts_once(stores: &Stores) {
    let writer = opened(stores, &SessionId::random(), 1, MINUTE).await;
    let tries = (0..8).map(|_| stores.log.finish(&writer, Some("answer")));
    for tried in futures_util::future::join_all(tries).await {
        tried.expect("finish");
    }
    assert_eq!(texts(stores, &writer.key, 0, 10).await, (vec!["answer".into()], true));
}

async fn a_job_may_write_from_anywhere<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    let log = &stores.log;
    let (lease, job) = (Duration::from_secs(2), JobId::random());
    let session = SessionId::random();
    let writer = opened(stores, &session, 1, lease).await;
    assert_eq!(log.job_of(&session, &writer.request).await.expect("job of"), None);
    let stale = Writer { term: writer.term + 1, ..writer.clone() };
    assert!(!log.hand_over(&stale, &job, MINUTE).await.expect("hand over"));
    assert!(log.hand_over(&writer, &job, MINUTE).await.expect("hand over"));
    pass(lease.mul_f64(1.2)).await;
    assert!(log.take_over(&writer.key, lease).await.expect("take over").is_empty());
    let found = Some((writer.clone(), job.clone()));
    assert_eq!(log.job_of(&session, &writer.request).await.expect("job of"), found);
    assert_eq!(log.job_of(&SessionId::random(), &writer.request).await.expect("job of"), None);
    let page = log.read(&writer.key, 0, 10).await.expect("read").expect("there");
    assert_eq!(page.jobs, [(writer.clone(), job)]);

    for value in [0.0, 1e-3, 1e-3, 2.5, 1.0, 2.5, 10.0, 9.0, 1e21, 1e20] {
        let mark = Mark { name: "progress".into(), value };
        let message = format!("at {value}");
        assert!(log.write_for_job(&writer, Some(&mark), &message).await.expect("write"));
    }
    let asked = Mark::once("asked");
    for tried in futures_util::future::join_all(
        (0..8).map(|_| log.write_for_job(&writer, Some(&asked), "asked")),
    )
    .await
    {
        assert!(tried.expect("write"));
    }
    for _ in 0..2 {
        assert!(log.write_for_job(&writer, None, "unmarked").await.expect("write"));
    }
    assert!(!log.write_for_job(&stale, None, "stale").await.expect("write"));
    log.finish(&writer, Some("answer")).await.expect("finish");
    assert!(!log.write_for_job(&writer, None, "late").await.expect("write"));
    let steps = [0.0, 1e-3, 2.5, 10.0, 1e21].map(|value| format!("at {value}"));
    let rest = ["asked", "unmarked", "unmarked", "answer"].map(str::to_owned);
    let expected = steps.into_iter().chain(rest).collect();
    assert_eq!(texts(stores, &writer.key, 0, 20).await, (expected, true));
    assert_eq!(log.job_of(&session, &writer.request).await.expect("job of"), None);
}

/// How long the first writer of a stream still has.
async fn left(stores: &Stores, key: &StreamKey) -> Duration {
    let page = stores.log.read(key, 0, 10).await.expect("read").expect("there");
    page.lapses.expect("a request is open")
}

async fn a_lost_call_is_taken_over_by_one<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    // The clock of a server cannot be held: there is time enough between two looks.
    let lease = Duration::from_secs(4);
    let first = opened(stores, &SessionId::random(), 7, lease).await;
    let key = &first.key;
    assert!(stores.log.take_over(key, MINUTE).await.expect("take over").is_empty(), "it lives");
    pass(lease.mul_f64(0.6)).await;
    assert!(stores.log.renew(&first, lease).await.expect("renew"));
    pass(lease.mul_f64(0.6)).await;
    assert!(!left(stores, key).await.is_zero(), "the lease was renewed");
    pass(lease.mul_f64(0.6)).await;
    assert!(left(stores, key).await.is_zero());
    let tries = (0..8).map(|_| stores.log.take_over(key, MINUTE));
    let mut taken = Vec::new();
    for tried in futures_util::future::join_all(tries).await {
        taken.extend(tried.expect("take over"));
    }
    let [orphan] = taken.as_slice() else {
        panic!("one gets it: {taken:?}");
    };
    assert_eq!(orphan.lost, 1);
    assert_eq!(orphan.call.as_ref().expect("it was stored").method, "tools/call");
    assert!(!left(stores, key).await.is_zero(), "it has a new lease");
    assert!(!stores.log.write(&first, 1, "late").await.expect("write"));
    assert!(!stores.log.renew(&first, lease).await.expect("renew"));
    stores.log.finish(&first, Some("late")).await.expect("finish");
    assert!(stores.log.write(&orphan.writer, 1, "a").await.expect("write"));
    stores.log.finish(&orphan.writer, Some("answer")).await.expect("finish");
    assert_eq!(texts(stores, key, 0, 10).await, (vec!["a".into(), "answer".into()], true));
    assert!(stores.log.take_over(key, lease).await.expect("take over").is_empty(), "it is over");
}

async fn an_answered_question_makes_a_call_that_can_be_taken_over<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    let lease = Duration::from_secs(2);
    let id = SessionId::random();
    let first = suspended(stores, &id, 1, &[("q1", "confirm")], MINUTE).await;
    assert!(left(stores, &first.key).await > MINUTE, "it waits for its client");
    let answered = stores.questions.answer(&id, "q1", yes(), lease).await.expect("answer");
    let Answered::Complete(second, _) = answered else {
        panic!("it was the last one: {answered:?}");
    };
    pass(lease.mul_f64(1.2)).await;
    let mut taken = stores.log.take_over(&first.key, MINUTE).await.expect("take over");
    let orphan = taken.pop().expect("the run that received the answer has died");
    assert!(orphan.writer.term > second.term);
    let call = orphan.call.expect("it was stored");
    assert!(!orphan.started, "its lease was not renewed");
    assert_eq!(call.answers, BTreeMap::from([("confirm".to_owned(), yes())]));
    let late = stores.questions.suspend(&second, &call, &[], MINUTE, MINUTE);
    assert!(!late.await.expect("suspend"), "another run is current");

    let renewed = stores.log.renew(&orphan.writer, lease).await.expect("renew");
    assert!(renewed, "the run starts");
    pass(lease.mul_f64(1.2)).await;
    let mut taken = stores.log.take_over(&first.key, MINUTE).await.expect("take over");
    assert!(taken.pop().expect("it has died, too").started);
}

async fn a_standalone_stream_never_ends(stores: &Stores) {
    let key = StreamKey { session: SessionId::random(), stream: StreamId::standalone() };
    assert_eq!(texts(stores, &key, 0, 10).await, (vec![], false), "it exists by itself");
    stores.log.append(&key.session, "a").await.expect("append");
    assert_eq!(texts(stores, &key, 0, 10).await, (vec!["a".into()], false));
    let page = stores.log.read(&key, 1, 10).await.expect("read").expect("there");
    assert!(page.events.is_empty() && !page.ended && page.lapses.is_none());
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

    let session = SessionId::random();
    let topic = Topic::Session(session.clone());
    let mut follower = stores.bus.subscribe(topic).await.expect("subscribe");
    let writer = opened(stores, &session, 1, MINUTE).await;
    assert!(stores.log.write(&writer, 1, "a").await.expect("write"));
    let expected = Received::Signal(Signal::StreamChanged(writer.key));
    assert_eq!(follower.recv().await, expected, "every change wakes a follower");
}

async fn subscribers_are_found(stores: &Stores) {
    let topics = ["here", "elsewhere"].map(|name| Topic::Worker(name.to_owned()));
    let [here, _] = &topics;
    let found = async || stores.bus.have_subscribers(&topics).await.expect("have subscribers");
    assert_eq!(found().await, [false, false]);
    let _subscription = stores.bus.subscribe(here.clone()).await.expect("subscribe");
    assert_eq!(found().await, [true, false]);
    assert!(stores.bus.have_subscribers(&[]).await.expect("have subscribers").is_empty());
}

async fn the_newest_catalog_is_known(stores: &Stores) {
    let catalog = |tools: &str| CatalogDigest { tools: tools.into(), prompts: "p".into() };
    let (old, new) = (catalog("old"), catalog("new"));
    assert_eq!(stores.bus.replace_catalog(&old).await.expect("replace"), None);
    assert_eq!(stores.bus.replace_catalog(&new).await.expect("replace"), Some(old));
    assert_eq!(stores.bus.replace_catalog(&new).await.expect("replace"), Some(new.clone()));
    let id = SessionId::random();
    stores.sessions.set_catalog(&id, &new).await.expect("set");
    assert_eq!(
        stores.sessions.load(&ada(), &id).await.expect("load"),
        None,
        "nothing makes a session"
    );
    stores.sessions.create(&id, &session("test:ada")).await.expect("create");
    stores.sessions.set_catalog(&id, &new).await.expect("set");
    assert_eq!(stores.sessions.load(&ada(), &id).await.expect("load").expect("there").catalog, new);
}

async fn a_session_belongs_to_its_user(stores: &Stores) {
    let (sessions, id, bob) = (&stores.sessions, SessionId::random(), UserId::new("test:bob"));
    sessions.create(&id, &session("test:ada")).await.expect("create");
    assert_eq!(sessions.load(&bob, &id).await.expect("load"), None);
    assert_eq!(sessions.delete(&bob, &id).await.expect("delete"), None);
    assert!(sessions.load(&ada(), &id).await.expect("load").is_some());
}

async fn the_longest_idle_session_makes_room<P: Future<Output = ()>>(
    stores: &Stores,
    pass: &impl Fn(Duration) -> P,
) {
    let sessions = &stores.sessions;
    let theirs: Vec<_> = (0..MAX_SESSIONS_PER_USER).map(|_| SessionId::random()).collect();
    let other = SessionId::random();
    sessions.create(&other, &session("test:bob")).await.expect("create");
    for id in &theirs {
        let evicted = sessions.create(id, &session("test:ada")).await.expect("create");
        assert_eq!(evicted, [], "there is room");
        pass(Duration::from_millis(2)).await;
    }
    assert!(sessions.load(&ada(), &theirs[0]).await.expect("load").is_some());
    pass(Duration::from_millis(2)).await;

    let newest: Vec<_> = (0..5).map(|_| SessionId::random()).collect();
    let fifth = session("test:ada");
    let creating = newest.iter().map(|id| sessions.create(id, &fifth));
    let evicted = futures_util::future::join_all(creating).await;
    let evicted = evicted.into_iter().flat_map(|it| it.expect("create"));
    let evicted: BTreeSet<_> = evicted.map(|id| id.as_str().to_owned()).collect();
    let idle: BTreeSet<_> = theirs[1..6].iter().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(evicted, idle, "each of the longest idle ones goes once, and no used one");
    let bobs = UserId::new("test:bob");
    assert!(
        sessions.load(&bobs, &other).await.expect("load").is_some(),
        "sessions of other users remain"
    );

    assert!(sessions.delete(&ada(), &theirs[9]).await.expect("delete").is_some());
    let evicted = sessions.create(&SessionId::random(), &fifth).await.expect("create");
    assert_eq!(evicted, [], "an ended session makes room, too");
}

async fn subscriptions_are_bounded_in_bytes(stores: &Stores) {
    let (sessions, id) = (&stores.sessions, SessionId::random());
    sessions.create(&id, &session("test:ada")).await.expect("create");
    let uri = |number: usize| format!("test://{number:0>1017}");
    let most = MAX_SUBSCRIPTION_BYTES / uri(0).len();
    for number in 0..most {
        assert!(sessions.subscribe(&id, &uri(number)).await.expect("subscribe"), "{number}");
    }
    assert!(!sessions.subscribe(&id, &uri(most)).await.expect("subscribe"));
    assert!(sessions.subscribe(&id, &uri(0)).await.expect("subscribe"), "it is followed already");
    sessions.unsubscribe(&id, &uri(0)).await.expect("unsubscribe");
    assert!(sessions.subscribe(&id, &uri(most)).await.expect("subscribe"));
}

async fn a_stream_is_bounded_in_events_and_bytes(stores: &Stores) {
    let session = SessionId::random();
    let key = StreamKey { session: session.clone(), stream: StreamId::standalone() };
    let append = async |message: &str| {
        stores.log.append(&session, message).await.expect("append");
    };
    for number in 0..MAX_EVENTS + 10 {
        append(&number.to_string()).await;
    }
    let (kept, _) = texts(stores, &key, 0, 2 * MAX_EVENTS).await;
    assert_eq!(kept.len(), MAX_EVENTS, "the oldest events are dropped");
    assert_eq!(kept.last().map(String::as_str), Some("1009"));

    let large = "x".repeat(MAX_STREAM_BYTES / 4);
    for _ in 0..10 {
        append(&large).await;
    }
    let (kept, _) = texts(stores, &key, 0, 2 * MAX_EVENTS).await;
    let bytes: usize = kept.iter().map(String::len).sum();
    assert!(bytes <= MAX_STREAM_BYTES && kept.len() >= 3, "{} of {bytes} bytes", kept.len());

    let answer = "y".repeat(2 * MAX_STREAM_BYTES);
    append(&answer).await;
    let (kept, _) = texts(stores, &key, 0, 2 * MAX_EVENTS).await;
    assert!(kept == [answer], "the last event stays however long it is");
    append("short").await;
    assert_eq!(texts(stores, &key, 0, 2 * MAX_EVENTS).await.0, ["short"]);
}
