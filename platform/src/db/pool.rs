//! The connection pool. Every wait in it is limited on the client's side: a server, a pooler or a
//! network that stops responding costs a caller some seconds and the pool one connection, never
//! more.
//!
//! A statement that is not answered within its limit, and any error that ends a session, close the
//! connection at once; it is not used again. Idle connections that were opened before then are no
//! longer trusted, and are closed instead of used.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts},
};
use futures_util::{FutureExt as _, future::join_all};
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

use super::{
    failure::{DATABASE, ends_connection, is_read_only, is_starting},
    limits::{ACQUIRE_TIMEOUT, CONNECT_TIMEOUT, STATEMENT_LIMIT},
    link::{Link, Operation, Unprepared},
    person::Permit,
    target::Target,
};
use crate::metrics;

/// A connection that was idle for longer than this is checked before it is used: the server, or a
/// device in between, may have closed or forgotten it. A busy instance never waits for such a
/// check, and a restart of the server takes longer than this.
const TRUST_IDLE: Duration = Duration::from_millis(100);

/// The limit on such a check. An idle connection answers within milliseconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a session is used that was read-only when it was opened. The setting may belong to the
/// session, so only a new session detects that the database is writable again.
const READ_ONLY_TRUST: Duration = Duration::from_secs(1);

/// How long a connection may be idle, so that a quiet instance holds few.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// The maximum age of a connection, so that load moves to servers that were added.
const MAX_AGE: Duration = Duration::from_mins(30);

/// The interval between checks for idle connections.
const REAP_INTERVAL: Duration = Duration::from_secs(30);

/// How long a connection has to finish a statement that its last user abandoned. The same as the
/// limit on a statement.
const RECOVERY_TIMEOUT: Duration = STATEMENT_LIMIT;

/// The limit on closing a session cleanly.
const SESSION_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The delays between attempts to connect to a server that is starting: the first, and the longest.
const RECONNECT_PAUSES: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(500));

/// The interval at which a closing pool checks whether the last statements have ended.
const CLOSE_POLL: Duration = Duration::from_millis(20);

/// Opens connections and decides whether they may be used again.
struct Manager {
    target: Target,
    /// Incremented whenever the existing connections are no longer trusted.
    generation: AtomicU64,
    /// Why the last attempt to connect failed; `None` after one that succeeded.
    connect_error: Mutex<Option<Arc<sqlx::Error>>>,
}

impl Manager {
    /// Opens a connection. Retries for up to [`CONNECT_TIMEOUT`] if the server is starting.
    async fn connect(&self) -> Result<Link, sqlx::Error> {
        let began = Instant::now();
        let (mut pause, longest) = RECONNECT_PAUSES;
        loop {
            let generation = self.generation.load(Ordering::Relaxed);
            let left = CONNECT_TIMEOUT.saturating_sub(began.elapsed());
            let error = match timeout(left, Link::open(&self.target, generation)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => error,
                Err(_) => return Err(no_response(CONNECT_TIMEOUT)),
            };
            if !is_starting(&error) || began.elapsed() + pause >= CONNECT_TIMEOUT {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Stops trusting the connections of a generation.
    fn distrust(&self, generation: u64) {
        let next = generation + 1;
        // Fails if another task has done so already.
        let _raced = self.generation.compare_exchange(
            generation,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    fn trusts(&self, link: &Link) -> bool {
        link.generation == self.generation.load(Ordering::Relaxed)
            && link.opened_at.elapsed() < if link.read_only { READ_ONLY_TRUST } else { MAX_AGE }
    }

    fn connect_error(&self) -> std::sync::MutexGuard<'_, Option<Arc<sqlx::Error>>> {
        self.connect_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl managed::Manager for Manager {
    type Type = Link;
    type Error = Arc<sqlx::Error>;

    async fn create(&self) -> Result<Link, Arc<sqlx::Error>> {
        // Boxed: a future that connects is large, and almost every caller finds an open connection.
        let connected = self.connect().boxed().await.map_err(Arc::new);
        let error = connected.as_ref().err().map(Arc::clone);
        let previous = std::mem::replace(&mut *self.connect_error(), error);
        if previous.is_some() && connected.is_ok() {
            tracing::info!(dependency = DATABASE, "The database answers again");
        }
        connected
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<Arc<sqlx::Error>> {
        if !self.trusts(link) {
            return Err(RecycleError::message("opened too long ago"));
        }
        if link.used_at.elapsed() < TRUST_IDLE {
            return Ok(());
        }
        match timeout(CHECK_TIMEOUT, link.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.distrust(link.generation);
                Err(RecycleError::Backend(Arc::new(error)))
            }
            Err(_) => {
                self.distrust(link.generation);
                Err(RecycleError::message("no response"))
            }
        }
    }
}

/// The connections of one process. Clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    inner: managed::Pool<Manager>,
}

/// The number of connections in a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolStatus {
    /// Open connections.
    pub open: usize,
    /// Open connections that are not in use.
    pub idle: usize,
    /// Whether callers wait although the maximum number of connections is open.
    pub exhausted: bool,
}

impl Pool {
    /// Creates a pool, which connects when a connection is first requested.
    pub(super) fn new(target: Target, max_connections: u32) -> anyhow::Result<Self> {
        let reaps = matches!(target, Target::Postgres(_));
        let manager =
            Manager { target, generation: AtomicU64::new(0), connect_error: Mutex::default() };
        let inner = managed::Pool::builder(manager)
            .max_size(usize::try_from(max_connections)?)
            // Connections used last are known to work, and the others become idle long enough to be
            // closed.
            .queue_mode(QueueMode::Lifo)
            .timeouts(Timeouts { wait: Some(ACQUIRE_TIMEOUT), create: None, recycle: None })
            .runtime(Runtime::Tokio1)
            .build()?;
        if reaps {
            tokio::spawn(reap(inner.weak()));
        }
        Ok(Self { inner })
    }

    pub(super) fn target(&self) -> &Target {
        &self.inner.manager().target
    }

    /// Waits for a connection, on behalf of the person whose permit this is.
    pub(super) async fn lease(&self, permit: Option<Permit>) -> Result<Lease, DbErr> {
        let began = Instant::now();
        let object = self.inner.get().await.map_err(|error| self.acquire_error(error))?;
        metrics::DB_CONNECTION_WAIT.observe([], began.elapsed());
        Ok(Lease::of(object, permit))
    }

    /// Replaces a connection that was [outdated](Lease::was_outdated).
    pub(super) async fn lease_instead(&self, mut outdated: Lease) -> Result<Lease, DbErr> {
        let permit = outdated.permit.take();
        drop(outdated);
        self.lease(permit).await
    }

    /// Returns a connection that is idle or newly opened. `None`: all are in use, or connecting
    /// failed.
    pub(super) async fn try_lease(&self) -> Option<Lease> {
        let at_once = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };
        let object = self.inner.timeout_get(&at_once).await.ok()?;
        Some(Lease::of(object, None))
    }

    fn acquire_error(&self, error: PoolError<Arc<sqlx::Error>>) -> DbErr {
        match error {
            PoolError::Timeout(_) => match self.inner.manager().connect_error().clone() {
                // The pool is full of callers that wait for the same server.
                Some(error) => DbErr::Conn(RuntimeErr::SqlxError(error)),
                None => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            },
            PoolError::Closed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            PoolError::Backend(error) => DbErr::Conn(RuntimeErr::SqlxError(error)),
            other => DbErr::Conn(RuntimeErr::Internal(other.to_string())),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    pub(super) fn status(&self) -> PoolStatus {
        let status = self.inner.status();
        PoolStatus {
            open: status.size,
            idle: status.available,
            exhausted: status.size >= status.max_size && status.waiting > 0,
        }
    }

    /// Refuses new callers and closes the connections as soon as their statements have ended, but
    /// within `limit`. Connections that are open then are dropped with the process.
    pub(super) async fn close(&self, limit: Duration) {
        let idle = self.inner.retain(|_, _| false).removed;
        self.inner.close();
        let closing_sessions = join_all(idle.into_iter().map(close_session));
        let ended = async {
            while self.inner.status().size > 0 {
                sleep(CLOSE_POLL).await;
            }
        };
        let closing = async { tokio::join!(closing_sessions, ended) };
        if timeout(limit, closing).await.is_err() {
            let left = self.inner.status().size;
            tracing::warn!(left, "Dropped {left} database connections that were still in use");
        }
    }
}

/// A connection in use. Dropping the lease returns the connection to the pool, or closes it if the
/// next user could not rely on it.
pub(super) struct Lease {
    object: Option<Object<Manager>>,
    /// Whether the connection was used before.
    reused: bool,
    /// Whether a statement is running. Still set on drop if the lease was dropped in the middle of
    /// it.
    running: bool,
    in_transaction: bool,
    permit: Option<Permit>,
}

impl Lease {
    fn of(object: Object<Manager>, permit: Option<Permit>) -> Self {
        let reused = Object::metrics(&object).recycle_count > 0;
        Self { object: Some(object), reused, running: false, in_transaction: false, permit }
    }

    /// Executes a statement. If there is no answer within `limit`, or the session has ended, the
    /// connection is closed.
    pub(super) async fn run<O: Operation>(
        &mut self,
        operation: &O,
        limit: Duration,
    ) -> Result<O::Output, sqlx::Error> {
        let Some(object) = &mut self.object else { return Err(closed()) };
        self.running = true;
        let result = timeout(limit, operation.run(object)).await;
        self.running = false;
        let result = result.unwrap_or_else(|_elapsed| Err(no_response(limit)));
        match &result {
            Err(error) if ends_connection(error) => self.discard(true),
            Err(error) if is_read_only(error) => {
                let was_writable = !object.read_only;
                self.discard(was_writable);
            }
            _ => object.used_at = Instant::now(),
        }
        result
    }

    /// Begins a transaction. A lease that is dropped before it ends rolls it back.
    pub(super) async fn begin(&mut self, sql: &str, limit: Duration) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        self.run(&Unprepared(sql), limit).await?;
        Ok(())
    }

    /// Ends the transaction.
    pub(super) async fn end(&mut self, sql: &str, limit: Duration) -> Result<(), sqlx::Error> {
        self.run(&Unprepared(sql), limit).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Returns whether this error is about the connection, which was opened some time ago, rather
    /// than about the server: a new connection may work. A timeout does not count, since the caller
    /// has waited long enough.
    pub(super) fn was_outdated(&self, error: &sqlx::Error) -> bool {
        let timed_out =
            matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut);
        self.reused && ends_connection(error) && !timed_out
    }

    /// Returns whether the server refused to write in a session that was opened some time ago. The
    /// statement was not executed.
    pub(super) fn was_read_only(&self, error: &sqlx::Error) -> bool {
        self.reused && is_read_only(error)
    }

    /// Closes the connection. If the error `affects_others`, connections of the same generation
    /// are no longer trusted either.
    fn discard(&mut self, affects_others: bool) {
        let Some(object) = self.object.take() else { return };
        if affects_others && let Some(pool) = Object::pool(&object) {
            pool.manager().distrust(object.generation);
        }
        drop(Object::take(object));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if !self.running && !self.in_transaction {
            return; // dropping the object returns it to the pool
        }
        let recovery = Recovery { object: Some(object), _permit: self.permit.take() };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(recovery.run(self.running, self.in_transaction));
        }
    }
}

/// Makes an abandoned connection usable again. Closes the connection if it is dropped before that
/// is done.
struct Recovery {
    object: Option<Object<Manager>>,
    /// The person's permit for the connection, which is still in use.
    _permit: Option<Permit>,
}

impl Recovery {
    async fn run(mut self, running: bool, in_transaction: bool) {
        let Some(object) = &mut self.object else { return };
        let recovering = async {
            if running {
                object.ping().await?;
            }
            if in_transaction {
                Unprepared("ROLLBACK").run(object).await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        if let Ok(Ok(())) = timeout(RECOVERY_TIMEOUT, recovering).await {
            object.used_at = Instant::now();
            drop(self.object.take());
        }
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// Closes connections that are idle for too long or no longer trusted. Ends with the pool.
async fn reap(pool: managed::WeakPool<Manager>) {
    loop {
        sleep(REAP_INTERVAL).await;
        let Some(pool) = pool.upgrade() else { return };
        let manager = pool.manager();
        let removed = pool
            .retain(|link, _| manager.trusts(link) && link.used_at.elapsed() < IDLE_TIMEOUT)
            .removed;
        join_all(removed.into_iter().map(close_session)).await;
    }
}

/// Closes a session cleanly, within a time limit.
pub(super) async fn close_session(link: Link) {
    // After a timeout, the connection is dropped, which also closes it, without the closing
    // message.
    let _unanswered = timeout(SESSION_CLOSE_TIMEOUT, link.close()).await;
}

/// Returns the error of a connection that did not respond in time.
pub(super) fn no_response(limit: Duration) -> sqlx::Error {
    let text = format!("the database did not respond within {limit:?}");
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

/// Returns the error of a transaction whose connection was closed after an earlier error.
fn closed() -> sqlx::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was closed after an error").into()
}
