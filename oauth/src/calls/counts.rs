//! The calls that an instance has counted and not written yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use entity::GrantId;
use mcp::{Caller, UserId};

/// The maximum number of apps that are counted between two writes, of about 150 bytes each. The calls
/// of further apps are not counted until the next write.
const MAX_APPS: usize = 50_000;

/// The calls that have not been written yet, by grant.
#[derive(Debug, Default)]
pub struct CallCounts(Mutex<HashMap<Arc<str>, Unwritten>>);

/// The unwritten calls of one grant.
#[derive(Debug)]
struct Unwritten {
    user: UserId,
    calls: u64,
}

impl CallCounts {
    /// Counts calls of an app. Does no I/O.
    pub fn add(&self, caller: &Caller, calls: u32) {
        if calls == 0 {
            return;
        }
        let mut unwritten = self.unwritten();
        if let Some(known) = unwritten.get_mut(&caller.grant) {
            known.calls += u64::from(calls);
        } else if unwritten.len() < MAX_APPS {
            let user = caller.user.clone();
            let new = Unwritten { user, calls: u64::from(calls) };
            unwritten.insert(Arc::clone(&caller.grant), new);
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, HashMap<Arc<str>, Unwritten>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything, as rows in a fixed order, so that concurrent writers do not deadlock. Leaves
    /// out tokens that an operator issued, which belong to no app.
    pub(super) fn take(&self) -> Vec<Row> {
        let taken = std::mem::take(&mut *self.unwritten());
        let row = |(grant, Unwritten { user, calls }): (Arc<str>, Unwritten)| {
            grant.parse::<GrantId>().is_ok().then_some(Row { user, grant, calls })
        };
        let mut rows: Vec<Row> = taken.into_iter().filter_map(row).collect();
        rows.sort_unstable_by(|a, b| (&a.user, &a.grant).cmp(&(&b.user, &b.grant)));
        rows
    }

    /// Returns rows that could not be written, for the next write.
    pub(super) fn put_back(&self, rows: &[Row]) {
        let mut unwritten = self.unwritten();
        for Row { user, grant, calls } in rows {
            if let Some(known) = unwritten.get_mut(grant) {
                known.calls += calls;
            } else if unwritten.len() < MAX_APPS {
                let back = Unwritten { user: user.clone(), calls: *calls };
                unwritten.insert(Arc::clone(grant), back);
            }
        }
    }
}

/// Unwritten calls, ready to be written.
pub(super) struct Row {
    pub(super) user: UserId,
    pub(super) grant: Arc<str>,
    pub(super) calls: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;

    fn caller(user: &str, grant: &str) -> Caller {
        Caller {
            user: UserId::new(user),
            client: Arc::from("client"),
            scopes: BTreeSet::new(),
            grant: Arc::from(grant),
            key: Arc::from(""),
            issued_at: 0,
            expires_at: 0,
            request: None,
        }
    }

    fn taken(counts: &CallCounts) -> Vec<(String, u64)> {
        let rows = counts.take();
        rows.iter().map(|row| (row.user.to_string(), row.calls)).collect()
    }

    #[test]
    fn calls_are_counted_per_grant_until_they_are_written() {
        let counts = CallCounts::default();
        let [one, other] = [1, 2].map(|number| Uuid::from_u128(number).to_string());
        counts.add(&caller("dev:b", &other), 2);
        counts.add(&caller("dev:a", &one), 0);
        counts.add(&caller("dev:a", &one), 3);
        counts.add(&caller("dev:a", &one), 1);
        counts.add(&caller("dev:a", "a token of an operator"), 1);
        let rows = counts.take();
        assert_eq!(taken(&counts), []);
        counts.add(&caller("dev:a", &one), 1);
        counts.put_back(&rows);
        assert_eq!(taken(&counts), [("dev:a".to_owned(), 5), ("dev:b".to_owned(), 2)]);
    }

    #[test]
    fn memory_is_bounded() {
        let counts = CallCounts::default();
        for number in 0..=MAX_APPS {
            counts.add(&caller("dev:a", &Uuid::from_u128(number as u128).to_string()), 1);
        }
        counts.add(&caller("dev:a", &Uuid::nil().to_string()), 1);
        let rows = counts.take();
        assert_eq!(rows.len(), MAX_APPS);
        assert_eq!(rows[0].calls, 2, "a known app is still counted");
    }
}
