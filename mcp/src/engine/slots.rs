//! Limits on the open requests and streams of a user.
//!
//! Counted per instance, since they bound the memory of a process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::caller::UserId;

/// The maximum number of requests of a user that run or are answered with a stream. Greater than
/// [`MAX_LISTENING`], so that a user with the maximum number of streams can still make calls.
pub(super) const MAX_OPEN: usize = 256;

/// The maximum number of streams of a user that wait for changes: `GET` and `subscriptions/listen`.
/// A stream uses about 20 KiB and the URIs of its subscriptions; a client has one or two.
pub(super) const MAX_LISTENING: usize = 128;

/// Counts the slots of every user.
pub(super) struct Slots {
    limit: usize,
    taken: Arc<Mutex<HashMap<UserId, usize>>>,
}

/// A slot, released on drop.
pub(super) struct Slot {
    user: UserId,
    taken: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// Takes a slot of the user. `None`: the limit is reached.
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
    fn each_user_has_separate_slots_which_are_released_on_drop() {
        let slots = Slots::new(2);
        let [ada, bob] = ["ada", "bob"].map(UserId::new);
        let first = slots.take(&ada).expect("a slot is free");
        let second = slots.take(&ada).expect("a slot is free");
        assert!(slots.take(&ada).is_none());
        assert!(slots.take(&bob).is_some());
        drop(first);
        assert!(slots.take(&ada).is_some());
        drop(second);
        assert!(slots.taken.lock().unwrap().is_empty(), "a user without slots has no entry");
    }
}
