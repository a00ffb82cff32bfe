//! How much one person may have open at one instance.
//!
//! Counted for each instance: what is bounded here is the memory of a process, and a person whose
//! requests meet several instances costs each of them no more than this.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::caller::UserId;

/// Requests of one person that may run or be answered with a stream at the same time. Above
/// [`MAX_LISTENING`], so that somebody with that many streams can still call.
pub(super) const MAX_OPEN: usize = 256;

/// Streams of one person that may wait for changes: `GET` and `subscriptions/listen`. One costs about
/// 20 KiB and at most the URIs of its subscriptions; a client has one or two.
pub(super) const MAX_LISTENING: usize = 128;

/// Slots of every person.
pub(super) struct Slots {
    limit: usize,
    taken: Arc<Mutex<HashMap<UserId, usize>>>,
}

/// A slot that is given back when it is dropped.
pub(super) struct Slot {
    user: UserId,
    taken: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// A slot of the user, unless all are taken.
    pub(super) fn take(&self, user: &UserId) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(user.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Slot { user: user.clone(), taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_has_slots_of_their_own_and_gets_them_back() {
        let slots = Slots::new(2);
        let [ada, bob] = ["ada", "bob"].map(UserId::new);
        let first = slots.take(&ada).expect("free");
        let second = slots.take(&ada).expect("free");
        assert!(slots.take(&ada).is_none());
        assert!(slots.take(&bob).is_some());
        drop(first);
        assert!(slots.take(&ada).is_some());
        drop(second);
        assert!(slots.taken.lock().unwrap().is_empty(), "nothing is kept of who has nothing open");
    }
}
