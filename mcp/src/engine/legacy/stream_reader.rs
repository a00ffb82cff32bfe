//! A socket that follows a legacy stream: reads the log, sends what is new, waits for a signal.
//!
//! A signal is only a hint to read again, so a lost one costs time, never an event. The reader
//! subscribes before it reads.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    future,
    stream::{self, BoxStream, StreamExt as _},
};
use serde::{Deserialize, de::IgnoredAny};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    quirks::{EmptyEvents, StreamQuirks},
    rerun,
};
use crate::{
    caller::Caller,
    engine::{
        Inner,
        access::Access,
        notifications,
        retry::{HEARTBEAT, retry_for},
        tasks,
    },
    id::random_id,
    job::{JobId, Origin},
    json, sse,
    store::{
        EventId, EventNumber, Page, Received, Session, Signal, StoreError, StreamId, StreamKey,
        Subscription, Topic, Writer,
    },
    version::ProtocolVersion,
};

/// How many events are read from the log at once.
const READ_AHEAD: usize = 64;

/// For how long a store that is away is asked again before the client is told to come back later.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before a change that could not be passed on is tried again.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long a writer that counts as dead is given to prove the opposite. If the store itself was
/// away, nobody could renew a lease, and a writer that lives does so within a heartbeat.
const GRACE: Duration = HEARTBEAT.saturating_add(Duration::from_secs(1));

/// A request that a job will answer.
struct JobRequest {
    writer: Writer,
    job: JobId,
    /// Of a job whose worker does not write to this stream: a task whose result somebody waits for.
    signals: Option<Subscription>,
}

impl JobRequest {
    async fn sync_request(
        &mut self,
        engine: &Inner,
        caller: &Caller,
        may_fail: bool,
    ) -> Result<(), StoreError> {
        match tasks::legacy::sync_request(engine, &caller.user, &self.writer, &self.job).await? {
            None if may_fail => tasks::legacy::fail_request(engine, &self.writer).await?,
            Some(job) if self.signals.is_none() && !matches!(job.origin, Origin::Stream { .. }) => {
                let topic = Topic::Job(self.job.clone());
                self.signals = Some(engine.stores.bus.subscribe(topic).await?);
                // It may have ended just before.
                let (user, writer) = (&caller.user, &self.writer);
                tasks::legacy::sync_request(engine, user, writer, &self.job).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// How the stream of a call reaches its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// By this socket, or by another one that names it in `Last-Event-ID`.
    Own,
    /// By this socket. What is left of it when this one is lost moves to the standalone stream.
    MovesAway,
    /// By the socket of the standalone stream. Up to this event only answers are sent: the client may
    /// have had the rest.
    MovedHere { answers_until: EventNumber },
}

/// Why a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseReason {
    /// The stream itself has ended.
    StreamEnded,
    /// Another socket has the stream now.
    TakenOver,
    /// Of this socket only.
    SocketOnly,
}

/// A socket that follows a legacy stream.
pub(in crate::engine) struct StreamReader {
    engine: Arc<Inner>,
    key: StreamKey,
    empty_events: EmptyEvents,
    /// Whether the next message says when to come back, because nothing before it did.
    sends_retry: bool,
    /// What is special about the stream of a call whose client resumes only its standalone stream.
    delivery: Delivery,
    /// Who follows: lost calls are run again under these rights.
    caller: Caller,
    /// Tells this socket from another one for the same stream.
    holder: String,
    after: EventNumber,
    ready: VecDeque<Bytes>,
    /// Whether the client came back, and has not got yet what it missed.
    resumes: bool,
    /// Whether there may be something new in the log.
    unread: bool,
    /// When to catch up with changes that could not be passed on.
    catch_up_at: Option<Instant>,
    /// When to look whether the writers still live.
    check_leases_at: Option<Instant>,
    /// Since when a writer counts as dead.
    suspected_since: Option<Instant>,
    /// The requests that jobs will answer.
    jobs: Vec<JobRequest>,
    /// Why nothing is sent any more, once what is ready is.
    close_reason: Option<CloseReason>,
    session_signals: Subscription,
    /// The user's changes and everyone's: for the standalone stream only.
    changes: Option<(Subscription, Subscription)>,
    keep_alive: Instant,
    expires: Instant,
    access: Access,
    _busy: TaskTrackerToken,
}

enum Wake {
    Session(Received),
    Change(Received),
    Job,
    KeepAlive,
    CheckLeases,
    Drain,
    Expired,
}

impl StreamReader {
    /// Begins to listen; events are read when the stream is polled.
    pub(in crate::engine) async fn start(
        engine: &Arc<Inner>,
        key: StreamKey,
        session: &Session,
        caller: &Caller,
        after: EventNumber,
    ) -> Result<Self, StoreError> {
        let bus = &engine.stores.bus;
        let session_signals = bus.subscribe(Topic::Session(key.session.clone()));
        let (session_signals, changes) = if key.stream.is_standalone() {
            let user = bus.subscribe(Topic::User(caller.user.clone()));
            let everyone = bus.subscribe(Topic::Everyone);
            let (session, user, everyone) = tokio::try_join!(session_signals, user, everyone)?;
            (session, Some((user, everyone)))
        } else {
            (session_signals.await?, None)
        };
        let quirks = StreamQuirks::of(session);
        let empty_events = quirks.empty_events(key.stream.is_standalone());
        let may_be_empty = empty_events == EmptyEvents::Allowed;
        let first = if may_be_empty {
            sse::priming(&EventId { stream: key.stream.clone(), number: after })
        } else {
            sse::comment()
        };
        let now = Instant::now();
        Ok(Self {
            delivery: if quirks.resumes_calls || key.stream.is_standalone() {
                Delivery::Own
            } else {
                Delivery::MovesAway
            },
            key,
            empty_events,
            sends_retry: !may_be_empty && session.version >= ProtocolVersion::V2025_11_25,
            caller: caller.clone(),
            holder: random_id(),
            after,
            ready: VecDeque::from([first]),
            resumes: false,
            unread: true,
            catch_up_at: None,
            check_leases_at: None,
            suspected_since: None,
            jobs: Vec::new(),
            close_reason: None,
            session_signals,
            changes,
            keep_alive: now + sse::KEEP_ALIVE,
            expires: now + engine.until_expiry(caller),
            access: engine.access(caller),
            _busy: engine.busy.token(),
            engine: Arc::clone(engine),
        })
    }

    /// Makes every other socket of this stream close, so that each message goes to one only.
    ///
    /// A standalone stream is written by its reader, so a client that resumes it may have missed
    /// changes in between: it is told that whatever it follows may have changed.
    pub(in crate::engine) async fn take_over(&mut self, resumes: bool, session: &Session) {
        let signal = Signal::StreamTaken { key: self.key.clone(), holder: self.holder.clone() };
        self.engine.publish(signal).await;
        self.resumes = resumes;
        if resumes && self.key.stream.is_standalone() {
            self.on_change(Received::Missed).await;
        }
        self.send_list_changes(session).await;
    }

    /// Goes on with the stream of a call on the socket of the standalone stream. Event ids would make
    /// the client resume this stream the next time, and not the standalone one: there are none.
    pub(in crate::engine) async fn move_to_standalone(
        mut self,
        last: EventNumber,
        session: &Session,
    ) -> Self {
        self.delivery = Delivery::MovedHere { answers_until: last };
        self.ready.clear();
        self.take_over(true, session).await;
        self
    }

    /// Tells the client if a deploy has changed the lists that it has.
    async fn send_list_changes(&mut self, session: &Session) {
        if !self.key.stream.is_standalone() {
            return;
        }
        match self.engine.send_list_changes(&self.key.session, session).await {
            Ok(told) => self.unread |= told,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "A deploy could not be told of: {error}"
                );
            }
        }
    }

    /// The body of the response.
    pub(in crate::engine) fn into_body(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut reader| async move {
            let chunk = reader.next().await?;
            Some((chunk, reader))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                return Some(chunk);
            }
            if self.close_reason.is_some() {
                Box::pin(self.forget_sent_stream()).await;
                return None;
            }
            // What is not waiting is in boxes: a stream mostly waits, and thousands are open.
            if self.unread {
                Box::pin(self.read()).await;
            } else {
                match self.wait().await {
                    Wake::Session(received) => self.on_session_signal(received),
                    Wake::Change(received) => Box::pin(self.on_change(received)).await,
                    Wake::Job => {
                        Box::pin(self.sync_job_requests(false)).await;
                    }
                    Wake::KeepAlive => Box::pin(self.on_keep_alive()).await,
                    Wake::CheckLeases => self.unread = true,
                    Wake::Drain => self.close_socket(),
                    Wake::Expired => self.close_reason = Some(CloseReason::SocketOnly),
                }
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let change = async {
            match &mut self.changes {
                None => std::future::pending().await,
                Some((user, everyone)) => tokio::select! {
                    received = user.recv() => received,
                    received = everyone.recv() => received,
                },
            }
        };
        let (check_leases_at, catch_up_at) = (self.check_leases_at, self.catch_up_at);
        let jobs = self.jobs.iter_mut().filter_map(|it| it.signals.as_mut());
        let jobs: Vec<_> = jobs.map(|it| Box::pin(it.recv())).collect();
        let job = async {
            if jobs.is_empty() {
                return std::future::pending().await;
            }
            future::select_all(jobs).await;
        };
        tokio::select! {
            received = self.session_signals.recv() => Wake::Session(received),
            () = job => Wake::Job,
            () = sleep_until_some(check_leases_at) => Wake::CheckLeases,
            () = sleep_until_some(catch_up_at) => Wake::Change(Received::Missed),
            received = change => Wake::Change(received),
            () = sleep_until(self.keep_alive) => Wake::KeepAlive,
            () = self.engine.drain.cancelled() => Wake::Drain,
            () = sleep_until(self.expires) => Wake::Expired,
            () = self.access.ended() => Wake::Expired,
        }
    }

    /// Counts the events that have left the log before they were read: the oldest events of a long
    /// stream go first. Before a client comes back that is its own doing; while it listens it is ours.
    fn count_gap(&self, page: &Page) {
        let first = page.events.first().map_or(0, |(number, _)| *number);
        let gap = first.saturating_sub(self.after.saturating_add(1));
        match gap {
            0 => {}
            missed if self.resumes => {
                tracing::debug!(target: crate::COUNTED, missed, "Gone before the client came back");
            }
            lost => tracing::debug!(target: crate::COUNTED, lost, "Gone before they were sent"),
        }
    }

    /// Moves what is new in the log to the socket.
    async fn read(&mut self) {
        let log = &self.engine.stores.log;
        let read = || log.read(&self.key, self.after, READ_AHEAD);
        let page = match retry_for(READ_TIMEOUT, read).await {
            Ok(Some(page)) => page,
            // The stream has expired: there is nothing more to come.
            Ok(None) => {
                self.close_reason = Some(CloseReason::SocketOnly);
                return;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "A stream cannot be read and is closed: {error}"
                );
                self.close_socket();
                return;
            }
        };
        self.unread = page.events.len() == READ_AHEAD;
        self.count_gap(&page);
        if self.resumes {
            let replayed = page.events.len();
            tracing::debug!(target: crate::COUNTED, replayed, "Sent again: {replayed} events");
            self.resumes = self.unread;
        }
        self.close_reason = page.ended.then_some(CloseReason::StreamEnded);
        for (number, message) in page.events {
            self.after = number;
            if let Delivery::MovedHere { answers_until } = self.delivery {
                if number > answers_until || is_answer(&message) {
                    self.ready.push_back(sse::event(None, &message));
                }
                continue;
            }
            let id = EventId { stream: self.key.stream.clone(), number };
            self.ready.push_back(if std::mem::take(&mut self.sends_retry) {
                sse::first_event(&id, &message)
            } else {
                sse::event(Some(&id), &message)
            });
        }
        self.track_job_requests(page.jobs).await;
        self.watch_leases(page.lapses).await;
    }

    /// Takes note of the requests that jobs will answer, and looks after those that are new.
    async fn track_job_requests(&mut self, jobs: Vec<(Writer, JobId)>) {
        self.jobs.retain(|known| jobs.iter().any(|(writer, _)| *writer == known.writer));
        let before = self.jobs.len();
        for (writer, job) in jobs {
            if !self.jobs.iter().any(|known| known.writer == writer) {
                self.jobs.push(JobRequest { writer, job, signals: None });
            }
        }
        if self.jobs.len() > before {
            self.sync_job_requests(false).await;
        }
    }

    /// Tells what jobs have to tell, in case nobody did. `may_fail`: whether a job that is not there
    /// has had its time to appear. False if something cannot be known now.
    async fn sync_job_requests(&mut self, may_fail: bool) -> bool {
        let engine = Arc::clone(&self.engine);
        let mut known = true;
        for request in &mut self.jobs {
            if let Err(error) = request.sync_request(&engine, &self.caller, may_fail).await {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "A job could not be looked after: {error}"
                );
                known = false;
            }
        }
        self.unread = true;
        known
    }

    /// Looks after writers that have fallen silent.
    async fn watch_leases(&mut self, lapses: Option<Duration>) {
        let now = Instant::now();
        self.check_leases_at = match lapses {
            None => None,
            // A little later than the lease, so that one look is enough.
            Some(left) if !left.is_zero() => {
                self.suspected_since = None;
                Some(now + left + HEARTBEAT)
            }
            Some(_) => {
                let since = *self.suspected_since.get_or_insert(now);
                if now >= since + GRACE && self.ready.is_empty() {
                    self.suspected_since = None;
                    self.take_over_lost_calls().await;
                    None
                } else {
                    Some((since + GRACE).max(now))
                }
            }
        };
    }

    /// The instance that ran a call has died: somebody has to do something instead.
    async fn take_over_lost_calls(&mut self) {
        if !self.sync_job_requests(true).await {
            // A job that goes on must not count as lost.
            return;
        }
        if let Err(error) = rerun::take_over(&self.engine, &self.caller, &self.key).await {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A lost call could not be taken over: {error}"
            );
        }
        self.unread = true;
    }

    fn on_session_signal(&mut self, received: Received) {
        match received {
            Received::Missed => self.unread = true,
            Received::Signal(Signal::StreamChanged(key)) => self.unread |= key == self.key,
            Received::Signal(Signal::StreamReleased(key)) if key == self.key => self.close_socket(),
            Received::Signal(Signal::StreamTaken { key, holder })
                if key == self.key && holder != self.holder =>
            {
                self.close_reason = Some(CloseReason::TakenOver);
            }
            Received::Signal(Signal::SessionEnded(_)) => {
                self.close_reason = Some(CloseReason::SocketOnly)
            }
            Received::Signal(_) => {}
        }
    }

    /// The client has all of the stream and will not ask for it again: nothing of it moves later.
    async fn forget_sent_stream(&self) {
        if self.close_reason != Some(CloseReason::StreamEnded) || self.delivery == Delivery::Own {
            return;
        }
        if let Err(error) = self.engine.stores.log.forget_stream(&self.key).await {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A stream that was sent could not be forgotten: {error}"
            );
        }
    }

    /// A change goes through the log like everything else, so that a resumed stream has it too.
    async fn on_change(&mut self, received: Received) {
        self.catch_up_at = None;
        if let Err(error) = self.append_changes(received).await {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A change could not be passed on yet: {error}"
            );
            self.catch_up_at = Some(Instant::now() + CATCH_UP);
        }
    }

    async fn append_changes(&mut self, received: Received) -> Result<(), StoreError> {
        let user = &self.caller.user;
        let loading = self.engine.stores.sessions.load(user, &self.key.session);
        let Some(session) = loading.await? else {
            self.close_reason = Some(CloseReason::SocketOnly);
            return Ok(());
        };
        let signals = match received {
            Received::Signal(Signal::ResourceUpdated { uri, .. })
                if !session.subscriptions.contains(&uri) =>
            {
                return Ok(());
            }
            Received::Signal(signal) => vec![signal],
            // Some changes were lost: whatever the client follows may have changed.
            Received::Missed => {
                let updated = session
                    .subscriptions
                    .into_iter()
                    .map(|uri| Signal::ResourceUpdated { user: user.clone(), uri });
                let list = Signal::ResourceListChanged { user: user.clone() };
                updated.chain([list]).collect()
            }
        };
        for notification in signals.iter().filter_map(|it| notifications::notification(it, None)) {
            self.engine.stores.log.append(&self.key.session, &notification).await?;
        }
        self.unread = true;
        Ok(())
    }

    async fn on_keep_alive(&mut self) {
        // A signal may have been lost, and an open stream keeps its session alive.
        self.unread = true;
        self.sync_job_requests(true).await;
        let user = &self.caller.user;
        match self.engine.stores.sessions.load(user, &self.key.session).await {
            Ok(Some(session)) => self.send_list_changes(&session).await,
            Ok(None) => {
                self.close_reason = Some(CloseReason::SocketOnly);
                return;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "A session could not be kept alive: {error}"
                );
            }
        }
        self.ready.push_back(sse::comment());
    }

    /// Closes the socket of a stream that has not ended; the client comes back for the rest.
    fn close_socket(&mut self) {
        let sends_retry = match self.empty_events {
            EmptyEvents::Allowed => true,
            EmptyEvents::Avoided => self.engine.drain.is_cancelled(),
            EmptyEvents::Never => false,
        };
        if sends_retry {
            self.ready.push_back(sse::retry());
        }
        self.close_reason = Some(CloseReason::SocketOnly);
    }
}

impl Drop for StreamReader {
    /// The client will not resume this stream, but it will resume the standalone one if that closes.
    fn drop(&mut self) {
        let is_left = match self.close_reason {
            Some(CloseReason::TakenOver) => false,
            Some(CloseReason::StreamEnded) => !self.ready.is_empty(),
            Some(CloseReason::SocketOnly) | None => true,
        };
        if self.delivery != Delivery::MovesAway || !is_left {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let key = StreamKey { session: self.key.session.clone(), stream: StreamId::standalone() };
        self.engine.busy.spawn(async move {
            engine.publish(Signal::StreamReleased(key)).await;
        });
    }
}

/// Whether a message answers a request of the client.
fn is_answer(message: &str) -> bool {
    #[derive(Deserialize)]
    struct Message {
        method: Option<IgnoredAny>,
    }
    json::from_str(message).is_ok_and(|Message { method }| method.is_none())
}

/// That moment, or never.
async fn sleep_until_some(moment: Option<Instant>) {
    match moment {
        None => std::future::pending().await,
        Some(moment) => sleep_until(moment).await,
    }
}
