//! The limit on open files of this process. Each connection needs a file descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What there is where the system sets no limit: more than this program ever uses.
const UNLIMITED: usize = 1_048_576;

/// How many file descriptors this process may have open.
pub fn limit() -> usize {
    number(getrlimit(Resource::Nofile).current)
}

/// Raises the soft limit to the hard one, and logs both. Many systems begin a process with a soft limit
/// of 1,024, for programs that use `select`.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        tracing::info!(limit = number(current), "Up to {} open files", number(current));
        return;
    }
    let (before, limit) = (number(current), number(maximum));
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(before, limit, "Up to {limit} open files, raised from {before}"),
        Err(error) => tracing::warn!(
            %error, before, limit,
            "Up to {before} open files; the limit could not be raised to {limit}: {error}"
        ),
    }
}

fn number(limit: Option<u64>) -> usize {
    limit.and_then(|it| usize::try_from(it).ok()).unwrap_or(UNLIMITED)
}
