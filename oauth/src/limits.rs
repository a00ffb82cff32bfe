//! Rate limits: the buckets of the base in one list, and the trait of the limiter. A product declares
//! its own buckets.
//!
//! The algorithm is GCRA: for each key, a bucket stores one time, up to which the key has used its
//! quota, so a burst may be as large as the limit and the quota is restored evenly. An
//! implementation that instances share ([`crate::redis`]) stores the same number in Redis and
//! updates it atomically.
//!
//! A limiter never fails: when its store is unavailable, each instance counts alone, because
//! refusing all requests would be worse.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::{clock::Clock, metrics::RATE_LIMIT_DECISIONS};

/// A limit: the number of requests within a window, per key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The name in stores and logs.
    pub name: &'static str,
    /// The number of requests.
    pub limit: u32,
    /// The window.
    pub window: Duration,
}

/// Registrations per network. A user registers a few clients a day.
pub const REGISTER: Bucket = per_hour("register", 10);

/// Registrations in total, so that a flood from many networks stays small enough to clean up.
pub const REGISTER_ALL: Bucket = per_hour("register_all", 300);

/// Authorization requests per network, excluding those that other sites cause (cross-site
/// requests).
pub const AUTHORIZE: Bucket = per_minute("authorize", 30);

/// Views of and decisions on the pages of one pending authorization or of one signed-in user, and
/// views of such pages per network without either.
pub const CONSENT: Bucket = per_minute("consent", 30);

/// Requests of a signed-in user to the other pages. A page that shows progress reloads itself several
/// times per minute.
pub const USER_PAGES: Bucket = per_minute("user_pages", 120);

/// Callbacks from identity providers per pending login, and per network for those that belong to no
/// pending login.
pub const CALLBACK: Bucket = per_minute("callback", 30);

/// Exchanges of refresh tokens per grant: a client may have many processes that share a token.
pub const REFRESH: Bucket = per_minute("refresh", 1_200);

/// Token requests with client credentials or an assertion, per client: one client may serve a whole
/// organization.
pub const CLIENT_TOKENS: Bucket = per_minute("client_tokens", 600);

/// Failed requests to the token endpoint and the revocation endpoint per network. A request is
/// counted after it has failed, so successful requests use no quota.
pub const TOKEN_FAILURES: Bucket = per_minute("token_failures", 10);

/// Token requests with a DPoP proof, per network. Each proof is recorded until it is too old, so this
/// limits the room that one network can take up; a service may send the requests of many users.
pub const TOKEN_PROOFS: Bucket = per_minute("token_proofs", 6_000);

/// Fetches of metadata documents of unknown clients per host. The host did not ask for them.
pub const METADATA_HOST: Bucket = per_minute("metadata_host", 10);

/// Fetches of metadata documents of unknown clients in total.
pub const METADATA_ALL: Bucket = per_minute("metadata_all", 60);

/// Fetches of metadata documents of known clients per host.
pub const METADATA_KNOWN_HOST: Bucket = per_minute("metadata_known_host", 10);

/// Fetches of metadata documents of known clients in total.
pub const METADATA_KNOWN_ALL: Bucket = per_minute("metadata_known_all", 60);

/// Requests with an invalid access token, per network.
pub const UNAUTHORIZED: Bucket = per_minute("unauthorized", 60);

/// Views of the HTTP API reference, a page of 3 MB, per network.
pub const DOCS: Bucket = per_minute("docs", 30);

/// The buckets of the base, except those per user, whose limits are configured.
pub const ALL: [Bucket; 16] = [
    DOCS,
    REGISTER,
    REGISTER_ALL,
    AUTHORIZE,
    CONSENT,
    USER_PAGES,
    CALLBACK,
    REFRESH,
    CLIENT_TOKENS,
    TOKEN_FAILURES,
    TOKEN_PROOFS,
    METADATA_HOST,
    METADATA_ALL,
    METADATA_KNOWN_HOST,
    METADATA_KNOWN_ALL,
    UNAUTHORIZED,
];

impl Bucket {
    /// Returns the time in which one request of the quota is restored, in microseconds.
    pub(crate) fn interval(&self) -> i64 {
        self.micros() / i64::from(self.limit.max(1))
    }

    /// Returns the window in microseconds.
    pub(crate) fn micros(&self) -> i64 {
        i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX)
    }

    /// Returns the verdict for a key whose stored time would be this many microseconds ahead of
    /// now.
    pub(crate) fn judge(&self, ahead: i64) -> Verdict {
        let free = self.micros() - ahead;
        if free < 0 {
            let wait = u64::try_from(-free).unwrap_or_default();
            return Verdict::Refused { retry_after: whole_seconds(wait).max(SECOND) };
        }
        let remaining = free / self.interval().max(1);
        Verdict::Allowed {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            whole_after: whole_seconds(u64::try_from(ahead).unwrap_or_default()),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn whole_seconds(micros: u64) -> Duration {
    Duration::from_secs(micros.div_ceil(1_000_000))
}

/// Creates a bucket of `limit` requests per minute. The name must differ from those of all other
/// buckets.
pub const fn per_minute(name: &'static str, limit: u32) -> Bucket {
    Bucket { name, limit, window: Duration::from_mins(1) }
}

const fn per_hour(name: &'static str, limit: u32) -> Bucket {
    Bucket { name, limit, window: Duration::from_hours(1) }
}

/// Whether a request is allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed.
    Allowed {
        /// The number of requests that are still allowed at once.
        remaining: u32,
        /// Time until the quota is fully restored, in whole seconds.
        whole_after: Duration,
    },
    /// The quota is used up.
    Refused {
        /// Time until a retry can be allowed, in whole seconds, at least one.
        retry_after: Duration,
    },
}

impl Verdict {
    /// Returns whether the request is allowed.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// A rate limiter. Cheap to call: at most one operation of a store.
#[async_trait]
pub trait Limiter: Send + Sync + fmt::Debug {
    /// Implements [`Self::take`], without the metric.
    async fn decide(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict;

    /// Takes `count` from the key's quota, if that much is left, and counts the decision in a
    /// metric. A `count` above the limit is treated as the limit, so that waiting always helps.
    async fn take(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
        let verdict = self.decide(bucket, key, count).await;
        let word = if verdict.is_allowed() { "allowed" } else { "refused" };
        RATE_LIMIT_DECISIONS.increment([bucket.name, word]);
        verdict
    }

    /// Takes one from the key's quota, if any is left.
    async fn check(&self, bucket: &Bucket, key: &str) -> Verdict {
        self.take(bucket, key, 1).await
    }
}

/// Returns the address of a client behind proxies. Each of the `hops` trusted proxies has appended
/// the address that it saw, so the client's address is the entry at position `hops` from the right.
/// Entries further left were written by the client and prove nothing. If there are fewer entries
/// than `hops`, or one is no address, the leftmost readable trusted entry is used, and finally the
/// peer of the connection.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    hops: u8,
) -> IpAddr {
    forwarded_for.rev().take(hops.into()).map_while(|it| address(it.trim())).last().unwrap_or(peer)
}

/// Parses an address with or without a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|it: std::net::SocketAddr| it.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// The maximum number of keys that are stored, of about 100 bytes each.
const MAX_KEYS: usize = 100_000;

/// The name of a bucket, and the key within it.
type Key = (&'static str, Box<str>);

/// A limiter in the memory of this process.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    /// The time up to which each key has used its quota.
    used_until: Mutex<HashMap<Key, DateTime<Utc>>>,
}

impl InProcess {
    /// Creates an empty limiter.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, used_until: Mutex::default() }
    }

    fn judge(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
        let now = self.clock.now();
        let mut used_until = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (bucket.name, Box::from(key));
        let (used, verdict) = step(bucket, now, used_until.get(&key).copied(), count);
        if verdict.is_allowed() {
            if used_until.len() >= MAX_KEYS {
                used_until.retain(|_, it| *it > now);
            }
            // If the table is full of keys that still count, a new key is not limited: otherwise a
            // client that fills the table would lock out all others.
            if used_until.len() < MAX_KEYS || used_until.contains_key(&key) {
                used_until.insert(key, used);
            } else {
                tracing::warn!(
                    bucket = bucket.name,
                    "The rate limiter's table is full; new keys are not limited"
                );
            }
        }
        verdict
    }
}

/// Computes the new time of a key if `count` requests are made now, and the verdict.
fn step(
    bucket: &Bucket,
    now: DateTime<Utc>,
    used_until: Option<DateTime<Utc>>,
    count: u32,
) -> (DateTime<Utc>, Verdict) {
    let taken = TimeDelta::microseconds(bucket.interval() * i64::from(count.min(bucket.limit)));
    let used = used_until.map_or(now, |it| it.max(now)) + taken;
    let ahead = (used - now).num_microseconds().unwrap_or(i64::MAX);
    (used, bucket.judge(ahead))
}

#[async_trait]
impl Limiter for InProcess {
    async fn decide(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
        self.judge(bucket, key, count)
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use platform::clock::MockClock;
    use proptest::prelude::*;

    use super::*;

    fn limiter() -> (InProcess, Arc<MockClock>) {
        let clock = Arc::new(MockClock::at(DateTime::from_timestamp(1_700_000_000, 0).unwrap()));
        (InProcess::new(Arc::clone(&clock) as _), clock)
    }

    #[test]
    fn bucket_names_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[tokio::test]
    async fn memory_is_bounded_and_new_keys_are_allowed() {
        let (limiter, clock) = limiter();
        let small = Bucket { name: "small", limit: 1, window: Duration::from_secs(1) };
        for key in 0..=MAX_KEYS {
            assert!(limiter.check(&small, &key.to_string()).await.is_allowed());
        }
        assert_eq!(limiter.used_until.lock().unwrap().len(), MAX_KEYS);
        assert!(!limiter.check(&small, "1").await.is_allowed(), "known keys still count");
        clock.advance(Duration::from_secs(2));
        assert!(limiter.check(&small, "another").await.is_allowed());
        assert_eq!(limiter.used_until.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_client_address_is_counted_from_the_right() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        for (header, hops, expected) in [
            ("", 0, "10.0.0.1"),
            ("", 1, "10.0.0.1"),
            ("1.1.1.1", 0, "10.0.0.1"),
            ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1, 10.0.0.2", 2, "1.1.1.1"),
            ("1.1.1.1", 3, "1.1.1.1"),
            ("6.6.6.6, garbage, 10.0.0.2", 2, "10.0.0.2"),
            ("6.6.6.6, unknown", 1, "10.0.0.1"),
            ("6.6.6.6, 1.1.1.1:4711", 1, "1.1.1.1"),
            ("6.6.6.6, [2001:db8::1]:80", 1, "2001:db8::1"),
            ("6.6.6.6, [2001:db8::1]", 1, "2001:db8::1"),
            ("6.6.6.6, 2001:db8::1", 1, "2001:db8::1"),
        ] {
            let found = client_address(peer, header.split(','), hops);
            assert_eq!(found.to_string(), expected, "{header} {hops}");
        }
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_twice_the_limit(
            waits in proptest::collection::vec(0_u64..20_000, 1..200),
        ) {
            let mut now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            let mut used = None;
            let mut allowed = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                let (moved, verdict) = step(&AUTHORIZE, now, used, 1);
                if verdict.is_allowed() {
                    used = Some(moved);
                    allowed.push(now);
                }
            }
            // The burst, and the quota restored meanwhile.
            for start in &allowed {
                let within = allowed
                    .iter()
                    .filter(|it| **it >= *start && **it < *start + AUTHORIZE.window)
                    .count();
                prop_assert!(within <= 2 * AUTHORIZE.limit as usize);
            }
        }

        #[test]
        fn a_request_after_retry_after_is_allowed(waits in proptest::collection::vec(0_u64..500, 1..80)) {
            let mut now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            let mut used = None;
            for wait in waits {
                now += Duration::from_millis(wait);
                match step(&AUTHORIZE, now, used, 1) {
                    (moved, Verdict::Allowed { .. }) => used = Some(moved),
                    (_, Verdict::Refused { retry_after }) => {
                        let (_, later) = step(&AUTHORIZE, now + retry_after, used, 1);
                        prop_assert!(later.is_allowed());
                    }
                }
            }
        }
    }
}
