//! The limit on open files of this process. Each connection needs a file descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number that represents no limit: more than this program ever uses.
const UNLIMITED: usize = 1_048_576;

/// Returns the soft limit on open file descriptors of this process.
pub fn limit() -> usize {
    number(getrlimit(Resource::Nofile).current)
}

/// Raises the soft limit to the hard limit, and logs both. Many systems start a process with a soft
/// limit of 1,024, for programs that use `select`.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        tracing::info!(limit = number(current), "The limit on open files is {}", number(current));
        return;
    }
    let (before, limit) = (number(current), number(maximum));
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::info!(
                before,
                limit,
                "Raised the limit on open files from {before} to {limit}"
            );
        }
        Err(error) => tracing::warn!(
            %error, before, limit,
            "Could not raise the limit on open files from {before} to {limit}"
        ),
    }
}

fn number(limit: Option<u64>) -> usize {
    limit.and_then(|it| usize::try_from(it).ok()).unwrap_or(UNLIMITED)
}
