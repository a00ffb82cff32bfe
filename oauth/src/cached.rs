//! A document from another server, cached in this process: the discovery document of an identity
//! provider, its keys, or those of a client.

use std::{fmt::Display, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout},
};

use crate::login::provider::Deadline;

/// The age from which a document is fetched again.
const MAX_AGE: Duration = Duration::from_hours(1);

/// How long a document is used while it cannot be fetched again.
const MAX_STALE_AGE: Duration = Duration::from_hours(24);

/// The timeout for fetching a document again, while the earlier one can still be used: a part of the
/// time for a login.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// The minimum time between two attempts to fetch a document that has not expired, or that could not
/// be fetched again.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Another caller is fetching the document, and did not finish before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// A cached document. One caller at a time fetches it; the others wait for the result.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    /// Whose document it is, for the log.
    owner: String,
    /// What is cached, in the plural, for the log.
    documents: &'static str,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    document: Option<Document<T>>,
    /// When [`Cached::replace`] last fetched the document.
    replaced_at: Option<Instant>,
}

#[derive(Debug)]
struct Document<T> {
    value: Arc<T>,
    fetched_at: Instant,
    /// When fetching it again last failed.
    failed_at: Option<Instant>,
}

impl<T> Cached<T> {
    /// Creates an empty cache. `owner` and `documents` (in the plural) are for the log.
    pub(crate) fn new(owner: &str, documents: &'static str) -> Self {
        let state = Mutex::new(State { document: None, replaced_at: None });
        Self { owner: owner.to_owned(), documents, state }
    }

    /// Returns the document, fetched within [`MAX_AGE`], or within [`MAX_STALE_AGE`] if it cannot be
    /// fetched now.
    pub(crate) async fn get<E, F>(
        &self,
        deadline: Deadline,
        fetch: impl FnOnce(Deadline) -> F,
    ) -> Result<Arc<T>, E>
    where
        E: From<TimedOut> + Display,
        F: Future<Output = Result<T, E>>,
    {
        let mut state = self.lock(deadline).await?;
        let Some(document) = &mut state.document else {
            return Ok(state.store(fetch(deadline).await?));
        };
        let is_recent = |at: Instant, limit| at.elapsed() < limit;
        if is_recent(document.fetched_at, MAX_AGE)
            || document.failed_at.is_some_and(|at| is_recent(at, RETRY_AFTER))
        {
            return Ok(Arc::clone(&document.value));
        }
        match fetch(deadline.at_most(REFRESH_TIMEOUT)).await {
            Ok(value) => Ok(state.store(value)),
            Err(error) if is_recent(document.fetched_at, MAX_STALE_AGE) => {
                tracing::warn!(
                    dependency = self.owner.as_str(), %error,
                    "Could not fetch the {} of {} again; using the earlier ones",
                    self.documents, self.owner
                );
                document.failed_at = Some(Instant::now());
                Ok(Arc::clone(&document.value))
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches the document again because `outdated` lacks something. Returns the newer document, also
    /// if another caller has fetched it meanwhile. `Ok(None)`: it was fetched within [`RETRY_AFTER`]
    /// for the same reason, so that tokens with invented key ids cannot cause many requests.
    pub(crate) async fn replace<E, F>(
        &self,
        outdated: &Arc<T>,
        deadline: Deadline,
        fetch: impl FnOnce(Deadline) -> F,
    ) -> Result<Option<Arc<T>>, E>
    where
        E: From<TimedOut>,
        F: Future<Output = Result<T, E>>,
    {
        let mut state = self.lock(deadline).await?;
        if let Some(document) = &state.document
            && !Arc::ptr_eq(&document.value, outdated)
        {
            return Ok(Some(Arc::clone(&document.value)));
        }
        if state.replaced_at.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return Ok(None);
        }
        state.replaced_at = Some(Instant::now());
        Ok(Some(state.store(fetch(deadline).await?)))
    }

    async fn lock(&self, deadline: Deadline) -> Result<MutexGuard<'_, State<T>>, TimedOut> {
        let locked = timeout(deadline.left(), self.state.lock()).await;
        locked.map_err(|_elapsed| TimedOut)
    }
}

impl<T> State<T> {
    fn store(&mut self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        self.document = Some(Document {
            value: Arc::clone(&value),
            fetched_at: Instant::now(),
            failed_at: None,
        });
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;

    /// The document could not be fetched.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("down")]
    struct Down;

    impl From<TimedOut> for Down {
        fn from(_: TimedOut) -> Self {
            Self
        }
    }

    fn cached() -> Cached<usize> {
        Cached::new("acme", "numbers")
    }

    /// A provider whose document is the number of its fetches.
    #[derive(Default)]
    struct Provider(AtomicUsize);

    impl Provider {
        async fn fetch(&self, _deadline: Deadline) -> Result<usize, Down> {
            tokio::task::yield_now().await;
            Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
        }

        async fn get(&self, cached: &Cached<usize>) -> usize {
            *cached.get(Deadline::start(), async |it| self.fetch(it).await).await.unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_fetched_once_an_hour() {
        let (provider, cached) = (Provider::default(), cached());
        assert_eq!(provider.get(&cached).await, 1);
        advance(MAX_AGE.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(provider.get(&cached).await, 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(provider.get(&cached).await, 2);
    }

    #[tokio::test]
    async fn concurrent_callers_cause_one_fetch() {
        let (provider, cached) = (Provider::default(), cached());
        let (a, b, c) =
            tokio::join!(provider.get(&cached), provider.get(&cached), provider.get(&cached));
        assert_eq!([a, b, c], [1, 1, 1]);

        let outdated =
            cached.get(Deadline::start(), async |it| provider.fetch(it).await).await.unwrap();
        let replace = async || {
            let fetch = async |it| provider.fetch(it).await;
            cached.replace(&outdated, Deadline::start(), fetch).await.unwrap().as_deref().copied()
        };
        let (a, b, c) = tokio::join!(replace(), replace(), replace());
        assert_eq!([a, b, c], [Some(2); 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_causes_one_fetch_a_minute() {
        let (provider, cached) = (Provider::default(), cached());
        let replace = async || {
            let fetch = async |it| provider.fetch(it).await;
            let current = cached.get(Deadline::start(), fetch).await.unwrap();
            let fetch = async |it| provider.fetch(it).await;
            cached.replace(&current, Deadline::start(), fetch).await.unwrap().as_deref().copied()
        };
        assert_eq!(replace().await, Some(2), "at once: keys may change right after a fetch");
        assert_eq!(replace().await, None);
        advance(RETRY_AFTER.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(replace().await, None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(replace().await, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_document_is_used_for_a_day_while_the_provider_is_down() {
        let (provider, cached) = (Provider::default(), cached());
        let attempts = AtomicUsize::new(0);
        let get_while_down = async || {
            let fetch = async |_deadline| {
                attempts.fetch_add(1, Ordering::SeqCst);
                Err(Down)
            };
            cached.get(Deadline::start(), fetch).await.map(|it| *it)
        };
        assert_eq!(get_while_down().await, Err(Down), "there is no earlier one");
        assert_eq!(provider.get(&cached).await, 1);
        advance(MAX_AGE).await;
        assert_eq!(get_while_down().await, Ok(1));
        assert_eq!(get_while_down().await, Ok(1));
        assert_eq!(attempts.load(Ordering::SeqCst), 2, "not at every login");
        advance(MAX_STALE_AGE.saturating_sub(MAX_AGE)).await;
        assert_eq!(get_while_down().await, Err(Down));
        assert_eq!(provider.get(&cached).await, 2);
    }
}
