//! The command `store`: the memory use of each user in Redis.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use app::{
    config::Config,
    redis::usage::{self, Share, Usage},
};
use platform::counted;

/// The number of users in the list. The users who fill Redis are among the first.
const LISTED: usize = 20;

/// Prints the users with the largest sessions and streams, and other keys by kind.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let Some(redis) = &config.redis else {
        bail!("REDIS_URL is not set: sessions are in the memory of the instance");
    };
    let usage = usage::measure(redis).await.context("could not measure the use of Redis")?;
    writeln!(io::stdout(), "{}", shown(&usage)).context("could not print the result")
}

fn shown(usage: &Usage) -> String {
    let limit = match usage.max {
        0 => "no limit".to_owned(),
        max => size(max),
    };
    let mut lines = vec![format!("{} used, of {limit}", size(usage.used))];
    if usage.is_partial {
        lines.push("There are too many keys to measure all. From a sample:".to_owned());
    }
    lines.extend(usage.people.iter().take(LISTED).map(|(name, share)| line(name, share)));
    let rest = usage.people.len().saturating_sub(LISTED);
    if rest > 0 {
        let people = counted(u64::try_from(rest).unwrap_or(u64::MAX), "person", "people");
        lines.push(format!("{:>12}  {people} with less each", ""));
    }
    lines.extend(usage.others.iter().map(|(kind, share)| line(&format!("(keys {kind})"), share)));
    lines.join("\n")
}

fn line(name: &str, share: &Share) -> String {
    let Share { bytes, keys, sessions } = *share;
    let (keys, sessions) = (counted(keys, "key", "keys"), counted(sessions, "session", "sessions"));
    format!("{:>12}  {name}: {sessions}, {keys}", size(bytes))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1024 * 1024)),
    }
}
