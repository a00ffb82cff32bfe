//! The metrics of this service, in addition to [`platform::metrics`]: values that are sampled at
//! each scrape.

mod sample;
mod sampler;

use mcp::store::redis::RoundTrip;
use oauth::{
    audit, limits,
    login::{SignInOutcome, github::CALLBACK_PATH, policy::DenialReason},
};
pub use platform::metrics::*;

pub use self::{sample::render, sampler::Sampler};
use crate::product::Product;

/// Starts recording metrics in this process. Further calls have no effect.
pub fn start(product: &Product) {
    if !platform::metrics::started() {
        platform::metrics::start();
        zero(product);
    }
}

/// Records the duration of a round trip to Redis, as the observer of a connection.
pub fn record_round_trip(round_trip: &RoundTrip) {
    let outcome = if round_trip.succeeded { "ok" } else { "error" };
    REDIS_OPERATION_DURATION.observe([round_trip.operation, outcome], round_trip.duration);
}

/// Initializes counters with 0: Prometheus cannot see an increase of a counter whose first value is
/// 1.
fn zero(product: &Product) {
    for kind in audit::Kind::ALL {
        OAUTH_EVENTS.add([kind.as_str()], 0);
    }
    for why in DenialReason::ALL {
        OAUTH_GATE_REFUSALS.add([why.as_str()], 0);
    }
    for bucket in limits::ALL.iter().chain(product.rate_limits()) {
        for verdict in VERDICTS {
            RATE_LIMIT_DECISIONS.add([bucket.name, verdict], 0);
        }
    }
    for outcome in SignInOutcome::ALL {
        OAUTH_SIGN_INS.add([outcome.as_str()], 0);
    }
    for (route, shown_as) in [("/mcp", "answer"), ("/mcp", "stream"), (CALLBACK_PATH, "answer")] {
        HTTP_FAILURES.add([route, shown_as], 0);
    }
    // Alerts use ratios of these counters, so both must exist from the first request on, not only
    // after the first error.
    for (grant, error) in [("authorization_code", NO_ERROR), ("refresh_token", NO_ERROR)] {
        OAUTH_REQUESTS.add(["/token", grant, error], 0);
    }
    OAUTH_REQUESTS.add(["/token", "other", "server_error"], 0);
}
