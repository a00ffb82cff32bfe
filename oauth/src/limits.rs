//! How often somebody may do something: all buckets in one list, behind one small trait.
//!
//! The algorithm is GCRA: a bucket remembers one time for each key, up to which the key has used its
//! share, so a burst may be as large as the limit and the share grows back evenly. An implementation
//! that is shared by instances ([`crate::redis`]) keeps the same number in Redis and moves it in one
//! step.
//!
//! A limiter never fails: when its store is away it goes on by itself, because refusing everybody is
//! worse than counting for each instance.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;

/// A limit: so many within a window, for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name in stores and logs.
    pub name: &'static str,
    /// How many.
    pub limit: u32,
    /// Within how long.
    pub window: Duration,
}

/// Registrations of one network. A person registers a few clients a day.
pub const REGISTER: Bucket = per_hour("register", 10);

/// Registrations of everybody, so that a flood from many networks stays small enough to clean up.
pub const REGISTER_ALL: Bucket = per_hour("register_all", 300);

/// Authorization requests of one network, apart from those that other sites make.
pub const AUTHORIZE: Bucket = per_minute("authorize", 30);

/// Views of and decisions on the pages of one sign-in or of one signed-in person, and views of such
/// pages by one network without either.
pub const CONSENT: Bucket = per_minute("consent", 30);

/// Returns from GitHub in one sign-in, and those of one network that belong to no sign-in.
pub const CALLBACK: Bucket = per_minute("callback", 30);

/// Exchanges of refresh tokens of one grant: a client may have many processes that share a token.
pub const REFRESH: Bucket = per_minute("refresh", 1_200);

/// Requests to the token endpoint and the revocation endpoint by one network that failed: guesses.
/// Counted after the request was judged, so that they use up nobody's share but that of the next
/// guesses.
pub const TOKEN_FAILURES: Bucket = per_minute("token_failures", 10);

/// Fetches of metadata documents of unknown clients from one host, which did not ask for them.
pub const METADATA_HOST: Bucket = per_minute("metadata_host", 10);

/// Fetches of metadata documents of unknown clients altogether.
pub const METADATA_ALL: Bucket = per_minute("metadata_all", 60);

/// Fetches of metadata documents of known clients from one host.
pub const METADATA_KNOWN_HOST: Bucket = per_minute("metadata_known_host", 10);

/// Fetches of metadata documents of known clients altogether.
pub const METADATA_KNOWN_ALL: Bucket = per_minute("metadata_known_all", 60);

/// Documents that one person imports from an address.
pub const IMPORT: Bucket = per_minute("import", 10);

/// Requests of one network with a bad access token.
pub const UNAUTHORIZED: Bucket = per_minute("unauthorized", 60);

/// Views of the reference of the HTTP API by one network: a page of 3 MB.
pub const DOCS: Bucket = per_minute("docs", 30);

/// Every bucket.
pub const ALL: [Bucket; 14] = [
    DOCS,
    REGISTER,
    REGISTER_ALL,
    AUTHORIZE,
    CONSENT,
    CALLBACK,
    REFRESH,
    TOKEN_FAILURES,
    METADATA_HOST,
    METADATA_ALL,
    METADATA_KNOWN_HOST,
    METADATA_KNOWN_ALL,
    IMPORT,
    UNAUTHORIZED,
];

impl Bucket {
    /// After how long one more grows back, in microseconds.
    pub(crate) fn interval(&self) -> i64 {
        self.micros() / i64::from(self.limit.max(1))
    }

    /// The window in microseconds.
    pub(crate) fn micros(&self) -> i64 {
        i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX)
    }

    /// The verdict on a key whose time would be this many microseconds ahead of now.
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

/// A bucket of this many requests per minute.
pub const fn per_minute(name: &'static str, limit: u32) -> Bucket {
    Bucket { name, limit, window: Duration::from_mins(1) }
}

const fn per_hour(name: &'static str, limit: u32) -> Bucket {
    Bucket { name, limit, window: Duration::from_hours(1) }
}

/// Whether something may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed {
        /// How many more could follow at once.
        remaining: u32,
        /// After how long the whole share would be there again, in whole seconds.
        whole_after: Duration,
    },
    /// Not yet.
    Refused {
        /// After how long it is worth another try, in whole seconds, at least one.
        retry_after: Duration,
    },
}

impl Verdict {
    /// Whether it is a yes.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Counts. Cheap to call; one step of a store at most.
#[async_trait]
pub trait Limiter: Send + Sync + fmt::Debug {
    /// Takes so many from the key's share, if they are left. More than the whole share counts as
    /// the whole share: waiting has to help everybody.
    async fn take(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict;

    /// Takes one from the key's share, if there is any left.
    async fn check(&self, bucket: &Bucket, key: &str) -> Verdict {
        self.take(bucket, key, 1).await
    }
}

/// The network of a client as a key: an IPv4 address, or the /64 of an IPv6 address, which is what
/// one customer has.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
            format!("{network}/64")
        }
    }
}

/// The address of a client behind proxies: each of our own `hops` proxies has appended the address
/// that it saw, so the client's is that many from the right. What stands further left was written by
/// the client and proves nothing. With fewer entries than hops, or one that is no address, the
/// leftmost readable one of ours counts, at last the peer of the connection.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    hops: u8,
) -> IpAddr {
    forwarded_for.rev().take(hops.into()).map_while(|it| address(it.trim())).last().unwrap_or(peer)
}

/// An address with or without a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|it: std::net::SocketAddr| it.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// How many keys are remembered, of about 100 bytes each.
const MAX_KEYS: usize = 100_000;

/// The name of a bucket, and who draws from it.
type Key = (&'static str, Box<str>);

/// A limiter of this process alone.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    /// Up to when each key has used its share.
    used_until: Mutex<HashMap<Key, DateTime<Utc>>>,
}

impl InProcess {
    /// An empty one.
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
            // With everything full of keys that still count, a new one is not counted: otherwise
            // whoever fills the table would lock out everybody else.
            if used_until.len() < MAX_KEYS || used_until.contains_key(&key) {
                used_until.insert(key, used);
            } else {
                tracing::warn!(bucket = bucket.name, "The table of rate limits is full");
            }
        }
        verdict
    }
}

/// Where the key's time moves to if so many are taken now, and whether they may be.
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
    async fn take(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
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
    fn buckets_have_names_of_their_own() {
        let names: BTreeSet<_> = ALL.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[tokio::test]
    async fn memory_is_bounded_and_nobody_is_locked_out() {
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
    fn the_address_is_so_many_from_the_right_as_there_are_proxies() {
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

    #[test]
    fn a_network_is_what_one_customer_has() {
        for (address, key) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(address.parse().unwrap()), key);
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
            // The burst, and what grew back meanwhile.
            for start in &allowed {
                let within = allowed
                    .iter()
                    .filter(|it| **it >= *start && **it < *start + AUTHORIZE.window)
                    .count();
                prop_assert!(within <= 2 * AUTHORIZE.limit as usize);
            }
        }

        #[test]
        fn whoever_waits_as_told_gets_through(waits in proptest::collection::vec(0_u64..500, 1..80)) {
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
