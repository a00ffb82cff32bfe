//! Serves a legacy stream on a socket: reads the log, sends new events, and waits for signals.
//!
//! A signal is only a hint to read again, so a lost signal delays events but loses none. The reader
//! subscribes before it reads.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    delivery::Delivery,
    job_requests::JobRequests,
    lease_watch::LeaseWatch,
    quirks::{EmptyEvents, StreamQuirks},
    rerun,
};
use crate::{
    caller::Caller,
    engine::{Inner, access::Access, notifications, retry::retry_for},
    sse,
    store::{
        EventId, EventNumber, Page, Received, Session, Signal, StoreError, StreamId, StreamKey,
        Subscription, Topic,
    },
    version::ProtocolVersion,
};

/// The maximum number of events read from the log at once.
pub(super) const READ_AHEAD: usize = 64;

/// How long reading is retried before the socket is closed and the client has to resume.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The delay before changes that could not be appended are retried.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Why the socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseReason {
    /// The stream has ended.
    StreamEnded,
    /// Another socket serves the stream now.
    TakenOver,
    /// Only this socket ends; the stream can be resumed.
    SocketOnly,
}

/// The reader of a legacy stream for one socket.
pub(super) struct StreamReader {
    engine: Arc<Inner>,
    key: StreamKey,
    empty_events: EmptyEvents,
    /// Whether the next event must contain `retry`, because no earlier one did.
    sends_retry: bool,
    delivery: Delivery,
    /// The caller that opened the socket: lost calls are run again with its rights.
    caller: Caller,
    /// A random id that distinguishes this reader from others of the same stream.
    holder: String,
    /// The last event that was read.
    after: EventNumber,
    /// Encoded events that were not sent yet.
    ready: VecDeque<Bytes>,
    /// Whether the client is resuming the stream and has not received all missed events.
    resumes: bool,
    /// Whether the log may have new events.
    unread: bool,
    /// When to retry changes that could not be appended.
    catch_up_at: Option<Instant>,
    leases: LeaseWatch,
    jobs: JobRequests,
    /// Set when the socket is to be closed after the events in `ready`.
    close_reason: Option<CloseReason>,
    session_signals: Subscription,
    /// Signals of the user and of all users, for the standalone stream only.
    changes: Option<(Subscription, Subscription)>,
    keep_alive: Instant,
    expires: Instant,
    access: Access,
    _busy: TaskTrackerToken,
}

/// What ended a wait.
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
    /// Subscribes to the signals of the stream. Events are read when the body is polled.
    pub(super) async fn start(
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
            holder: engine.environment.id(),
            after,
            ready: VecDeque::from([first]),
            resumes: false,
            unread: true,
            catch_up_at: None,
            leases: LeaseWatch::default(),
            jobs: JobRequests::default(),
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

    /// Closes all other sockets of this stream, so that each message is sent on one socket only.
    ///
    /// The changes on a standalone stream are appended by its reader. A client that resumes it may
    /// have missed some in between, so it is notified that everything it subscribes to may have
    /// changed.
    pub(super) async fn take_over(&mut self, resumes: bool, session: &Session) {
        let signal = Signal::StreamTaken { key: self.key.clone(), holder: self.holder.clone() };
        self.engine.publish(signal).await;
        self.resumes = resumes;
        if resumes && self.key.stream.is_standalone() {
            self.on_change(Received::Missed).await;
        }
        self.send_list_changes(session).await;
    }

    /// Continues the stream of a call on the socket of the standalone stream. Its events have no
    /// ids, because they would make the client resume this stream instead of the standalone one.
    pub(super) async fn move_to_standalone(mut self, last: EventNumber, session: &Session) -> Self {
        self.delivery = Delivery::MovedHere { answers_until: last };
        self.ready.clear();
        self.take_over(true, session).await;
        self
    }

    /// Sends `list_changed` if a deploy has changed the lists that the client has.
    async fn send_list_changes(&mut self, session: &Session) {
        if !self.key.stream.is_standalone() {
            return;
        }
        match self.engine.send_list_changes(&self.key.session, session).await {
            Ok(sent) => self.unread |= sent,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not notify a session of changed lists; retrying later"
                );
            }
        }
    }

    /// The body of the response.
    pub(super) fn into_body(self) -> BoxStream<'static, Bytes> {
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
            // Boxed, except for waiting, so that the future of a waiting stream is small: thousands
            // are open.
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
                    biased;
                    received = user.recv() => received,
                    received = everyone.recv() => received,
                },
            }
        };
        // The rare ones first: many signals must not delay them.
        tokio::select! {
            biased;
            () = self.engine.drain.cancelled() => Wake::Drain,
            () = self.access.ended() => Wake::Expired,
            () = sleep_until(self.expires) => Wake::Expired,
            () = sleep_until(self.keep_alive) => Wake::KeepAlive,
            () = sleep_until_some(self.leases.check_at) => Wake::CheckLeases,
            () = sleep_until_some(self.catch_up_at) => Wake::Change(Received::Missed),
            received = self.session_signals.recv() => Wake::Session(received),
            received = change => Wake::Change(received),
            () = self.jobs.changed() => Wake::Job,
        }
    }

    /// Counts the events that were dropped from the log before they were read, since the log keeps
    /// only the newest ones: `missed` before a client resumed, or `lost` while it was connected.
    fn count_gap(&self, page: &Page) {
        let first = page.events.first().map_or(0, |(number, _)| *number);
        let gap = first.saturating_sub(self.after.saturating_add(1));
        match gap {
            0 => {}
            missed if self.resumes => {
                tracing::debug!(target: crate::COUNTED, missed, "Events dropped before a resume");
            }
            lost => {
                tracing::debug!(target: crate::COUNTED, lost, "Events dropped while connected");
            }
        }
    }

    /// Reads new events from the log and queues them for the socket.
    async fn read(&mut self) {
        let log = &self.engine.stores.log;
        let read = || log.read(&self.key, self.after, READ_AHEAD);
        let page = match retry_for(READ_TIMEOUT, read).await {
            Ok(Some(page)) => page,
            // The stream has expired.
            Ok(None) => {
                self.close_reason = Some(CloseReason::SocketOnly);
                return;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not read a stream; closing its socket"
                );
                self.close_socket();
                return;
            }
        };
        self.unread = page.events.len() == READ_AHEAD;
        self.count_gap(&page);
        let sent = page.events.len();
        tracing::debug!(target: crate::COUNTED, sent, "Sending events");
        if self.resumes {
            let replayed = page.events.len();
            tracing::debug!(target: crate::COUNTED, replayed, "Replaying events");
            self.resumes = self.unread;
        }
        self.close_reason = page.ended.then_some(CloseReason::StreamEnded);
        for (number, message) in page.events {
            self.after = number;
            let id = EventId { stream: self.key.stream.clone(), number };
            self.ready.extend(self.delivery.encode(&id, &message, &mut self.sends_retry));
        }
        if self.jobs.track(page.jobs) {
            self.sync_job_requests(false).await;
        }
        if self.leases.observe(page.lapses, self.ready.is_empty()) {
            self.take_over_lost_calls().await;
        }
    }

    /// Appends the missing responses and questions of jobs; see [`JobRequests::sync`].
    async fn sync_job_requests(&mut self, may_fail: bool) -> bool {
        let known = self.jobs.sync(&self.engine, &self.caller, may_fail).await;
        self.unread = true;
        known
    }

    /// Takes over the calls whose instance has died.
    async fn take_over_lost_calls(&mut self) {
        if !self.sync_job_requests(true).await {
            // The state of a job is unknown: its request must not be answered as lost.
            return;
        }
        if let Err(error) = rerun::take_over(&self.engine, &self.caller, &self.key).await {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not take over a lost call; retrying"
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
                self.close_reason = Some(CloseReason::SocketOnly);
            }
            Received::Signal(_) => {}
        }
    }

    /// Deletes a stream that was completely sent, if its client does not resume call streams:
    /// otherwise it would be sent again on the standalone stream.
    async fn forget_sent_stream(&self) {
        if self.close_reason != Some(CloseReason::StreamEnded) || self.delivery == Delivery::Own {
            return;
        }
        if let Err(error) = self.engine.stores.log.forget_stream(&self.key).await {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not delete a stream that was sent; it expires"
            );
        }
    }

    /// Appends the notifications of a change to the log, so that a resumed stream contains them,
    /// too.
    async fn on_change(&mut self, received: Received) {
        self.catch_up_at = None;
        if let Err(error) = self.append_changes(received).await {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not append a change; retrying in 1 s"
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
            // Signals were lost: everything the client subscribes to may have changed.
            Received::Missed => {
                let updated = session
                    .subscriptions
                    .into_iter()
                    .map(|uri| Signal::ResourceUpdated { user: user.clone(), uri });
                let list = Signal::ResourceListChanged { user: user.clone() };
                updated.chain([list]).collect()
            }
        };
        for notification in
            signals.iter().filter_map(|signal| notifications::notification(signal, None))
        {
            self.engine.stores.log.append(&self.key.session, &notification).await?;
        }
        self.unread = true;
        Ok(())
    }

    async fn on_keep_alive(&mut self) {
        // A signal may have been lost. Loading the session keeps it alive.
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
                    dependency = error.dependency(), %error,
                    "Could not keep a session alive; retrying in 15 s"
                );
            }
        }
        self.ready.push_back(sse::comment());
    }

    /// Closes the socket of a stream that has not ended; the client will resume it.
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
    /// Closes the standalone stream if the client did not receive all of this one and does not
    /// resume call streams: it resumes the standalone stream, on which the remaining events are
    /// sent.
    fn drop(&mut self) {
        let is_incomplete = match self.close_reason {
            Some(CloseReason::TakenOver) => false,
            Some(CloseReason::StreamEnded) => !self.ready.is_empty(),
            Some(CloseReason::SocketOnly) | None => true,
        };
        if self.delivery != Delivery::MovesAway || !is_incomplete {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let key = StreamKey { session: self.key.session.clone(), stream: StreamId::standalone() };
        self.engine.spawn(async move {
            engine.publish(Signal::StreamReleased(key)).await;
        });
    }
}

/// Sleeps until a time, or forever.
async fn sleep_until_some(moment: Option<Instant>) {
    match moment {
        None => std::future::pending().await,
        Some(moment) => sleep_until(moment).await,
    }
}
