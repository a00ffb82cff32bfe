//! Measures how much of Redis's memory each user occupies, for operators whose Redis is full.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;

use crate::config::RedisSettings;

/// The maximum number of keys to examine. With more, the totals cover only a part; SCAN returns
/// keys in the order of their hashes, so that part is a random sample.
const MAX_KEYS: usize = 500_000;

/// The number of keys in one request.
const BATCH: usize = 500;

/// The memory use of Redis.
#[derive(Debug, Default)]
pub struct Usage {
    /// Bytes that the server uses in total.
    pub used: u64,
    /// Bytes that it may use; 0 means no limit.
    pub max: u64,
    /// The sessions and streams of each user, largest first.
    pub people: Vec<(String, Share)>,
    /// Keys that do not belong to one user, by kind, largest first.
    pub others: Vec<(String, Share)>,
    /// Whether there were more keys than were examined.
    pub is_partial: bool,
}

/// The keys of one user or of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes, including the overhead of Redis.
    pub bytes: u64,
    /// The number of keys.
    pub keys: u64,
    /// The number of sessions.
    pub sessions: u64,
}

impl Share {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.keys += other.keys;
        self.sessions += other.sessions;
    }
}

/// Measures all keys with the configured prefix. Only reads, so it works while Redis is full. In a
/// cluster, it measures only the server that the URL names.
pub async fn measure(settings: &RedisSettings) -> anyhow::Result<Usage> {
    let client = redis::Client::open(settings.url.expose())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let mut usage = Usage {
        used: field(&info, "used_memory").context("the response to INFO lacks used_memory")?,
        max: field(&info, "maxmemory").unwrap_or_default(),
        ..Usage::default()
    };
    let (mut sessions, mut others) = (HashMap::<String, Share>::new(), BTreeMap::new());
    let (mut cursor, mut seen) = (0_u64, 0);
    loop {
        let pattern = format!("{}*", escaped(&settings.prefix));
        let scan =
            redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(BATCH).take();
        let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await?;
        for (key, bytes) in keys.iter().zip(sizes(&mut connection, &keys).await?) {
            let name = key.strip_prefix(&settings.prefix).unwrap_or(key);
            let mut share = Share { bytes, keys: 1, sessions: 0 };
            match session_of(name) {
                Some((session, kind)) => {
                    share.sessions = u64::from(kind == "session");
                    sessions.entry(session.to_owned()).or_default().add(share);
                }
                None => others.entry(kind_of(name)).or_insert_with(Share::default).add(share),
            }
        }
        seen += keys.len();
        cursor = next;
        usage.is_partial = cursor != 0;
        if cursor == 0 || seen >= MAX_KEYS {
            break;
        }
    }
    usage.people = by_person(&mut connection, &settings.prefix, sessions).await?;
    usage.others = largest_first(others);
    Ok(usage)
}

/// The size of each key in bytes; 0 for a key that has disappeared in the meantime.
async fn sizes(
    connection: &mut MultiplexedConnection,
    keys: &[String],
) -> Result<Vec<u64>, redis::RedisError> {
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline.cmd("MEMORY").arg("USAGE").arg(key);
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sizes: Vec<Option<u64>> = pipeline.query_async(connection).await?;
    Ok(sizes.into_iter().map(Option::unwrap_or_default).collect())
}

async fn by_person(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    sessions: HashMap<String, Share>,
) -> Result<Vec<(String, Share)>, redis::RedisError> {
    let mut people = HashMap::<String, Share>::new();
    let sessions: Vec<_> = sessions.into_iter().collect();
    for batch in sessions.chunks(BATCH) {
        let mut pipeline = redis::pipe();
        for (session, _) in batch {
            pipeline.hget(format!("{prefix}mcp:{{{session}}}:session"), "session");
        }
        let records: Vec<Option<String>> = pipeline.query_async(connection).await?;
        for ((_, share), record) in batch.iter().zip(records) {
            let person = record.as_deref().and_then(person).unwrap_or(ENDED.to_owned());
            people.entry(person).or_default().add(*share);
        }
    }
    Ok(largest_first(people))
}

/// The label for streams of sessions that have ended, whose owner is unknown.
const ENDED: &str = "(ended sessions)";

/// Returns the user in the record of a session.
fn person(record: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(record.get(1..)?).ok()?;
    Some(record["user"].as_str()?.to_owned())
}

/// Returns the session that a key belongs to, and the kind of the key: `mcp:{session}:kind…`.
fn session_of(name: &str) -> Option<(&str, &str)> {
    let (session, rest) = name.strip_prefix("mcp:{")?.split_once("}:")?;
    Some((session, rest.split(':').next()?))
}

/// Returns the kind of any other key: the part before the first hash or name, such as `rl:calls` or
/// `oauth:pend`.
fn kind_of(name: &str) -> String {
    let mut parts = name.split(':');
    match (parts.next().unwrap_or_default(), parts.next()) {
        (first @ ("rl" | "oauth"), Some(second)) => format!("{first}:{second}"),
        (first, _) => first.to_owned(),
    }
}

fn largest_first(shares: impl IntoIterator<Item = (String, Share)>) -> Vec<(String, Share)> {
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_unstable_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then_with(|| a.0.cmp(&b.0)));
    shares
}

/// Escapes a text for a pattern of SCAN.
fn escaped(text: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_session_or_a_kind() {
        assert_eq!(session_of("mcp:{abc}:log:get"), Some(("abc", "log")));
        assert_eq!(session_of("mcp:{abc}:session"), Some(("abc", "session")));
        assert_eq!(session_of("sessions:github:1"), None);
        let kinds = ["sessions:github:1", "rl:calls:x", "oauth:pend:x", "cimd:x", "catalog"];
        assert_eq!(kinds.map(kind_of), ["sessions", "rl:calls", "oauth:pend", "cimd", "catalog"]);
        assert_eq!(person(r#"1{"user":"github:1"}"#).as_deref(), Some("github:1"));
        assert_eq!(escaped("a*b:"), r"a\*b:");
    }
}
