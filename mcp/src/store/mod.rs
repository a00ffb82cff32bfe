//! What must outlive a request and be seen by every instance: sessions, waiting calls, stream logs
//! and signals.
//!
//! Four small traits. [`memory`] serves one process and [`redis`] many; [`suite`] is what any implementation must
//! pass. No caller may rely on an answer arriving at the same object that asked.

mod fanout;
pub mod memory;
pub mod redis;
pub mod suite;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

pub use self::fanout::{Fanout, Received, Subscription};
pub use crate::id::{SessionId, StreamId};
use crate::{
    caller::UserId,
    id::JobId,
    question::Answer,
    rpc::RequestId,
    types::{ClientCapabilities, Implementation, LogLevel},
    version::ProtocolVersion,
};

/// The stores that an engine works on. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Legacy sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Calls that wait for the client.
    pub questions: Arc<dyn Questions>,
    /// Events of legacy streams.
    pub log: Arc<dyn StreamLog>,
    /// Signals between instances.
    pub bus: Arc<dyn Bus>,
}

/// A store could not be reached or gave back something unreadable. Says nothing about the data.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct StoreError {
    dependency: Option<&'static str>,
    source: crate::error::BoxError,
}

impl StoreError {
    /// `dependency`: what did not answer, such as `redis`, for the field `dependency` of log events.
    /// `None` if it answered and the answer was wrong.
    pub fn new(
        dependency: Option<&'static str>,
        source: impl Into<crate::error::BoxError>,
    ) -> Self {
        Self { dependency, source: source.into() }
    }

    /// What did not answer. Log events with this field are written once a minute while it lasts.
    pub fn dependency(&self) -> Option<&'static str> {
        self.dependency
    }
}

/// What is known of a legacy session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is. Presented by anyone else, the session does not exist.
    pub user: UserId,
    /// The negotiated revision.
    pub version: ProtocolVersion,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// What the client calls itself. Decides only how its event streams are written, never what it
    /// may do.
    pub client_info: Option<Implementation>,
    /// The least severity that the client wants to hear of.
    pub log_level: LogLevel,
    /// The resources that the client follows.
    pub subscriptions: BTreeSet<String>,
    /// The lists that the client has, or was told of last.
    #[serde(default)]
    pub catalog: CatalogDigest,
    /// When it began, in seconds since the Unix epoch. Nothing for one that an older version began.
    #[serde(default)]
    pub began: Option<i64>,
}

/// Tells one version of what a server offers from another: two instances of the same version have
/// the same. Empty if it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDigest {
    /// Of all tools.
    pub tools: String,
    /// Of all prompts.
    pub prompts: String,
}

/// How many resources one session may follow. Bounds the size of a session record.
pub const MAX_SUBSCRIPTIONS: usize = 1_000;

/// How long the URIs that one session follows may be together, in bytes: 1,000 of ordinary length.
pub const MAX_SUBSCRIPTION_BYTES: usize = 64 * 1024;

/// The longest URI that can be followed, in bytes.
pub const MAX_URI_BYTES: usize = 1_024;

/// How many sessions one person may have. A client that is open in several windows has one for each;
/// with this many a person's session records are at most about 10 MiB.
pub const MAX_SESSIONS_PER_USER: usize = 100;

/// Legacy sessions (2025-11-25, basic/transports, "Session Management").
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps a new session. Returns only when every instance will find it, with those sessions of the
    /// same user that were idle for longest and no longer count, because there would be more than
    /// [`MAX_SESSIONS_PER_USER`]: the caller has to end them. Each is given to one caller only.
    async fn create(&self, id: &SessionId, session: &Session)
    -> Result<Vec<SessionId>, StoreError>;
    /// Finds a session of a user and starts its idle time anew.
    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError>;
    /// Changes the log level. Nothing happens if the session is gone.
    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError>;
    /// Notes which lists the client has. Nothing happens if the session is gone.
    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError>;
    /// Follows a resource. False if the session is gone, or would follow more than
    /// [`MAX_SUBSCRIPTIONS`] or URIs of more than [`MAX_SUBSCRIPTION_BYTES`] together.
    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError>;
    /// Follows a resource no more.
    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError>;
    /// Ends a session of a user, with its waiting calls. False if it was gone already.
    async fn delete(&self, user: &UserId, id: &SessionId) -> Result<bool, StoreError>;
}

/// One run of one request of a stream: who may write for it now.
///
/// A request may be run several times: once more after each round of questions, and once more when
/// the instance that ran it has died. Each run has the next term, and the store drops what an
/// earlier one still writes, as when a machine that everybody took for dead comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The stream that will hold the answer.
    pub key: StreamKey,
    /// The client's id of the call.
    pub request: RequestId,
    /// Which run of it: 0 is the first.
    pub term: u64,
}

impl Writer {
    /// The id of the job that answers the request. It is the same for every run of the request: a run
    /// that was lost with its instance may have created the job. As hard to guess as the id of the
    /// stream.
    pub(crate) fn job_id(&self) -> JobId {
        let named = serde_json::to_vec(&(&self.key, &self.request));
        JobId::of_hash(&Sha256::digest(named.expect("ids are plain data")).into())
    }
}

/// A legacy call as another instance needs it, to go on with it or to run it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredCall {
    /// The method.
    pub method: String,
    /// The parameters, as they were sent.
    pub params: Option<Box<RawValue>>,
    /// The answers so far, by the tool's own key.
    #[serde(default)]
    pub answers: BTreeMap<String, Answer>,
    /// The last progress that the client saw before a question: it may only grow.
    #[serde(default)]
    pub progress: Option<f64>,
}

impl StoredCall {
    /// About how many bytes the store needs for it.
    pub(crate) fn size(&self) -> usize {
        let params = self.params.as_ref().map_or(0, |params| params.get().len());
        let answers = serde_json::to_vec(&self.answers).map_or(0, |answers| answers.len());
        params + answers
    }
}

/// A question that a call asks its client.
#[derive(Clone, Debug)]
pub struct OpenQuestion {
    /// The id of our request to the client.
    pub id: String,
    /// The tool's own key.
    pub key: String,
    /// The request.
    pub message: String,
}

/// What an answer led to.
#[derive(Debug)]
pub enum Answered {
    /// No such question: answered already, too late, or never asked in this session.
    Unknown,
    /// Noted; other questions of the same call are still open.
    Waiting,
    /// That was the last one, and the call is the caller's to run, under this name. Only one caller
    /// ever gets this for one round of questions.
    Complete(Writer, StoredCall),
}

/// Calls that wait for the client. A question is taken by one atomic step.
#[async_trait]
pub trait Questions: Send + Sync {
    /// Keeps a call for at most `ttl` and appends its questions to its stream, in one step. Its lease
    /// lasts `lease` longer. Returns only when every instance will find it; false if the call is no
    /// longer the writer's. What was kept already is not kept twice.
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError>;
    /// Takes a question and notes its answer. With the last one, the call gets a lease and can be
    /// taken over like any running one.
    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: Answer,
        lease: Duration,
    ) -> Result<Answered, StoreError>;
    /// Takes a waiting call away because the client cancelled it. Whoever gets it has to finish it.
    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError>;
}

/// The position of an event in its stream: 1 is the first, 0 is before it.
pub type EventNumber = u64;

/// An SSE event id: which stream, and where in it. Unique within the session, since stream ids are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The stream.
    pub stream: StreamId,
    /// The position.
    pub number: EventNumber,
}

impl EventId {
    /// Reads a `Last-Event-ID` header.
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, number) = text.rsplit_once('.')?;
        let stream = StreamId::parse(stream)?;
        // One spelling per id: no sign, no leading zero.
        let number: EventNumber =
            number.parse().ok().filter(|it: &u64| it.to_string() == number)?;
        Some(Self { stream, number })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stream.as_str(), self.number)
    }
}

/// A stream of a session. The session is part of the name, so no event id can reach another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// The session.
    pub session: SessionId,
    /// The stream.
    pub stream: StreamId,
}

/// Some events of a stream.
#[derive(Debug, Default)]
pub struct Page {
    /// Each a whole JSON-RPC message, in order.
    pub events: Vec<(EventNumber, Arc<str>)>,
    /// The position of the last event of the stream.
    pub last: EventNumber,
    /// Whether nothing follows after these.
    pub ended: bool,
    /// How long until the first of the writers counts as dead, if it stays silent: zero if it does
    /// already. Nothing if nobody writes: the stream has ended, or is the standalone one.
    pub lapses: Option<Duration>,
    /// The unanswered requests that jobs will answer.
    pub jobs: Vec<(Writer, JobId)>,
}

/// A call whose instance was lost, and which now belongs to whoever took it over.
#[derive(Debug)]
pub struct Orphan {
    /// The name of the next run.
    pub writer: Writer,
    /// How often the call has lost its instance, this time included.
    pub lost: u64,
    /// What to run, if it was said when the call began.
    pub call: Option<StoredCall>,
}

/// How far a request is in one respect.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The respect.
    pub name: String,
    /// Only ever grows. Finite.
    pub value: f64,
}

impl Mark {
    /// For a message that comes once in the life of a request.
    pub fn once(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: 1.0 }
    }
}

/// Events kept per stream; the oldest go first. A client that was away for more of them than this
/// misses progress messages, never the answer, which is last.
pub const MAX_EVENTS: usize = 1_000;

/// Bytes of events kept per stream; the oldest go first, the last one stays however long it is.
pub const MAX_STREAM_BYTES: usize = 1024 * 1024;

/// How long an ended or silent stream can be resumed.
pub const STREAM_TTL: Duration = Duration::from_mins(15);

/// The events of legacy streams (2025-11-25, basic/transports, "Resumability and Redelivery").
///
/// Every implementation publishes [`Signal::StreamChanged`] after each change, so that a follower
/// can subscribe first, then read, then wait.
#[async_trait]
pub trait StreamLog: Send + Sync {
    /// Begins the stream of a POST that will hold the answers to these requests. It ends with the
    /// last of them. Each has what another instance needs to run it again, if that may happen.
    /// `lease`: how long a writer may be silent before it counts as dead.
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError>;
    /// Appends a message to the standalone stream of a session, which begins by itself.
    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError>;
    /// Appends a message of a call. Each message of a run has the next number, from 1 on: one that
    /// is there already is not appended again, so that a write whose outcome is unknown can be
    /// repeated. False if the call is answered or no longer the writer's.
    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError>;
    /// Appends the answer, or drops the request without one. The first call per request wins; later
    /// ones, and those of earlier runs, change nothing.
    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError>;
    /// Drops a running request of a session without an answer, whoever its writer is: it learns of it
    /// when it next writes. A request that a job answers stays.
    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError>;
    /// Renews the lease of a run. False if the call is answered or no longer the writer's.
    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError>;
    /// At most `max` events after a position. Nothing if there is no such stream (any more); a
    /// standalone stream always exists.
    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError>;
    /// Takes over the calls of a stream whose leases have lapsed, under a new lease. Of many that
    /// try, one gets each.
    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError>;
    /// From now on a job answers the request: it is run by no instance, so nobody takes it over
    /// before `lease` has lapsed. Whoever works for the job writes under the same name. False if
    /// the call is answered or no longer the writer's.
    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError>;
    /// The job that answers a request of a session, if one does.
    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError>;
    /// Appends a message of a job. Several processes may write for it, so there are no numbers: a
    /// marked message is appended if the value of its mark is more than any before. False if the
    /// call is answered or no longer the writer's.
    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError>;
    /// Forgets every stream of a session.
    async fn forget(&self, session: &SessionId) -> Result<(), StoreError>;
    /// Forgets a stream that has ended, because its client has all of it.
    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError>;
    /// The streams of calls of a session. Some may have expired.
    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError>;
}

/// Something that other instances may want to know now. A hint, never the only copy: whoever misses
/// one finds the same by reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Signal {
    /// A resource of this user has new contents.
    ResourceUpdated {
        /// Whose.
        user: UserId,
        /// Which.
        uri: String,
    },
    /// This user's list of resources has changed.
    ResourceListChanged {
        /// Whose.
        user: UserId,
    },
    /// The list of tools has changed, for everyone.
    ToolListChanged,
    /// The list of prompts has changed, for everyone.
    PromptListChanged,
    /// A grant was revoked: its tokens are worth nothing, and its streams end.
    Revoked {
        /// The grant.
        grant: String,
    },
    /// Everything that was issued to a person until then is void.
    CutOff {
        /// The person.
        user: UserId,
        /// In microseconds since the Unix epoch.
        at: i64,
    },
    /// A key that signs access tokens was revoked: what it signed is void.
    KeyRevoked {
        /// Its name.
        key: String,
    },
    /// The client cancelled a call, or all calls of a session.
    Cancelled {
        /// The session.
        session: SessionId,
        /// The call; all of them if absent.
        request: Option<RequestId>,
    },
    /// A stream has new events or has ended.
    StreamChanged(StreamKey),
    /// The writer asks that the socket be closed: the client will come back for the rest.
    StreamReleased(StreamKey),
    /// Another socket has taken the stream over: the old one must close, so that each message goes
    /// to one socket only.
    StreamTaken {
        /// The stream.
        key: StreamKey,
        /// Who has it now.
        holder: String,
    },
    /// The session was deleted.
    SessionEnded(SessionId),
    /// A job has changed: progress, status, outcome.
    JobChanged {
        /// Which one.
        job: JobId,
    },
    /// A message of a running job to the client whose call is open ([`crate::job::Origin::Call`]).
    JobMessage {
        /// Which job.
        job: JobId,
        /// How far it is, if the message says so: only what is more than before is passed on.
        progress: Option<f64>,
        /// A whole JSON-RPC notification.
        message: String,
    },
    /// There is a job to claim.
    JobQueued,
    /// A job was cancelled: whoever runs it stops.
    JobCancelled {
        /// Which one.
        job: JobId,
    },
}

/// What a [`Subscription`] listens to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Changes of one user's resources.
    User(UserId),
    /// Changes for everyone.
    Everyone,
    /// Streams of one session.
    Session(SessionId),
    /// What each instance must see: cancellations and revocations.
    Control,
    /// Changes of one job.
    Job(JobId),
    /// Work for workers.
    Work,
}

impl Signal {
    /// Who hears of it.
    pub fn topic(&self) -> Topic {
        match self {
            Self::ResourceUpdated { user, .. } | Self::ResourceListChanged { user } => {
                Topic::User(user.clone())
            }
            Self::ToolListChanged | Self::PromptListChanged => Topic::Everyone,
            Self::Cancelled { .. }
            | Self::Revoked { .. }
            | Self::CutOff { .. }
            | Self::KeyRevoked { .. } => Topic::Control,
            Self::StreamChanged(key)
            | Self::StreamReleased(key)
            | Self::StreamTaken { key, .. } => Topic::Session(key.session.clone()),
            Self::SessionEnded(session) => Topic::Session(session.clone()),
            Self::JobChanged { job } | Self::JobMessage { job, .. } => Topic::Job(job.clone()),
            Self::JobQueued | Self::JobCancelled { .. } => Topic::Work,
        }
    }
}

/// Signals between instances.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Tells everyone who listens now.
    async fn publish(&self, signal: Signal) -> Result<(), StoreError>;
    /// Tells several things at once, in any order. Takes no longer than one does.
    async fn publish_all(&self, signals: Vec<Signal>) -> Result<(), StoreError> {
        let told = signals.into_iter().map(|it| self.publish(it));
        futures_util::future::join_all(told).await.into_iter().collect()
    }
    /// Listens from now on.
    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError>;
    /// Notes what the newest instance offers, and gives what the one before did, in one step.
    async fn announce(&self, catalog: &CatalogDigest) -> Result<Option<CatalogDigest>, StoreError>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_run_of_a_request_has_the_same_job_and_no_other_request_has_it() {
        let key = || StreamKey { session: SessionId::random(), stream: StreamId::random() };
        let first = Writer { key: key(), request: RequestId::Number(1), term: 0 };
        let again = Writer { term: 1, ..first.clone() };
        assert_eq!(first.job_id(), again.job_id());
        assert_eq!(JobId::parse(first.job_id().as_str()), Some(first.job_id()));
        let text = Writer { request: RequestId::String("1".to_owned()), ..first.clone() };
        let elsewhere = Writer { key: key(), ..first.clone() };
        for other in [text, elsewhere] {
            assert_ne!(first.job_id(), other.job_id());
        }
    }

    proptest! {
        #[test]
        fn an_event_id_reads_back(number: u64, standalone: bool) {
            let stream =
                if standalone { StreamId::standalone() } else { StreamId::random() };
            let id = EventId { stream, number };
            prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn any_text_is_one_event_id_or_none(text: String) {
            if let Some(id) = EventId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
