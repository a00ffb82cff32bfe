//! The network link between one process and the simulated store: under the seed it delays operations,
//! refuses them, and loses their answers after they took effect.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp::{
    ClientAnswer, LogLevel, RequestId, Signal, StoreError, Stores, UserId,
    job::JobId,
    store::{
        Answered, Bus, CatalogDigest, DeletedSession, EventNumber, Mark, OpenQuestion, Orphan,
        Page, Questions, Session, SessionId, Sessions, StoredCall, StreamId, StreamKey, StreamLog,
        Subscription, Topic, Writer,
    },
};

use super::{node::Node, random::Random, store::Store, world::pass};

/// How long a process waits for an answer that was lost, in milliseconds.
const ANSWER_TIMEOUT: u64 = 2_000;

/// How long connecting to a store that is down takes, in milliseconds.
const REFUSED_AFTER: u64 = 3;

/// The link of one process.
pub(super) struct Link {
    node: Arc<Node>,
    store: Arc<Store>,
}

/// What happens to one operation.
#[derive(Clone, Copy, Default)]
struct Fate {
    /// The delays before and after the effect, in milliseconds.
    before: u64,
    after: u64,
    is_refused: bool,
    /// `Some`: the answer is lost. `true`: with the connection, which is noticed at once; `false`: until
    /// the timeout.
    loses_answer: Option<bool>,
}

impl Link {
    /// The stores as a process sees them.
    pub(super) fn stores(node: &Arc<Node>, store: &Arc<Store>) -> Stores {
        store.connect(node);
        let link = Arc::new(Self { node: Arc::clone(node), store: Arc::clone(store) });
        Stores { sessions: link.clone(), questions: link.clone(), log: link.clone(), bus: link }
    }

    /// Carries out an operation of the store over the network.
    async fn operation<T>(
        &self,
        name: &'static str,
        effect: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        operation(&self.node, &self.store, Target::Store, name, effect).await
    }
}

/// The server at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Sessions, streams, questions and signals.
    Store,
    /// Jobs.
    Database,
}

fn fate(node: &Node, store: &Store, target: Target) -> Fate {
    let rates = &node.world.rates;
    if node.world.is_calm() {
        return Fate::default();
    }
    let slow = if target == Target::Store { store.delay() } else { 0 };
    node.draw(|random| {
        let delay = |random: &mut Random| {
            let is_late = random.chance(rates.delay);
            slow + if is_late { random.below(rates.longest) } else { 0 }
        };
        Fate {
            before: delay(random),
            after: delay(random),
            is_refused: random.chance(rates.refuse),
            loses_answer: random.chance(rates.lose_answer).then(|| random.chance(500)),
        }
    })
}

/// Carries out an operation over the network.
pub(super) async fn operation<T>(
    node: &Node,
    store: &Store,
    target: Target,
    name: &'static str,
    effect: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    node.gate().await;
    node.world.count_operation().await;
    let fate = fate(node, store, target);
    let dies = node.begin_operation().await;
    pass(fate.before).await;
    node.gate().await;
    let (world, process) = (&node.world, &node.name);
    let is_down = match target {
        Target::Store => store.is_down(),
        Target::Database => store.is_database_down(),
    };
    if is_down || fate.is_refused {
        world.note(|| format!("{process} {name}: unavailable"));
        pass(REFUSED_AFTER).await;
        return Err(unavailable());
    }
    let result = effect.await;
    if dies {
        world.note(|| format!("{process} {name}: dies after the effect"));
        node.kill();
        return std::future::pending().await;
    }
    if let Some(at_once) = fate.loses_answer {
        world.note(|| format!("{process} {name}: took effect, answer lost"));
        pass(if at_once { REFUSED_AFTER } else { ANSWER_TIMEOUT }).await;
        return Err(unavailable());
    }
    world.note(|| format!("{process} {name}"));
    pass(fate.after).await;
    node.gate().await;
    result
}

fn unavailable() -> StoreError {
    StoreError::new(Some("simulated"), "the simulated store is unavailable")
}

#[async_trait]
impl Sessions for Link {
    async fn create(
        &self,
        id: &SessionId,
        session: &Session,
    ) -> Result<Vec<SessionId>, StoreError> {
        let effect = async { self.store.direct().sessions.create(id, session).await };
        self.operation("create session", effect).await
    }

    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let effect = async { self.store.direct().sessions.load(user, id).await };
        self.operation("load session", effect).await
    }

    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError> {
        let effect = async { self.store.direct().sessions.set_log_level(id, level).await };
        self.operation("set log level", effect).await
    }

    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError> {
        let effect = async { self.store.direct().sessions.set_catalog(id, catalog).await };
        self.operation("set catalog", effect).await
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        let effect = async { self.store.direct().sessions.subscribe(id, uri).await };
        self.operation("subscribe", effect).await
    }

    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError> {
        let effect = async { self.store.direct().sessions.unsubscribe(id, uri).await };
        self.operation("unsubscribe", effect).await
    }

    async fn delete(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<Option<DeletedSession>, StoreError> {
        let effect = async { self.store.direct().sessions.delete(user, id).await };
        self.operation("delete session", effect).await
    }
}

#[async_trait]
impl Questions for Link {
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let effect =
            async { self.store.direct().questions.suspend(writer, call, open, ttl, lease).await };
        self.operation("suspend", effect).await
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: ClientAnswer,
        lease: Duration,
    ) -> Result<Answered, StoreError> {
        let effect =
            async { self.store.direct().questions.answer(session, question, answer, lease).await };
        self.operation("answer", effect).await
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError> {
        let effect = async { self.store.direct().questions.withdraw(session, request).await };
        self.operation("withdraw", effect).await
    }
}

#[async_trait]
impl StreamLog for Link {
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError> {
        let effect = async {
            self.store.opened(key, requests.iter().map(|(request, _)| request.clone()));
            self.store.direct().log.open(key, requests, lease).await
        };
        self.operation("open stream", effect).await
    }

    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError> {
        let effect = async { self.store.direct().log.append(session, message).await };
        self.operation("append", effect).await
    }

    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError> {
        let effect = async { self.store.direct().log.write(writer, number, message).await };
        self.operation("write", effect).await
    }

    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError> {
        let effect = async { self.store.direct().log.finish(writer, answer).await };
        self.operation("finish", effect).await
    }

    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError> {
        let effect = async {
            let log = self.store.direct().log;
            log.cancel(session, request).await?;
            // A request that a job answers is kept; the job is cancelled next.
            if log.job_of(session, request).await?.is_none() {
                self.store.cancelled(session, request).await;
            }
            Ok(())
        };
        self.operation("cancel", effect).await
    }

    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError> {
        let effect = async { self.store.direct().log.renew(writer, lease).await };
        self.operation("renew", effect).await
    }

    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError> {
        let effect = async { self.store.direct().log.read(key, after, max).await };
        self.operation("read", effect).await
    }

    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError> {
        let effect = async { self.store.direct().log.take_over(key, lease).await };
        self.operation("take over", effect).await
    }

    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let effect = async { self.store.direct().log.hand_over(writer, job, lease).await };
        self.operation("hand over", effect).await
    }

    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError> {
        let effect = async { self.store.direct().log.job_of(session, request).await };
        self.operation("job of request", effect).await
    }

    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError> {
        let effect = async { self.store.direct().log.write_for_job(writer, mark, message).await };
        self.operation("write for job", effect).await
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        let effect = async { self.store.direct().log.forget(session).await };
        self.operation("forget streams", effect).await
    }

    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError> {
        let effect = async { self.store.direct().log.forget_stream(key).await };
        self.operation("forget stream", effect).await
    }

    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError> {
        let effect = async { self.store.direct().log.call_streams(session).await };
        self.operation("list streams", effect).await
    }
}

#[async_trait]
impl Bus for Link {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        let effect = async {
            self.store.publish(&signal);
            Ok(())
        };
        self.operation("publish", effect).await
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        let effect = async {
            // Without a connection for signals, a subscription is not confirmed.
            let node = &self.node;
            if node.hears() { Ok(node.fanout.subscribe(topic)) } else { Err(unavailable()) }
        };
        self.operation("subscribe to signals", effect).await
    }

    async fn have_subscribers(&self, topics: &[Topic]) -> Result<Vec<bool>, StoreError> {
        let effect =
            async { Ok(topics.iter().map(|topic| self.store.has_subscriber(topic)).collect()) };
        self.operation("have subscribers", effect).await
    }

    async fn replace_catalog(
        &self,
        catalog: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        let effect = async { self.store.direct().bus.replace_catalog(catalog).await };
        self.operation("replace catalog", effect).await
    }
}
