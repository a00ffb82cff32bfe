//! Which grants were revoked lately, in memory: what makes a revocation reach every instance within
//! a second or so without asking the database at each request.
//!
//! The truth is `oauth_grants.revoked_at`. An instance learns of it in three ways: from the bus, at
//! the commit; by asking every [`POLL_EVERY`], in case a signal was lost; and by reading everything
//! that still matters before it accepts its first token. A grant matters for as long as an access
//! token of it could still be valid ([`REMEMBERED`]).
//!
//! While the database is away, what is known goes on being used: the worst that a missed revocation
//! costs is the rest of the life of an access token.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    GrantId,
    oauth_grants::{COLUMN, Column, Entity},
};
use mcp::{
    Signal,
    store::{Received, Subscription, Topic},
};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval},
};

use super::access_token::{LEEWAY, MAX_CONFIGURED_TTL};
use crate::{
    Service,
    clock::Clock,
    db::{Database, Failure},
};

/// How often the database is asked what was revoked. With the time that a question takes, a
/// revocation whose signal was lost is noticed within 6 s.
pub const POLL_EVERY: Duration = Duration::from_secs(5);

/// How far back each question reaches beyond the last one. A row carries the time at which its
/// transaction began, by the clock of another instance, and becomes visible when that commits.
const OVERLAP: TimeDelta = TimeDelta::seconds(30);

/// How long a revocation is remembered: as long as a client's access token can live, with the
/// difference between clocks on both ends.
pub const REMEMBERED: TimeDelta =
    TimeDelta::seconds(MAX_CONFIGURED_TTL.as_secs().cast_signed() + 2 * LEEWAY + 30);

/// The most revocations that are remembered, of about 50 bytes each. If there were more within
/// [`REMEMBERED`], every token that was issued before the newest of them is refused instead: clients
/// refresh, and nothing that was revoked gets through.
const MAX_REMEMBERED: usize = 50_000;

/// The revoked grants as one instance knows them. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct RevokedGrants(Arc<Inner>);

struct Inner {
    db: Database,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
    /// Whether [`Known`] is complete. Set once.
    loaded: AtomicBool,
    /// When the last complete reading began. Held while one runs.
    last_read: Mutex<Option<DateTime<Utc>>>,
}

/// What is known.
#[derive(Default)]
struct Known {
    grants: HashMap<GrantId, Revocation>,
    /// Every token issued until then is refused, in seconds since the Unix epoch.
    floor: Option<i64>,
}

#[derive(Clone, Copy)]
struct Revocation {
    at: DateTime<Utc>,
    /// Whether whoever follows was told, so that streams are closed.
    told: bool,
}

impl fmt::Debug for RevokedGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevokedGrants")
    }
}

impl RevokedGrants {
    /// Reads nothing yet.
    pub fn new(db: Database, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            db,
            clock,
            known: RwLock::default(),
            loaded: AtomicBool::new(false),
            last_read: Mutex::default(),
        }))
    }

    /// Reads everything that matters, unless that was done: to be called before the instance says
    /// that it is ready. Whoever forgets pays with the first token.
    pub async fn load(&self) -> Result<(), Failure> {
        if self.0.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut last_read = self.0.last_read.lock().await;
        if last_read.is_none() {
            self.read(&mut last_read).await?;
        }
        Ok(())
    }

    /// Reads what is new since the last time, and gives what nobody here was told of.
    pub async fn poll(&self) -> Result<Vec<GrantId>, Failure> {
        let mut last_read = self.0.last_read.lock().await;
        self.read(&mut last_read).await
    }

    /// Whether a token is of a revoked grant, by its `sid` and the time at which it was issued.
    pub(crate) async fn contains(&self, sid: &str, issued_at: i64) -> Result<bool, Failure> {
        self.load().await?;
        let known = self.known();
        let too_old = known.floor.is_some_and(|floor| issued_at <= floor);
        // What is no id of a grant cannot have been revoked.
        let grant: Option<GrantId> = sid.parse().ok();
        Ok(grant.is_some_and(|it| too_old || known.grants.contains_key(&it)))
    }

    /// Remembers what this instance itself has just revoked.
    pub(super) fn insert(&self, grant: GrantId, at: DateTime<Utc>) {
        self.remember(grant, Revocation { at, told: false });
    }

    /// Remembers a revocation that everybody is told of. Says whether it is news.
    fn hear(&self, grant: GrantId) -> bool {
        let at = self.0.clock.now();
        self.remember(grant, Revocation { at, told: true })
    }

    fn remember(&self, grant: GrantId, revocation: Revocation) -> bool {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(grant, revocation, MAX_REMEMBERED)
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, last_read: &mut Option<DateTime<Utc>>) -> Result<Vec<GrantId>, Failure> {
        let now = self.0.clock.now();
        let oldest = now - REMEMBERED;
        let since = last_read.map_or(oldest, |it| oldest.max(it.min(now) - OVERLAP));
        let limit = u64::try_from(MAX_REMEMBERED).unwrap_or(u64::MAX);
        // The newest, so that too many of them raise the floor far enough.
        let rows: Vec<(GrantId, Option<DateTime<Utc>>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::RevokedAt])
            .filter(COLUMN.revoked_at.gt(since))
            .order_by_desc(COLUMN.revoked_at)
            .limit(limit + 1)
            .into_tuple()
            .all(&self.0.db)
            .await?;

        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.forget_before(oldest);
        let news = rows
            .into_iter()
            .filter_map(|(grant, at)| Some((grant, at?)))
            .filter(|&(grant, at)| {
                let revocation = Revocation { at, told: true };
                known.insert(grant, revocation, MAX_REMEMBERED)
            })
            .map(|(grant, _)| grant)
            .collect();
        drop(known);
        *last_read = Some(now);
        self.0.loaded.store(true, Ordering::Release);
        Ok(news)
    }
}

impl Known {
    /// Says whether it is news: whether nobody was told of it before.
    fn insert(&mut self, grant: GrantId, new: Revocation, most: usize) -> bool {
        let known = self.grants.entry(grant).or_insert(Revocation { told: false, ..new });
        let news = !known.told;
        known.told |= new.told;
        if self.grants.len() > most {
            self.forget_all_but_the_time(new.at, most);
        }
        news
    }

    /// The way out when there are too many: see [`MAX_REMEMBERED`].
    fn forget_all_but_the_time(&mut self, newest: DateTime<Utc>, most: usize) {
        let newest = self.grants.values().map(|it| it.at).fold(newest, Ord::max);
        self.floor = self.floor.max(Some(newest.timestamp() + LEEWAY));
        self.grants.clear();
        tracing::error!(
            most,
            "More than {most} grants were revoked within {} minutes: all access tokens that were \
             issued until now are refused, and clients have to refresh",
            REMEMBERED.num_minutes()
        );
    }

    fn forget_before(&mut self, oldest: DateTime<Utc>) {
        self.grants.retain(|_, revocation| revocation.at >= oldest);
        self.floor = self.floor.filter(|it| *it >= oldest.timestamp());
    }
}

/// Keeps an instance informed of revocations and of the signing keys, and calls `revoked` once for
/// every revocation, so that the streams of the grant can be closed. Never ends: drop it to stop.
pub async fn follow(service: &Service, revoked: impl Fn(GrantId)) {
    let mut ticks = interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut signals = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if signals.is_none() {
                    signals = listen(service).await;
                }
                catch_up(service, &revoked).await;
                if let Err(error) = service.keys().keep_up().await {
                    tracing::warn!(error = ?error, "The signing keys could not be looked after: {error}");
                }
            }
            received = next(&mut signals) => match received {
                Received::Signal(Signal::Revoked { grant }) => {
                    if let Ok(grant) = grant.parse()
                        && service.revoked().hear(grant)
                    {
                        revoked(grant);
                    }
                }
                Received::Signal(_) => {}
                Received::Missed => catch_up(service, &revoked).await,
            },
        }
    }
}

async fn catch_up(service: &Service, revoked: &impl Fn(GrantId)) {
    match service.revoked().poll().await {
        Ok(news) => news.into_iter().for_each(revoked),
        Err(error) => {
            tracing::warn!(error = ?error, "The revoked grants could not be read: {error}");
        }
    }
}

async fn listen(service: &Service) -> Option<Subscription> {
    match service.bus().subscribe(Topic::Control).await {
        Ok(subscription) => Some(subscription),
        Err(error) => {
            tracing::warn!(error = ?error, "Cannot hear of revocations, only ask for them: {error}");
            None
        }
    }
}

async fn next(signals: &mut Option<Subscription>) -> Received {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn grant(n: u128) -> GrantId {
        GrantId(Uuid::from_u128(n))
    }

    fn heard(seconds: i64) -> Revocation {
        Revocation { at: at(seconds), told: true }
    }

    #[test]
    fn a_revocation_is_news_once() {
        let mut known = Known::default();
        assert!(known.insert(grant(1), heard(100), 10));
        assert!(!known.insert(grant(1), heard(101), 10));
        assert!(known.insert(grant(2), heard(100), 10));
        // Our own is known from the start, and still has to be told.
        let own = Revocation { told: false, ..heard(100) };
        known.insert(grant(3), own, 10);
        assert!(known.insert(grant(3), heard(100), 10));
        assert!(!known.insert(grant(3), heard(100), 10));
    }

    #[test]
    fn a_revocation_is_forgotten_when_no_token_can_be_valid_any_more() {
        let mut known = Known::default();
        known.insert(grant(1), heard(100), 10);
        known.insert(grant(2), heard(200), 10);
        known.floor = Some(150);
        known.forget_before(at(150));
        assert_eq!(known.grants.keys().collect::<Vec<_>>(), [&grant(2)]);
        assert_eq!(known.floor, Some(150));
        known.forget_before(at(151));
        assert_eq!(known.floor, None);
    }

    #[test]
    fn too_many_revocations_refuse_all_that_is_older() {
        let mut known = Known::default();
        for n in 0..=10_u32 {
            known.insert(grant(n.into()), heard(1000 - i64::from(n)), 10);
        }
        assert!(known.grants.is_empty());
        assert_eq!(known.floor, Some(1000 + LEEWAY));
    }
}
