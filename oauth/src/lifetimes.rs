//! Lifetimes of access tokens.

use std::time::Duration;

/// The longest life that a token may have. Tokens of clients live for [`MAX_CONFIGURED_TTL`] at
/// most; this is longer so that an operator can mint one by hand for a day of work. A token that
/// claims to live longer is refused, whoever signed it.
pub const MAX_TTL: Duration = Duration::from_hours(24);

/// The longest life that tokens of clients can be given by configuration. They are refreshed without
/// anybody noticing, so nothing is gained by more.
pub const MAX_CONFIGURED_TTL: Duration = Duration::from_hours(1);

/// How far the clocks of instances may differ, in seconds.
pub const LEEWAY: i64 = 5;
