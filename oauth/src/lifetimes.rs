//! Lifetimes of access tokens.

use std::time::Duration;

/// The maximum lifetime of any access token. Tokens of clients live for [`MAX_CONFIGURED_TTL`] at
/// most; this is longer so that an operator can issue one by hand for a day of work. A token that
/// claims a longer lifetime is refused, even with a valid signature.
pub const MAX_TTL: Duration = Duration::from_hours(24);

/// The maximum lifetime that can be configured for tokens of clients. Clients refresh tokens
/// automatically, so a longer lifetime has no advantage.
pub const MAX_CONFIGURED_TTL: Duration = Duration::from_hours(1);

/// The tolerated difference between the clocks of instances, in seconds.
pub const LEEWAY: i64 = 5;
