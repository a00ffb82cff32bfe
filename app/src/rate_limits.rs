//! The rate limits of each user at `/mcp`, over all instances.
//!
//! There are three quotas: for calls; for the requests of clients that connect, so that calls
//! cannot exhaust it; and for requests that may follow in great numbers, such as the pages of a
//! long list. In addition, the bytes that a user adds to the shared store are limited.

use std::time::Duration;

use async_trait::async_trait;
use mcp::{Caller, Quota, RateLimiter, RequestCost};
use oauth::limits::{Bucket, Verdict, per_minute};

use crate::App;

/// The quotas of cheap requests, as a multiple of the quota of calls: clients request every list
/// when they connect, some of them several times.
const LIGHT_FACTOR: u32 = 10;

/// The minimum quota per minute for the requests of clients that connect, even if fewer calls are
/// allowed. A client needs about eight, and several may start at the same time.
const MIN_LIGHT: u32 = 120;

/// The number of bytes of streams, responses and waiting calls that a user may add to the shared
/// store within the time for which the store keeps them. GCRA also allows a burst of the same size,
/// so a user occupies at most twice this: a quarter of the smallest supported store.
const STORAGE: Bucket =
    Bucket { name: "kept", limit: 32 * 1024 * 1024, window: Duration::from_mins(15) };

/// The rate limits of each user.
pub(crate) struct UserRateLimiter {
    app: App,
    /// `None` if `RATE_LIMIT_PER_MINUTE` is 0. The storage quota applies nevertheless.
    requests: Option<Requests>,
}

/// The quotas of requests.
struct Requests {
    calls: Bucket,
    light: Bucket,
    followups: Bucket,
}

impl Requests {
    fn per_minute(calls: u32) -> Self {
        Self {
            calls: per_minute("calls", calls),
            light: per_minute("light", calls.saturating_mul(LIGHT_FACTOR).max(MIN_LIGHT)),
            followups: per_minute("followups", calls.saturating_mul(LIGHT_FACTOR)),
        }
    }
}

impl UserRateLimiter {
    /// Returns the limits that `RATE_LIMIT_PER_MINUTE` configures.
    pub(crate) fn configured(app: &App) -> Self {
        let limit = app.config().http.rate_limit_per_minute;
        let requests = (limit > 0).then(|| Requests::per_minute(limit));
        Self { app: app.clone(), requests }
    }

    async fn take(
        &self,
        bucket: &Bucket,
        caller: &Caller,
        count: u32,
    ) -> Option<mcp::RateDecision> {
        if count == 0 {
            return None;
        }
        let verdict = self.app.oauth().limiter().take(bucket, caller.user.as_str(), count).await;
        let quota = |remaining, reset| Quota {
            policy: bucket.name,
            limit: bucket.limit,
            window: bucket.window,
            remaining,
            reset,
        };
        Some(match verdict {
            Verdict::Allowed { remaining, whole_after } => {
                mcp::RateDecision::Allowed(Some(quota(remaining, whole_after)))
            }
            Verdict::Refused { retry_after } => mcp::RateDecision::Refused(quota(0, retry_after)),
        })
    }
}

#[async_trait]
impl RateLimiter for UserRateLimiter {
    async fn reserve_storage(&self, caller: &Caller, bytes: usize) -> bool {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let verdict = self.app.oauth().limiter().take(&STORAGE, caller.user.as_str(), count).await;
        if !verdict.is_allowed() {
            tracing::warn!(
                user = %caller.user,
                bytes,
                "Refused to store a response or call: the user has exhausted the storage quota"
            );
        }
        verdict.is_allowed()
    }

    async fn check(&self, caller: &Caller, requests: RequestCost) -> mcp::RateDecision {
        let decision = self.decide(caller, requests).await;
        if let mcp::RateDecision::Allowed(_) = decision {
            // For the user's page: here, because this is asked once for each request.
            self.app.oauth().calls().add(caller, requests.calls);
        }
        decision
    }
}

impl UserRateLimiter {
    async fn decide(&self, caller: &Caller, requests: RequestCost) -> mcp::RateDecision {
        let Some(limits) = &self.requests else { return mcp::RateDecision::Allowed(None) };
        let (calls, light, followups) = tokio::join!(
            self.take(&limits.calls, caller, requests.calls),
            self.take(&limits.light, caller, requests.light),
            self.take(&limits.followups, caller, requests.followups),
        );
        // A batch may count against several quotas; one refusal refuses it.
        let mut verdicts = [calls, light, followups].into_iter().flatten();
        let first = verdicts.next().unwrap_or(mcp::RateDecision::Allowed(None));
        verdicts.fold(first, |verdict, next| match next {
            mcp::RateDecision::Refused(_) => next,
            mcp::RateDecision::Allowed(_) => verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::USER_RATE_LIMITS;

    #[test]
    fn the_names_of_these_limits_are_reserved() {
        let Requests { calls, light, followups } = Requests::per_minute(1);
        let names = [calls, light, followups, STORAGE].map(|bucket| bucket.name);
        assert_eq!(names, USER_RATE_LIMITS);
    }
}
