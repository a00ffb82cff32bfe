//! A socket that follows a legacy stream: reads the log, sends what is new, waits for a signal.
//!
//! A signal is only a hint to read again, so a lost one costs time, never an event. The follower
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
    quirks::{EmptyEvents, StreamHabits},
    rerun,
};
use crate::{
    caller::Caller,
    engine::{
        Inner,
        access::Access,
        notifications,
        retry::{HEARTBEAT, patiently},
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
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// The pause before a change that could not be passed on is tried again.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long a writer that counts as dead is given to prove the opposite. If the store itself was
/// away, nobody could renew a lease, and a writer that lives does so within a heartbeat.
const SECOND_LOOK: Duration = HEARTBEAT.saturating_add(Duration::from_secs(1));

/// A request that a job will answer.
struct Answering {
    writer: Writer,
    job: JobId,
    /// Of a job whose worker does not write to this stream: a task whose result somebody waits for.
    signals: Option<Subscription>,
}

impl Answering {
    async fn look_after(
        &mut self,
        engine: &Inner,
        caller: &Caller,
        patient: bool,
    ) -> Result<(), StoreError> {
        match tasks::legacy::look_after(engine, &caller.user, &self.writer, &self.job).await? {
            None if patient => tasks::legacy::give_up(engine, &self.writer).await?,
            Some(job) if self.signals.is_none() && !matches!(job.origin, Origin::Stream { .. }) => {
                let topic = Topic::Job(self.job.clone());
                self.signals = Some(engine.stores.bus.subscribe(topic).await?);
                // It may have ended just before.
                let (user, writer) = (&caller.user, &self.writer);
                tasks::legacy::look_after(engine, user, writer, &self.job).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// How the stream of a call reaches its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moving {
    /// By this socket, or by another one that names it in `Last-Event-ID`.
    No,
    /// By this socket. What is left of it when this one is lost moves to the standalone stream.
    Away,
    /// By the socket of the standalone stream. Up to this event only answers are sent: the client may
    /// have had the rest.
    Here { answers_until: EventNumber },
}

/// Why a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The stream itself has ended.
    OfStream,
    /// Another socket has the stream now.
    Taken,
    /// Of this socket only.
    OfSocket,
}

/// A socket that follows a legacy stream.
pub(in crate::engine) struct Follower {
    engine: Arc<Inner>,
    key: StreamKey,
    empty_events: EmptyEvents,
    /// Whether the next message says when to come back, because nothing before it did.
    says_when: bool,
    /// What is special about the stream of a call whose client resumes only its standalone stream.
    moving: Moving,
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
    behind: Option<Instant>,
    /// When to look whether the writers still live.
    look: Option<Instant>,
    /// Since when a writer counts as dead.
    suspected: Option<Instant>,
    /// The requests that jobs will answer.
    jobs: Vec<Answering>,
    /// Why nothing is sent any more, once what is ready is.
    end: Option<End>,
    session_signals: Subscription,
    /// The user's changes and everyone's: for the standalone stream only.
    changes: Option<(Subscription, Subscription)>,
    keep_alive: Instant,
    expires: Instant,
    access: Access,
    _busy: TaskTrackerToken,
}

enum Event {
    Session(Received),
    Change(Received),
    Job,
    KeepAlive,
    Look,
    Drain,
    Expired,
}

impl Follower {
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
        let habits = StreamHabits::of(session);
        let empty_events = habits.empty_events(key.stream.is_standalone());
        let may_be_empty = empty_events == EmptyEvents::Allowed;
        let first = if may_be_empty {
            sse::priming(&EventId { stream: key.stream.clone(), number: after })
        } else {
            sse::comment()
        };
        let now = Instant::now();
        Ok(Self {
            moving: if habits.resumes_calls || key.stream.is_standalone() {
                Moving::No
            } else {
                Moving::Away
            },
            key,
            empty_events,
            says_when: !may_be_empty && session.version >= ProtocolVersion::V2025_11_25,
            caller: caller.clone(),
            holder: random_id(),
            after,
            ready: VecDeque::from([first]),
            resumes: false,
            unread: true,
            behind: None,
            look: None,
            suspected: None,
            jobs: Vec::new(),
            end: None,
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
    /// A standalone stream is written by its follower, so a client that resumes it may have missed
    /// changes in between: it is told that whatever it follows may have changed.
    pub(in crate::engine) async fn take_over(&mut self, resumes: bool, session: &Session) {
        let signal = Signal::StreamTaken { key: self.key.clone(), holder: self.holder.clone() };
        self.engine.publish(signal).await;
        self.resumes = resumes;
        if resumes && self.key.stream.is_standalone() {
            self.on_change(Received::Missed).await;
        }
        self.compare_lists(session).await;
    }

    /// Goes on with the stream of a call on the socket of the standalone stream. Event ids would make
    /// the client resume this stream the next time, and not the standalone one: there are none.
    pub(in crate::engine) async fn move_here(mut self, last: EventNumber, session: &Session) -> Self {
        self.moving = Moving::Here { answers_until: last };
        self.ready.clear();
        self.take_over(true, session).await;
        self
    }

    /// Tells the client if a deploy has changed the lists that it has.
    async fn compare_lists(&mut self, session: &Session) {
        if !self.key.stream.is_standalone() {
            return;
        }
        match self.engine.tell_of_deploy(&self.key.session, session).await {
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
        stream::unfold(self, |mut follower| async move {
            let chunk = follower.next().await?;
            Some((chunk, follower))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                return Some(chunk);
            }
            if self.end.is_some() {
                Box::pin(self.forget()).await;
                return None;
            }
            // What is not waiting is in boxes: a stream mostly waits, and thousands are open.
            if self.unread {
                Box::pin(self.read()).await;
            } else {
                match self.wait().await {
                    Event::Session(received) => self.on_session_signal(received),
                    Event::Change(received) => Box::pin(self.on_change(received)).await,
                    Event::Job => {
                        Box::pin(self.look_after_jobs(false)).await;
                    }
                    Event::KeepAlive => Box::pin(self.on_keep_alive()).await,
                    Event::Look => self.unread = true,
                    Event::Drain => self.hang_up(),
                    Event::Expired => self.end = Some(End::OfSocket),
                }
            }
        }
    }

    async fn wait(&mut self) -> Event {
        let change = async {
            match &mut self.changes {
                None => std::future::pending().await,
                Some((user, everyone)) => tokio::select! {
                    received = user.recv() => received,
                    received = everyone.recv() => received,
                },
            }
        };
        let (look, behind) = (self.look, self.behind);
        let jobs = self.jobs.iter_mut().filter_map(|it| it.signals.as_mut());
        let jobs: Vec<_> = jobs.map(|it| Box::pin(it.recv())).collect();
        let job = async {
            if jobs.is_empty() {
                return std::future::pending().await;
            }
            future::select_all(jobs).await;
        };
        tokio::select! {
            received = self.session_signals.recv() => Event::Session(received),
            () = job => Event::Job,
            () = at(look) => Event::Look,
            () = at(behind) => Event::Change(Received::Missed),
            received = change => Event::Change(received),
            () = sleep_until(self.keep_alive) => Event::KeepAlive,
            () = self.engine.drain.cancelled() => Event::Drain,
            () = sleep_until(self.expires) => Event::Expired,
            () = self.access.ended() => Event::Expired,
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
        let page = match patiently(READ_PATIENCE, read).await {
            Ok(Some(page)) => page,
            // The stream has expired: there is nothing more to come.
            Ok(None) => {
                self.end = Some(End::OfSocket);
                return;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "A stream cannot be read and is closed: {error}"
                );
                self.hang_up();
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
        self.end = page.ended.then_some(End::OfStream);
        for (number, message) in page.events {
            self.after = number;
            if let Moving::Here { answers_until } = self.moving {
                if number > answers_until || is_answer(&message) {
                    self.ready.push_back(sse::event(None, &message));
                }
                continue;
            }
            let id = EventId { stream: self.key.stream.clone(), number };
            self.ready.push_back(if std::mem::take(&mut self.says_when) {
                sse::first_event(&id, &message)
            } else {
                sse::event(Some(&id), &message)
            });
        }
        self.answered_by(page.jobs).await;
        self.watch(page.lapses).await;
    }

    /// Takes note of the requests that jobs will answer, and looks after those that are new.
    async fn answered_by(&mut self, jobs: Vec<(Writer, JobId)>) {
        self.jobs.retain(|known| jobs.iter().any(|(writer, _)| *writer == known.writer));
        let before = self.jobs.len();
        for (writer, job) in jobs {
            if !self.jobs.iter().any(|known| known.writer == writer) {
                self.jobs.push(Answering { writer, job, signals: None });
            }
        }
        if self.jobs.len() > before {
            self.look_after_jobs(false).await;
        }
    }

    /// Tells what jobs have to tell, in case nobody did. `patient`: whether a job that is not there
    /// has had its time to appear. False if something cannot be known now.
    async fn look_after_jobs(&mut self, patient: bool) -> bool {
        let engine = Arc::clone(&self.engine);
        let mut known = true;
        for answering in &mut self.jobs {
            if let Err(error) = answering.look_after(&engine, &self.caller, patient).await {
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
    async fn watch(&mut self, lapses: Option<Duration>) {
        let now = Instant::now();
        self.look = match lapses {
            None => None,
            // A little later than the lease, so that one look is enough.
            Some(left) if !left.is_zero() => {
                self.suspected = None;
                Some(now + left + HEARTBEAT)
            }
            Some(_) => {
                let since = *self.suspected.get_or_insert(now);
                if now >= since + SECOND_LOOK && self.ready.is_empty() {
                    self.suspected = None;
                    self.take_calls_over().await;
                    None
                } else {
                    Some((since + SECOND_LOOK).max(now))
                }
            }
        };
    }

    /// The instance that ran a call has died: somebody has to do something instead.
    async fn take_calls_over(&mut self) {
        if !self.look_after_jobs(true).await {
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
            Received::Signal(Signal::StreamReleased(key)) if key == self.key => self.hang_up(),
            Received::Signal(Signal::StreamTaken { key, holder })
                if key == self.key && holder != self.holder =>
            {
                self.end = Some(End::Taken);
            }
            Received::Signal(Signal::SessionEnded(_)) => self.end = Some(End::OfSocket),
            Received::Signal(_) => {}
        }
    }

    /// The client has all of the stream and will not ask for it again: nothing of it moves later.
    async fn forget(&self) {
        if self.end != Some(End::OfStream) || self.moving == Moving::No {
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
        self.behind = None;
        if let Err(error) = self.pass_on(received).await {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A change could not be passed on yet: {error}"
            );
            self.behind = Some(Instant::now() + CATCH_UP);
        }
    }

    async fn pass_on(&mut self, received: Received) -> Result<(), StoreError> {
        let user = &self.caller.user;
        let loading = self.engine.stores.sessions.load(user, &self.key.session);
        let Some(session) = loading.await? else {
            self.end = Some(End::OfSocket);
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
        self.look_after_jobs(true).await;
        let user = &self.caller.user;
        match self.engine.stores.sessions.load(user, &self.key.session).await {
            Ok(Some(session)) => self.compare_lists(&session).await,
            Ok(None) => {
                self.end = Some(End::OfSocket);
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
    fn hang_up(&mut self) {
        let says_when = match self.empty_events {
            EmptyEvents::Allowed => true,
            EmptyEvents::Avoided => self.engine.drain.is_cancelled(),
            EmptyEvents::Never => false,
        };
        if says_when {
            self.ready.push_back(sse::retry());
        }
        self.end = Some(End::OfSocket);
    }
}

impl Drop for Follower {
    /// The client will not resume this stream, but it will resume the standalone one if that closes.
    fn drop(&mut self) {
        let is_left = match self.end {
            Some(End::Taken) => false,
            Some(End::OfStream) => !self.ready.is_empty(),
            Some(End::OfSocket) | None => true,
        };
        if self.moving != Moving::Away || !is_left {
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
async fn at(moment: Option<Instant>) {
    match moment {
        None => std::future::pending().await,
        Some(moment) => sleep_until(moment).await,
    }
}
