//! How many requests one person may send to `/mcp`, whatever instance they meet.
//!
//! Two shares: one for calls, and one ten times as large for what clients send in great numbers
//! while they connect.

use async_trait::async_trait;
use mcp::{Admission, Caller, Quota, Requests};

use crate::{
    Service,
    oauth::limits::{Bucket, Verdict, per_minute},
};

/// What a client sends while it connects, and what costs hardly anything, may come this many times
/// as often as calls: clients ask for every list, some of them several times.
const LIGHT_FACTOR: u32 = 10;

/// The limits of every person.
pub(crate) struct PerPerson {
    service: Service,
    calls: Bucket,
    light: Bucket,
}

impl PerPerson {
    /// `RATE_LIMIT_PER_MINUTE`, unless that is 0.
    pub(crate) fn configured(service: &Service) -> Option<Self> {
        let limit = service.config().rate_limit_per_minute;
        (limit > 0).then(|| Self {
            service: service.clone(),
            calls: per_minute("calls", limit),
            light: per_minute("light", limit.saturating_mul(LIGHT_FACTOR)),
        })
    }

    async fn take(&self, bucket: &Bucket, caller: &Caller, count: u32) -> Option<mcp::Verdict> {
        if count == 0 {
            return None;
        }
        let verdict = self.service.limiter().take(bucket, caller.user.as_str(), count).await;
        let quota = |remaining, reset| Quota {
            policy: bucket.name,
            limit: bucket.limit,
            window: bucket.window,
            remaining,
            reset,
        };
        Some(match verdict {
            Verdict::Allowed { remaining, whole_after } => {
                mcp::Verdict::Admitted(Some(quota(remaining, whole_after)))
            }
            Verdict::Refused { retry_after } => mcp::Verdict::Refused(quota(0, retry_after)),
        })
    }
}

#[async_trait]
impl Admission for PerPerson {
    async fn admit(&self, caller: &Caller, requests: Requests) -> mcp::Verdict {
        let (calls, light) = tokio::join!(
            self.take(&self.calls, caller, requests.calls),
            self.take(&self.light, caller, requests.light),
        );
        // A batch may be both, and one refusal is enough.
        match (calls, light) {
            (_, Some(refused @ mcp::Verdict::Refused(_))) => refused,
            (Some(calls), _) => calls,
            (None, Some(light)) => light,
            (None, None) => mcp::Verdict::Admitted(None),
        }
    }
}
