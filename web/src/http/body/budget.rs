//! Limits on the bytes of request bodies that one instance holds: in total and for each sender.
//!
//! Bytes are reserved as they arrive, not as they are declared: a body that is declared but never
//! sent uses up no budget.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;

use crate::http::error::{ApiError, TEMPORARILY_UNAVAILABLE};

/// The maximum number of bytes of all bodies that are being read or processed: 24 bodies of the
/// maximum size, and a quarter of the memory of the smallest machine that is deployed to.
const TOTAL_BYTES: usize = 96 * 1024 * 1024;

/// The maximum number of bytes in the bodies of one user or, without a token, of one network: 4
/// bodies of the maximum size.
const SENDER_BYTES: usize = 16 * 1024 * 1024;

/// Maximum number of bodies of one user or network that are being read or processed.
const SENDER_BODIES: usize = 256;

/// The budget of one instance. Clones share it.
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

/// The reservation of one body. Released on drop.
pub(crate) struct Reservation {
    budget: Budget,
    sender: Arc<str>,
    bytes: usize,
}

impl Budget {
    /// Begins a body of `sender`, without any bytes yet.
    pub(crate) fn begin(&self, sender: &str) -> Result<Reservation, ApiError> {
        let sender: Arc<str> = sender.into();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sender = held.senders.entry(Arc::clone(&sender)).or_default();
        if of_sender.bodies >= SENDER_BODIES {
            return Err(too_many_bodies());
        }
        of_sender.bodies += 1;
        drop(held);
        Ok(Reservation { budget: self.clone(), sender, bytes: 0 })
    }
}

impl Reservation {
    /// Reserves `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let mut held = self.budget.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sender = held.senders.get(&self.sender).map_or(0, |sender| sender.bytes);
        if of_sender + bytes > SENDER_BYTES {
            return Err(too_many_bodies());
        }
        if held.bytes + bytes > TOTAL_BYTES {
            tracing::warn!(
                dependency = "memory",
                held = held.bytes,
                senders = held.senders.len(),
                "Refused a request body: the bodies of all senders fill the budget of this instance"
            );
            return Err(ApiError::unavailable(
                "This server is reading as many request bodies as it can hold. Try again in a few \
                 seconds.",
            ));
        }
        held.bytes += bytes;
        if let Some(sender) = held.senders.get_mut(&self.sender) {
            sender.bytes += bytes;
        }
        self.bytes += bytes;
        Ok(())
    }
}

/// 429: the sender has the maximum of unfinished bodies, or of bytes in them.
fn too_many_bodies() -> ApiError {
    let mebibytes = SENDER_BYTES >> 20;
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        TEMPORARILY_UNAVAILABLE,
        format!(
            "You have too many unfinished requests: at most {SENDER_BODIES}, with bodies of \
             {mebibytes} MiB together. Wait for some to be answered, then try again."
        ),
    )
    .retry_soon()
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
    fn one_sender_is_limited_and_releases_its_bytes() {
        let budget = Budget::default();
        let mut held = Vec::new();
        for _ in 0..SENDER_BYTES / LARGEST {
            let mut body = budget.begin("ada").unwrap();
            body.grow(LARGEST).unwrap();
            held.push(body);
        }
        let mut next = budget.begin("ada").unwrap();
        assert_eq!(next.grow(1).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        budget.begin("bob").unwrap().grow(LARGEST).unwrap();
        held.pop();
        next.grow(LARGEST).unwrap();
        drop((held, next));
        let held = budget.0.lock().unwrap();
        assert!(held.bytes == 0 && held.senders.is_empty());
    }

    #[test]
    fn all_senders_together_are_limited_to_the_total() {
        let budget = Budget::default();
        let mut held = Vec::new();
        let refused = (0..).map(|sender: u32| budget.begin(&sender.to_string()).unwrap()).find_map(
            |mut body| {
                let grown = body.grow(LARGEST);
                held.push(body);
                grown.err()
            },
        );
        assert_eq!(refused.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(held.iter().map(|body| body.bytes).sum::<usize>(), TOTAL_BYTES);
    }

    #[test]
    fn the_number_of_bodies_of_one_sender_is_limited() {
        let budget = Budget::default();
        let held: Vec<_> = (0..SENDER_BODIES).map(|_| budget.begin("ada").unwrap()).collect();
        let refused = budget.begin("ada").unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(budget.begin("bob").is_ok());
        drop(held);
        assert!(budget.begin("ada").is_ok());
    }
}
