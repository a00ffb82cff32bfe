//! Revocations in memory: by key, and bounded.

use std::{collections::HashMap, hash::Hash};

use chrono::{DateTime, Utc};
use entity::{GrantId, Kid};
use mcp::UserId;

use crate::lifetimes::LEEWAY;

/// The maximum number of revocations, and of cutoffs, that are remembered, of about 50 bytes each.
/// If there are more within [`super::REMEMBERED`], every token that was issued before the newest of
/// them is refused instead: clients refresh, and no revoked token is accepted.
pub(super) const MAX_REMEMBERED: usize = 50_000;

#[derive(Default)]
pub(super) struct Known {
    pub(super) grants: Latest<GrantId>,
    pub(super) people: Latest<UserId>,
    pub(super) keys: Latest<Kid>,
}

/// The latest revocation per key.
pub(super) struct Latest<K> {
    revoked: HashMap<K, Revocation>,
    /// Every token issued at or before this time is refused, in seconds since the Unix epoch.
    floor: Option<i64>,
}

impl<K> Default for Latest<K> {
    fn default() -> Self {
        Self { revoked: HashMap::new(), floor: None }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Revocation {
    pub(super) at: DateTime<Utc>,
    /// Whether subscribers have been notified and have closed the grant's streams.
    pub(super) notified: bool,
}

impl<K: Eq + Hash> Latest<K> {
    /// Returns whether a token is revoked. `applies`: whether a revocation at that time applies to
    /// the token.
    pub(super) fn covers(
        &self,
        key: &K,
        issued_at: i64,
        applies: impl FnOnce(DateTime<Utc>) -> bool,
    ) -> bool {
        self.floor.is_some_and(|floor| issued_at <= floor)
            || self.revoked.get(key).is_some_and(|it| applies(it.at))
    }

    /// Adds a revocation that happens once per key. Returns whether it is new, that is, whether
    /// subscribers have not been notified of it.
    pub(super) fn insert(&mut self, key: K, new: Revocation, most: usize) -> bool {
        let known = self.revoked.entry(key).or_insert(Revocation { notified: false, ..new });
        let is_new = !known.notified;
        known.notified |= new.notified;
        self.enforce_limit(new.at, most);
        is_new
    }

    /// Adds a revocation that can be repeated, of which the latest time counts. Returns whether it
    /// is later than the known one.
    pub(super) fn advance(&mut self, key: K, at: DateTime<Utc>, most: usize) -> bool {
        let is_new = self.revoked.get(&key).is_none_or(|known| known.at < at);
        if is_new {
            self.revoked.insert(key, Revocation { at, notified: true });
            self.enforce_limit(at, most);
        }
        is_new
    }

    /// Returns the time of the latest revocation of a key.
    pub(super) fn last(&self, key: &K) -> Option<DateTime<Utc>> {
        self.revoked.get(key).map(|it| it.at)
    }

    /// Replaces all revocations by a floor if there are too many: see [`MAX_REMEMBERED`].
    fn enforce_limit(&mut self, newest: DateTime<Utc>, most: usize) {
        if self.revoked.len() <= most {
            return;
        }
        let newest = self.revoked.values().map(|it| it.at).fold(newest, Ord::max);
        self.floor = self.floor.max(Some(newest.timestamp() + LEEWAY));
        self.revoked.clear();
        tracing::error!(
            most,
            "More than {most} revocations to remember; refusing all access tokens that were \
             issued until now, so that clients refresh"
        );
    }

    pub(super) fn forget_before(&mut self, oldest: DateTime<Utc>) {
        self.revoked.retain(|_, revocation| revocation.at >= oldest);
        self.floor = self.floor.filter(|it| *it >= oldest.timestamp());
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

    fn notified_at(seconds: i64) -> Revocation {
        Revocation { at: at(seconds), notified: true }
    }

    #[test]
    fn a_revocation_is_new_once() {
        let mut known = Latest::default();
        assert!(known.insert(grant(1), notified_at(100), 10));
        assert!(!known.insert(grant(1), notified_at(101), 10));
        assert!(known.insert(grant(2), notified_at(100), 10));
        // A local revocation is known from the start, but subscribers have not been notified yet.
        let own = Revocation { notified: false, ..notified_at(100) };
        known.insert(grant(3), own, 10);
        assert!(known.insert(grant(3), notified_at(100), 10));
        assert!(!known.insert(grant(3), notified_at(100), 10));
    }

    #[test]
    fn a_revocation_is_forgotten_when_no_token_can_be_valid_any_more() {
        let mut known = Latest::default();
        known.insert(grant(1), notified_at(100), 10);
        known.insert(grant(2), notified_at(200), 10);
        known.floor = Some(150);
        known.forget_before(at(150));
        assert_eq!(known.revoked.keys().collect::<Vec<_>>(), [&grant(2)]);
        assert_eq!(known.floor, Some(150));
        known.forget_before(at(151));
        assert_eq!(known.floor, None);
    }

    #[test]
    fn too_many_revocations_refuse_all_that_is_older() {
        let mut known = Latest::default();
        for n in 0..=10_u32 {
            known.insert(grant(n.into()), notified_at(1000 - i64::from(n)), 10);
        }
        assert!(known.revoked.is_empty());
        assert_eq!(known.floor, Some(1000 + LEEWAY));
    }

    #[test]
    fn of_several_cutoffs_the_latest_counts() {
        let mut known = Latest::default();
        assert!(known.advance("ada", at(100), 10));
        assert!(!known.advance("ada", at(100), 10));
        assert!(!known.advance("ada", at(99), 10));
        assert!(known.advance("ada", at(101), 10));
        let voids =
            |issued_at: i64| known.covers(&"ada", issued_at, |at| issued_at <= at.timestamp());
        assert!(voids(101));
        assert!(!voids(102));
    }
}
