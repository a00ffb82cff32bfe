//! Recent revocations, in memory: the copy of [`super::access`] that requests and open streams use,
//! so that ended access reaches every instance within about a second without a database query per
//! request.
//!
//! The authoritative data are `oauth_grants.revoked_at`, `access_cutoffs` and the state of the
//! signing keys. An instance learns of a change in three ways: from the bus, after the commit; by
//! polling every [`POLL_EVERY`], in case a signal was lost; and by reading everything that is still
//! relevant before it accepts its first token. A revoked grant is relevant for as long as one of
//! its access tokens could still be valid ([`REMEMBERED`]), a cutoff for as long as any access
//! token could ([`CUTOFF_REMEMBERED`]).
//!
//! While the database is unavailable, the instance continues with what it knows: a missed
//! revocation then takes effect at the latest when the access token expires.

mod follow;
mod known;

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    GrantId, Kid, access_cutoffs,
    oauth_grants::{COLUMN, Column, Entity},
    oauth_signing_keys,
};
use mcp::{AccessCheck, Caller, UserId};
use platform::{
    clock::Clock,
    db::{Database, Failure},
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use tokio::sync::{Mutex, watch};
use uuid::Version;

pub use self::follow::follow;
use self::known::{Known, MAX_REMEMBERED, Revocation};
use super::{
    access::{Authority, Denied},
    lifetimes::{LEEWAY, MAX_CONFIGURED_TTL, MAX_TTL},
};

/// How often the database is polled for revocations: a few index lookups. A revocation whose signal
/// was lost, or that was made by a program without Redis, is noticed within about 2 s.
pub const POLL_EVERY: Duration = Duration::from_secs(1);

/// How far each poll reaches back before the previous one. A row carries the time at which its
/// transaction began, by the clock of another instance, and becomes visible when the transaction
/// commits.
const OVERLAP: TimeDelta = TimeDelta::seconds(30);

/// How long a revocation is remembered: the maximum lifetime of a client's access token, plus the
/// clock difference at both ends.
pub const REMEMBERED: TimeDelta =
    TimeDelta::seconds(MAX_CONFIGURED_TTL.as_secs().cast_signed() + 2 * LEEWAY + 30);

/// How long a cutoff is remembered: the maximum lifetime of an access token that was issued by
/// hand.
pub const CUTOFF_REMEMBERED: TimeDelta =
    TimeDelta::seconds(MAX_TTL.as_secs().cast_signed() + 2 * LEEWAY + 30);

/// The revocations that one instance knows. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct RevokedGrants(Arc<Inner>);

struct Inner {
    db: Database,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
    /// The number of changes so far.
    changes: watch::Sender<u64>,
    /// Whether [`Known`] is complete. Set once.
    loaded: AtomicBool,
    /// When the last complete read began. Locked while a read runs.
    last_read: Mutex<Option<DateTime<Utc>>>,
    /// Locked by the call of [`follow()`] that polls for this process.
    following: Mutex<()>,
}

/// The claims of an access token that revocations apply to.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) session_id: &'a str,
    pub(crate) key: &'a Kid,
    /// In seconds since the Unix epoch.
    pub(crate) issued_at: i64,
}

/// The revocations that one read of the database added.
#[derive(Default)]
struct News {
    grants: Vec<GrantId>,
    /// Whether there are new cutoffs.
    people: bool,
    /// Whether there are newly revoked keys.
    keys: bool,
}

impl fmt::Debug for RevokedGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevokedGrants")
    }
}

impl RevokedGrants {
    /// Creates an empty record. Nothing is read from the database yet.
    pub fn new(db: Database, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            db,
            clock,
            known: RwLock::default(),
            changes: watch::Sender::new(0),
            loaded: AtomicBool::new(false),
            last_read: Mutex::default(),
            following: Mutex::default(),
        }))
    }

    /// Reads all relevant revocations, unless that was done before. Call it before the instance
    /// reports that it is ready; otherwise the first token waits for it.
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

    /// Reads the revocations since the last read. Returns the grants that local subscribers have
    /// not been notified of.
    pub async fn poll(&self) -> Result<Vec<GrantId>, Failure> {
        Ok(self.poll_for_all().await?.grants)
    }

    /// Reads like [`Self::poll`], and returns new cutoffs and keys, too.
    async fn poll_for_all(&self) -> Result<News, Failure> {
        let mut last_read = self.0.last_read.lock().await;
        self.read(&mut last_read).await
    }

    /// Wakes tasks that wait for [`AccessCheck::changes`].
    fn changed(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns why an access token is revoked. `Ok(None)`: it is not. Reads the database only if
    /// nothing was read before.
    pub(crate) async fn denied(&self, token: &Token<'_>) -> Result<Option<Denied>, Failure> {
        self.load().await?;
        Ok(self.known_to_be_denied(token))
    }

    /// Returns why an access token is revoked, from memory only.
    fn known_to_be_denied(&self, token: &Token<'_>) -> Option<Denied> {
        let Token { user, session_id, key, issued_at } = *token;
        let known = self.known();
        let grant: Option<GrantId> = session_id.parse().ok();
        // Only grants have ids of version 7. A cutoff of their user revokes the grants separately.
        let has_grant = grant.is_some_and(|id| id.0.get_version() == Some(Version::SortRand));
        if grant.is_some_and(|id| known.grants.covers(&id, issued_at, |_at| true)) {
            Some(Denied::GrantRevoked)
        } else if known.keys.covers(key, issued_at, |_at| true) {
            Some(Denied::KeyRevoked)
        } else if !has_grant
            && known.people.covers(user, issued_at, |at| issued_at <= at.timestamp())
        {
            Some(Denied::CutOff)
        } else {
            None
        }
    }

    /// Returns whether an authority is revoked, from memory only.
    pub fn is_denied(&self, authority: &Authority) -> bool {
        let Authority { user, grant, key, issued_at } = authority;
        let session_id = grant.map(|it| it.to_string()).unwrap_or_default();
        let no_key = Kid(String::new());
        let key = key.as_ref().unwrap_or(&no_key);
        let token = Token { user, session_id: &session_id, key, issued_at: issued_at.timestamp() };
        self.known_to_be_denied(&token).is_some()
    }

    /// Returns the earliest second of issue of a token without a grant that no known cutoff of the
    /// user invalidates.
    pub(crate) fn issue_at(&self, user: &UserId, now: i64) -> i64 {
        let last = self.known().people.last(user);
        last.map_or(now, |last| now.max(last.timestamp() + 1))
    }

    /// Adds a grant that this instance has just revoked.
    pub(super) fn insert(&self, grant: GrantId, at: DateTime<Utc>) {
        self.remember(|known| {
            known.grants.insert(grant, Revocation { at, notified: false }, MAX_REMEMBERED)
        });
    }

    /// Adds a cutoff, made by this instance or another one.
    pub(super) fn cut_off(&self, user: UserId, at: DateTime<Utc>) {
        self.remember(|known| known.people.advance(user, at, MAX_REMEMBERED));
    }

    /// Adds a revoked signing key.
    pub(super) fn distrust(&self, key: Kid) {
        let at = self.0.clock.now();
        self.remember(|known| known.keys.advance(key, at, MAX_REMEMBERED));
    }

    /// Adds a revocation that subscribers are notified of. Returns whether it is new.
    fn insert_notified(&self, grant: GrantId) -> bool {
        let at = self.0.clock.now();
        self.remember(|known| {
            known.grants.insert(grant, Revocation { at, notified: true }, MAX_REMEMBERED)
        })
    }

    fn remember(&self, insert: impl FnOnce(&mut Known) -> bool) -> bool {
        let news = {
            let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
            insert(&mut known)
        };
        if news {
            self.changed();
        }
        news
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, last_read: &mut Option<DateTime<Utc>>) -> Result<News, Failure> {
        let now = self.0.clock.now();
        let since = |oldest: DateTime<Utc>| {
            last_read.map_or(oldest, |last_read| oldest.max(last_read.min(now) - OVERLAP))
        };
        let (grants_from, people_from) = (now - REMEMBERED, now - CUTOFF_REMEMBERED);
        // Sequentially: the pool may have only one connection.
        let grants = self.revoked_since(since(grants_from)).await?;
        let people = self.cut_off_since(since(people_from)).await?;
        let keys = self.keys_revoked_since(since(people_from)).await?;

        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.grants.forget_before(grants_from);
        known.people.forget_before(people_from);
        known.keys.forget_before(people_from);
        let mut news = News::default();
        for (grant, at) in grants {
            if known.grants.insert(grant, Revocation { at, notified: true }, MAX_REMEMBERED) {
                news.grants.push(grant);
            }
        }
        for (user, at) in people {
            let is_new = known.people.advance(UserId::new(user), at, MAX_REMEMBERED);
            news.people |= is_new;
        }
        for (key, at) in keys {
            news.keys |= known.keys.advance(key, at.unwrap_or(now), MAX_REMEMBERED);
        }
        drop(known);
        *last_read = Some(now);
        self.0.loaded.store(true, Ordering::Release);
        if !news.grants.is_empty() || news.people || news.keys {
            self.changed();
        }
        Ok(news)
    }

    /// Reads the newest first, so that too many of them raise the floor far enough.
    async fn revoked_since(
        &self,
        since: DateTime<Utc>,
    ) -> Result<Vec<(GrantId, DateTime<Utc>)>, Failure> {
        let rows: Vec<(GrantId, Option<DateTime<Utc>>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::RevokedAt])
            .filter(COLUMN.revoked_at.gt(since))
            .order_by_desc(COLUMN.revoked_at)
            .limit(READ_AT_ONCE)
            .into_tuple()
            .all(&self.0.db)
            .await?;
        Ok(rows.into_iter().filter_map(|(grant, at)| Some((grant, at?))).collect())
    }

    async fn keys_revoked_since(
        &self,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Kid, Option<DateTime<Utc>>)>, Failure> {
        use oauth_signing_keys::{COLUMN, Column, Entity, State};

        Ok(Entity::find()
            .select_only()
            .columns([Column::Kid, Column::WipedAt])
            .filter(COLUMN.state.eq(State::Revoked))
            .filter(COLUMN.wiped_at.gt(since))
            .limit(READ_AT_ONCE)
            .into_tuple()
            .all(&self.0.db)
            .await?)
    }

    async fn cut_off_since(
        &self,
        since: DateTime<Utc>,
    ) -> Result<Vec<(String, DateTime<Utc>)>, Failure> {
        use access_cutoffs::{COLUMN, Column, Entity};

        Ok(Entity::find()
            .select_only()
            .columns([Column::UserSub, Column::CutoffAt])
            .filter(COLUMN.cutoff_at.gt(since))
            .order_by_desc(COLUMN.cutoff_at)
            .limit(READ_AT_ONCE)
            .into_tuple()
            .all(&self.0.db)
            .await?)
    }
}

/// One more than [`MAX_REMEMBERED`], so that too many are detected.
const READ_AT_ONCE: u64 = MAX_REMEMBERED as u64 + 1;

impl AccessCheck for RevokedGrants {
    fn is_allowed(&self, caller: &Caller) -> bool {
        let token = Token {
            user: &caller.user,
            session_id: &caller.grant,
            key: &Kid(caller.key.to_string()),
            issued_at: caller.issued_at,
        };
        self.known_to_be_denied(&token).is_none()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}
