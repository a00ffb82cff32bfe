//! What a presented token means: rotation, grace, recovery or replay.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{oauth_grants, oauth_refresh_tokens::Model};

/// How long after its exchange a token is still answered with the same successor: long enough for
/// retries and for processes that share the token, short enough that theft is noticed.
pub const GRACE: TimeDelta = TimeDelta::seconds(120);

/// How long after its exchange a token can be used to replace a lost successor. Also the minimum
/// time between two recoveries of one grant.
pub const RECOVERY_WINDOW: TimeDelta = TimeDelta::hours(24);

/// The case that a presented token falls into (see [`refresh`](super)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// A: it is the newest token of its grant.
    Rotate,
    /// B: it was exchanged within [`GRACE`].
    Grace,
    /// C: its successor is considered lost.
    Recover,
    /// D: it is a replay: another party may have a copy of it.
    Replay,
}

/// Determines the case of a presented token. `successor_used`: whether any later token of the grant
/// was exchanged.
pub(super) fn decide(
    token: &Model,
    grant: &oauth_grants::Model,
    successor_used: bool,
    now: DateTime<Utc>,
) -> Case {
    let Some(used_at) = token.used_at else {
        let newest = token.superseded_at.is_none() && token.generation == grant.generation;
        return if newest { Case::Rotate } else { Case::Replay };
    };
    let recovered_recently = grant.recovered_at.is_some_and(|it| now - it <= RECOVERY_WINDOW);
    // A `used_at` in the future, from an instance whose clock is ahead, counts as just now.
    if now - used_at <= GRACE {
        Case::Grace
    } else if !successor_used && now - used_at <= RECOVERY_WINDOW && !recovered_recently {
        Case::Recover
    } else {
        Case::Replay
    }
}
