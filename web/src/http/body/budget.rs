//! How many bytes of request bodies one instance holds, in all and for each sender.
//!
//! Bytes are reserved as they arrive, not as they are announced: a body that is announced and never
//! sent costs nothing and shuts nobody out.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::http::error::ApiError;

/// Bytes of all bodies that are read or worked on: 24 of the largest. A quarter of the smallest
/// machine that we run on.
const TOTAL_BYTES: usize = 96 * 1024 * 1024;

/// Bytes of the bodies of one person or, without a token, of one network: 4 of the largest.
const SENDER_BYTES: usize = 16 * 1024 * 1024;

/// Bodies of one person or network that are read or worked on at the same time.
const SENDER_BODIES: usize = 256;

/// The bytes of one instance. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Budget(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    bytes: usize,
    senders: HashMap<Arc<str>, Sender>,
}

#[derive(Default)]
struct Sender {
    bytes: usize,
    bodies: usize,
}

/// What one body has reserved, until it is dropped.
pub(crate) struct Reservation {
    budget: Budget,
    sender: Arc<str>,
    bytes: usize,
}

impl Budget {
    /// Begins a body.
    pub(crate) fn begin(&self, sender: &str) -> Result<Reservation, ApiError> {
        let sender: Arc<str> = sender.into();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sender = held.senders.entry(Arc::clone(&sender)).or_default();
        if of_sender.bodies >= SENDER_BODIES {
            return Err(ApiError::TooManyBodies { bodies: SENDER_BODIES, bytes: SENDER_BYTES });
        }
        of_sender.bodies += 1;
        drop(held);
        Ok(Reservation { budget: self.clone(), sender, bytes: 0 })
    }
}

impl Reservation {
    /// Reserves more bytes.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let mut held = self.budget.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sender = held.senders.get(&self.sender).map_or(0, |sender| sender.bytes);
        if of_sender + bytes > SENDER_BYTES {
            return Err(ApiError::TooManyBodies { bodies: SENDER_BODIES, bytes: SENDER_BYTES });
        }
        if held.bytes + bytes > TOTAL_BYTES {
            tracing::warn!(
                held = held.bytes,
                senders = held.senders.len(),
                "Refused a request body: all bodies together are at the limit of this instance"
            );
            return Err(ApiError::BodyBudgetExhausted);
        }
        held.bytes += bytes;
        if let Some(sender) = held.senders.get_mut(&self.sender) {
            sender.bytes += bytes;
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.budget.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes -= self.bytes;
        if let Some(sender) = held.senders.get_mut(&self.sender) {
            sender.bytes -= self.bytes;
            sender.bodies -= 1;
            if sender.bodies == 0 {
                held.senders.remove(&self.sender);
            }
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 4 * 1024 * 1024;

    #[test]
    fn one_sender_holds_a_part_and_gives_it_back() {
        let budget = Budget::default();
        let mut held = Vec::new();
        for _ in 0..SENDER_BYTES / LARGEST {
            let mut body = budget.begin("ada").unwrap();
            body.grow(LARGEST).unwrap();
            held.push(body);
        }
        let mut next = budget.begin("ada").unwrap();
        assert!(matches!(next.grow(1), Err(ApiError::TooManyBodies { .. })));
        budget.begin("bob").unwrap().grow(LARGEST).unwrap();
        held.pop();
        next.grow(LARGEST).unwrap();
        drop((held, next));
        let held = budget.0.lock().unwrap();
        assert!(held.bytes == 0 && held.senders.is_empty());
    }

    #[test]
    fn many_senders_together_do_not_hold_more_than_all_may() {
        let budget = Budget::default();
        let mut held = Vec::new();
        let refused = (0..).map(|sender: u32| budget.begin(&sender.to_string()).unwrap()).find_map(
            |mut body| {
                let grown = body.grow(LARGEST);
                held.push(body);
                grown.err()
            },
        );
        assert!(matches!(refused, Some(ApiError::BodyBudgetExhausted)));
        assert_eq!(held.iter().map(|it| it.bytes).sum::<usize>(), TOTAL_BYTES);
    }

    #[test]
    fn one_sender_sends_so_many_bodies_at_once() {
        let budget = Budget::default();
        let held: Vec<_> = (0..SENDER_BODIES).map(|_| budget.begin("ada").unwrap()).collect();
        assert!(matches!(budget.begin("ada"), Err(ApiError::TooManyBodies { .. })));
        assert!(budget.begin("bob").is_ok());
        drop(held);
        assert!(budget.begin("ada").is_ok());
    }
}
