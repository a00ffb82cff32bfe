//! Redis stores that instances share: pending sign-ins and account sessions, rate limits, client
//! metadata documents, and the ids of used DPoP proofs and assertions.
//!
//! The connection is the one that the stores of [`mcp`] use. Every command touches one key, so a
//! cluster needs no hash tags here. Every key has a lifetime, and every value begins with a format
//! byte, so that during a rolling deploy an instance can distinguish a value of another format from
//! a damaged one:
//!
//! | key | value | lifetime |
//! |---|---|---|
//! | `oauth:<kind>:<hash>` | one pending step of a sign-in, or a session; encrypted | as requested, usually ten minutes |
//! | `oauth:jti:<hash>` | only the format byte: an assertion that was used | until the assertion expires, at most about an hour |
//! | `rl:<bucket>:<hash>` | the time up to which a key has used its quota | until then, at most the window |
//! | `cimd:<hash>` | a client metadata document | as its header says, at most a day |
//! | `dpop:<hash>` | only the format byte: a DPoP proof that was used | until the proof is too old, at most six minutes |
//! | `cimd:<hash>` | a note that a document could not be fetched, or since when it is gone | a minute, or 14 days |
//!
//! Expiry is decided by the service's clock, as for codes and tokens; the lifetimes in Redis only
//! remove expired values.

mod documents;
mod limits;
mod pending;
mod used_ids;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub use self::{
    documents::SharedDocuments, limits::Limits, pending::Pending, used_ids::SharedUsedIds,
};

/// The format byte of every value that is not encrypted. Readers of the next format must support this
/// one, too.
const FORMAT: u8 = b'1';

/// The format byte of an encrypted value.
const SEALED: u8 = b'2';

/// The value of the field `dependency` in log events about Redis.
pub const REDIS: &str = "redis";

/// The length of an encoded time, in bytes.
const TIME: usize = size_of::<i64>();

/// Encodes a value that expires: the format, the expiry time in milliseconds since the Unix epoch,
/// and the value.
fn wrap(value: &[u8], end: DateTime<Utc>) -> Vec<u8> {
    let mut wrapped = header(FORMAT, end);
    wrapped.extend(value);
    wrapped
}

/// The format and the expiry time that precede a value.
fn header(format: u8, end: DateTime<Utc>) -> Vec<u8> {
    let mut header = vec![format];
    header.extend(end.timestamp_millis().to_be_bytes());
    header
}

/// Decodes a value. `None`: it has expired, or has an unknown format.
fn unwrap(wrapped: &[u8], now: DateTime<Utc>) -> Option<Vec<u8>> {
    unexpired(wrapped.strip_prefix(&[FORMAT])?, now).map(<[u8]>::to_vec)
}

/// Splits off the expiry time. `None`: the value has expired, or is too short.
fn unexpired(timed: &[u8], now: DateTime<Utc>) -> Option<&[u8]> {
    let (end, value) = timed.split_first_chunk::<TIME>()?;
    (i64::from_be_bytes(*end) > now.timestamp_millis()).then_some(value)
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
