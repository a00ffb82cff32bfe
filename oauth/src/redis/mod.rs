//! What instances share of a sign-in, in Redis: half-done steps, shares of limits, documents.
//!
//! The connection is the one that the stores of [`mcp`] use. Every command touches one key, so a
//! cluster needs no hash tags here. Every key has a lifetime, and every value begins with a format
//! byte, so that the instances of a rolling deploy tell what they cannot read from what is broken:
//!
//! | key | holds | lifetime |
//! |---|---|---|
//! | `oauth:<kind>:<hash>` | one step of a sign-in | as asked, ten minutes |
//! | `rl:<bucket>:<hash>` | up to when a key has used its share | until then, at most the window |
//! | `cimd:<hash>` | a document of a client | as its header says, at most a day |
//! | `cimd:<hash>:lead` | who fetches it now | seconds |
//!
//! Time is the service's clock, which decides about codes and tokens as well; Redis only clears away
//! what has ended.

mod documents;
mod limits;
mod pending;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub use self::{documents::KeptDocuments, limits::Limits, pending::Pending};

/// Marks the format of every value. Readers of the next format will know this one too.
const FORMAT: u8 = b'1';

/// What log events call Redis in their field `dependency`.
pub const REDIS: &str = "redis";

/// The bytes of a time.
const TIME: usize = size_of::<i64>();

/// A value that ends: the format, the end in milliseconds since the Unix epoch, and the value.
fn wrap(value: &[u8], end: DateTime<Utc>) -> Vec<u8> {
    let mut wrapped = Vec::with_capacity(1 + TIME + value.len());
    wrapped.push(FORMAT);
    wrapped.extend(end.timestamp_millis().to_be_bytes());
    wrapped.extend(value);
    wrapped
}

/// The value, unless it has ended or has a format that is not known here: it does not exist then.
fn unwrap(wrapped: &[u8], now: DateTime<Utc>) -> Option<Vec<u8>> {
    let (end, value) = wrapped.strip_prefix(&[FORMAT])?.split_first_chunk::<TIME>()?;
    (i64::from_be_bytes(*end) > now.timestamp_millis()).then(|| value.to_vec())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_value_reads_back_until_it_ends() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let wrapped = wrap(b"value", now + Duration::from_secs(1));
        assert_eq!(wrapped[0], FORMAT);
        assert_eq!(unwrap(&wrapped, now).as_deref(), Some(&b"value"[..]));
        assert_eq!(unwrap(&wrapped, now + Duration::from_secs(1)), None);
        assert_eq!(unwrap(&wrapped[..TIME], now), None);
        let mut newer = wrapped;
        newer[0] = b'2';
        assert_eq!(unwrap(&newer, now), None);
    }
}
