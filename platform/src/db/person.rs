//! Limits how much of the pool one person may use at once in this process, so that other people
//! find a free connection however many requests that person sends.
//!
//! A permit belongs to a connection in use, not to a call: a statement whose caller was cancelled
//! keeps its permit until the connection can be used again.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sea_orm::{DbErr, RuntimeErr};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The maximum number of connections that one person may use at once, however large the pool is.
/// The limit applies to each instance separately.
const MAX_CONNECTIONS: usize = 4;

/// The part of the pool that one person may use: 1/2, rounded down, but at least one connection.
const POOL_DIVISOR: usize = 2;

/// The maximum number of statements of one person that wait for a connection at once. Further ones
/// are refused immediately.
const MAX_WAITING: usize = 64;

/// How long a request waits for a connection while its person uses the maximum number of them, and
/// for another search of that person. Both together are less than the time after which a response
/// becomes a stream, whose status can no longer be 429.
const REQUEST_WAIT: Duration = Duration::from_millis(600);

/// How long a job waits. Longer than a request: no person watches it, and retrying the whole job
/// costs more.
const JOB_WAIT: Duration = Duration::from_secs(30);

/// The number of entries in the table of people from which unused ones are removed.
const PRUNE_AT: usize = 1_024;

/// The person already uses the maximum number of connections, or another search of theirs runs.
#[derive(Debug, thiserror::Error)]
#[error("this person already uses the maximum number of database connections")]
pub struct Busy;

/// The people who currently use the database.
pub(super) struct People {
    connections: usize,
    shares: Mutex<HashMap<String, Weak<Share>>>,
}

/// What one person uses.
struct Share {
    connections: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl People {
    pub(super) fn new(max_connections: u32) -> Self {
        let pool = usize::try_from(max_connections).unwrap_or(usize::MAX);
        let connections = (pool / POOL_DIVISOR).clamp(1, MAX_CONNECTIONS);
        Self { connections, shares: Mutex::default() }
    }

    pub(super) fn person(&self, name: &str) -> Person {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(name).and_then(Weak::upgrade) {
            return Person { share, wait: REQUEST_WAIT };
        }
        if shares.len() >= PRUNE_AT {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share {
            connections: Arc::new(Semaphore::new(self.connections)),
            searches: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        });
        shares.insert(name.to_owned(), Arc::downgrade(&share));
        Person { share, wait: REQUEST_WAIT }
    }
}

/// A person who uses the database.
#[derive(Clone)]
pub(super) struct Person {
    share: Arc<Share>,
    wait: Duration,
}

/// Permission to use one connection, or to run a search. It keeps the counts of the person: a new
/// handle for the same person shares them while a permit exists.
pub struct Permit {
    _permit: OwnedSemaphorePermit,
    _share: Arc<Share>,
}

impl Person {
    /// Returns the same person, with the longer wait of a job.
    pub(super) fn in_job(self) -> Self {
        Self { wait: JOB_WAIT, ..self }
    }

    /// Waits until the person may use one more connection.
    pub(super) async fn connection(&self) -> Result<Permit, Busy> {
        self.enter(&self.share.connections).await
    }

    /// Waits until no other search of the person runs in this process.
    pub(super) async fn search(&self) -> Result<Permit, Busy> {
        self.enter(&self.share.searches).await
    }

    /// Waits for a permit. Permits are granted in the order of the requests.
    async fn enter(&self, permits: &Arc<Semaphore>) -> Result<Permit, Busy> {
        let permit = match Arc::clone(permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_in_use) => {
                let _waiting = Waiting::begin(&self.share)?;
                let permit = Arc::clone(permits).acquire_owned();
                timeout(self.wait, permit).await.ok().and_then(Result::ok).ok_or(Busy)?
            }
        };
        Ok(Permit { _permit: permit, _share: Arc::clone(&self.share) })
    }
}

/// Counts a waiting statement until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(share: &'a Share) -> Result<Self, Busy> {
        let waiting = Self(&share.waiting);
        if share.waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING {
            Ok(waiting)
        } else {
            Err(Busy) // dropping `waiting` decrements the count
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<Busy> for DbErr {
    fn from(busy: Busy) -> Self {
        let error = sqlx::Error::Io(io::Error::new(io::ErrorKind::WouldBlock, busy));
        Self::Conn(RuntimeErr::SqlxError(error.into()))
    }
}

/// Returns whether a statement was not executed because its person is [`Busy`].
pub(super) fn is_busy(error: &DbErr) -> bool {
    let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else { return false };
    let sqlx::Error::Io(error) = &**error else { return false };
    let Some(source) = error.get_ref() else { return false };
    source.is::<Busy>()
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnAcquireErr;

    use super::*;

    async fn refused(person: &Person) {
        let waited = timeout(REQUEST_WAIT * 2, person.connection()).await;
        assert!(waited.expect("the wait is bounded").is_err());
    }

    #[test]
    fn one_person_gets_a_part_of_any_pool() {
        for (pool, share) in [(1, 1), (2, 1), (3, 1), (5, 2), (8, 4), (100, 4)] {
            assert_eq!(People::new(pool).connections, share, "of {pool}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_at_the_limit_waits_and_others_do_not() {
        let people = People::new(5);
        let ada = people.person("ada");
        let (first, _second) = (ada.connection().await.unwrap(), ada.connection().await.unwrap());
        refused(&people.person("ada")).await;
        assert!(people.person("bob").connection().await.is_ok());
        drop(first);
        assert!(people.person("ada").connection().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_counts_after_the_person_is_pruned() {
        let people = People::new(1);
        let permit = people.person("ada").connection().await.unwrap();
        for number in 0..PRUNE_AT {
            drop(people.person(&number.to_string()));
        }
        refused(&people.person("ada")).await;
        drop(permit);
        assert!(people.person("ada").connection().await.is_ok());
        assert!(people.shares.lock().unwrap().len() <= PRUNE_AT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiting_statements_is_limited() {
        let people = People::new(1);
        let ada = people.person("ada").in_job();
        let _permit = ada.connection().await.unwrap();
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                tokio::spawn({
                    let ada = ada.clone();
                    async move { ada.connection().await.is_ok() }
                })
            })
            .collect();
        while ada.share.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let refused = timeout(Duration::from_millis(1), ada.connection()).await;
        assert!(refused.expect("it does not wait").is_err());
        for task in waiting {
            task.abort();
            let _aborted = task.await;
        }
        assert_eq!(ada.share.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn busy_is_distinguished_from_a_failed_connection() {
        assert!(is_busy(&Busy.into()));
        assert!(!is_busy(&DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)));
    }
}
