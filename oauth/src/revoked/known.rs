//! What is revoked, as it is kept in memory: by key, with a bound.

use std::{collections::HashMap, hash::Hash};

use chrono::{DateTime, Utc};
use entity::{GrantId, Kid};
use mcp::UserId;

use crate::lifetimes::LEEWAY;

/// The most revocations that are remembered, and the most cutoffs, of about 50 bytes each. If there
/// were more within [`super::REMEMBERED`], every token that was issued before the newest of them is
/// refused instead: clients refresh, and nothing that was revoked gets through.
pub(super) const MAX_REMEMBERED: usize = 50_000;

/// What is known.
#[derive(Default)]
pub(super) struct Known {
    pub(super) grants: Latest<GrantId>,
    pub(super) people: Latest<UserId>,
    pub(super) keys: Latest<Kid>,
}

/// The latest revocation of each of many things.
pub(super) struct Latest<K> {
    revoked: HashMap<K, Revocation>,
    /// Every token issued until then is refused, in seconds since the Unix epoch.
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
    /// Whether subscribers were notified of it.
    pub(super) told: bool,
}

impl<K: Eq + Hash> Latest<K> {
    /// Whether a token is void. `applies`: whether a revocation at that time concerns it.
    pub(super) fn covers(
        &self,
        key: &K,
        issued_at: i64,
        applies: impl FnOnce(DateTime<Utc>) -> bool,
    ) -> bool {
        self.floor.is_some_and(|floor| issued_at <= floor)
            || self.revoked.get(key).is_some_and(|it| applies(it.at))
    }

    /// Adds what happens once to each key. Says whether it is news: whether subscribers have not been
    /// notified of it.
    pub(super) fn insert(&mut self, key: K, new: Revocation, most: usize) -> bool {
        let known = self.revoked.entry(key).or_insert(Revocation { told: false, ..new });
        let news = !known.told;
        known.told |= new.told;
        self.keep_to(new.at, most);
        news
    }

    /// Adds what may happen again and again, of which the latest time counts. Says whether it is
    /// later than what was known.
    pub(super) fn advance(&mut self, key: K, at: DateTime<Utc>, most: usize) -> bool {
        let news = self.revoked.get(&key).is_none_or(|known| known.at < at);
        if news {
            self.revoked.insert(key, Revocation { at, told: true });
            self.keep_to(at, most);
        }
        news
    }

    /// When something was last revoked.
    pub(super) fn last(&self, key: &K) -> Option<DateTime<Utc>> {
        self.revoked.get(key).map(|it| it.at)
    }

    /// The way out when there are too many: see [`MAX_REMEMBERED`].
    fn keep_to(&mut self, newest: DateTime<Utc>, most: usize) {
        if self.revoked.len() <= most {
            return;
        }
        let newest = self.revoked.values().map(|it| it.at).fold(newest, Ord::max);
        self.floor = self.floor.max(Some(newest.timestamp() + LEEWAY));
        self.revoked.clear();
        tracing::error!(
            most,
            "More than {most} revocations within their time: all access tokens that were issued \
             until now are refused, and clients have to refresh"
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

    fn heard(seconds: i64) -> Revocation {
        Revocation { at: at(seconds), told: true }
    }

    #[test]
    fn a_revocation_is_news_once() {
        let mut known = Latest::default();
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
        let mut known = Latest::default();
        known.insert(grant(1), heard(100), 10);
        known.insert(grant(2), heard(200), 10);
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
            known.insert(grant(n.into()), heard(1000 - i64::from(n)), 10);
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
