//! Rate limiting. The engine determines the cost of a request; the limits are
//! determined by the implementation in [`Settings::rate_limiter`](crate::Settings::rate_limiter).

use std::{ops::Add, time::Duration};

use async_trait::async_trait;

use crate::{
    caller::Caller,
    rpc::{Message, Request, RpcError},
};

/// The cost of an HTTP request: the number of messages by quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCost {
    /// Requests that run product code: calls, reads, completions.
    pub calls: u32,
    /// Messages for connecting and staying connected: the handshake, the first page of every list,
    /// pings, streams. They have a quota of their own, so that other requests cannot prevent a
    /// client from connecting.
    pub light: u32,
    /// Frequent and inexpensive messages: further pages of lists, polling of tasks, the polling tools
    /// of views, notifications, answers to questions, subscriptions.
    pub followups: u32,
}

/// The methods for connecting and staying connected. Of lists only the first page; see [`LISTS`].
const LIGHT: [&str; 10] = [
    "initialize",
    "notifications/initialized",
    "server/discover",
    "ping",
    "logging/setLevel",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "subscriptions/listen",
];

/// The methods whose further pages are follow-ups.
const LISTS: [&str; 4] =
    ["tools/list", "resources/list", "resources/templates/list", "prompts/list"];

/// Other methods that are follow-ups.
const FOLLOWUPS: [&str; 5] =
    ["tasks/get", "tasks/list", "tasks/result", "resources/subscribe", "resources/unsubscribe"];

impl RequestCost {
    /// The cost of a message for connecting.
    pub(crate) const LIGHT: Self = Self { calls: 0, light: 1, followups: 0 };
    const CALL: Self = Self { calls: 1, light: 0, followups: 0 };
    pub(crate) const FOLLOWUP: Self = Self { calls: 0, light: 0, followups: 1 };

    /// The cost of a request.
    pub(crate) fn of_request(request: &Request<'_>) -> Self {
        let method = &*request.method;
        if LISTS.contains(&method) && request.params.get("cursor").is_some() {
            Self::FOLLOWUP
        } else if LIGHT.contains(&method) {
            Self::LIGHT
        } else if FOLLOWUPS.contains(&method) {
            Self::FOLLOWUP
        } else {
            Self::CALL
        }
    }

    /// The cost of a message.
    pub(crate) fn of(message: &Message<'_>) -> Self {
        match message {
            Message::Request(request) => Self::of_request(request),
            Message::Notification { method, .. } if LIGHT.contains(&&**method) => Self::LIGHT,
            Message::Notification { .. } | Message::Response { .. } => Self::FOLLOWUP,
        }
    }
}

impl Add for RequestCost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            light: self.light + other.light,
            followups: self.followups + other.followups,
        }
    }
}

/// The state of a quota, as shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The name of the quota policy.
    pub policy: &'static str,
    /// The maximum number of requests within `window`.
    pub limit: u32,
    /// The time window.
    pub window: Duration,
    /// The number of requests that remain.
    pub remaining: u32,
    /// Time until the quota is fully restored, or, when exhausted, until one more request is
    /// allowed.
    pub reset: Duration,
}

impl Quota {
    /// The error of a request that exceeds this quota.
    pub(crate) fn refusal(&self) -> RpcError {
        let seconds = self.reset.as_secs().max(1);
        let plural = if seconds == 1 { "" } else { "s" };
        let message = format!(
            "too many calls: wait {seconds} second{plural}, then try again, and make fewer calls \
             at once; the limit is {} within {} seconds",
            self.limit,
            self.window.as_secs(),
        );
        RpcError::too_many_requests(message, self.reset)
    }
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// Allowed. `None`: the caller is not limited.
    Allowed(Option<Quota>),
    /// Refused: this quota is exhausted.
    Refused(Quota),
}

/// Limits the requests of callers. Called once for each HTTP request, concurrently with the loading
/// of the session, so that both take one round trip if they use the same connection.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Counts a request against the quotas of the caller. Infallible: if its store is unavailable,
    /// the implementation decides locally.
    async fn check(&self, caller: &Caller, cost: RequestCost) -> RateDecision;

    /// Counts bytes that the stores will hold for the caller for about
    /// [`STREAM_TTL`](crate::store::STREAM_TTL). `false`: this would exceed the user's storage
    /// quota; nothing is counted.
    async fn reserve_storage(&self, _caller: &Caller, _bytes: usize) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::params::Params;

    fn cost(method: &str, params: &str) -> RequestCost {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        let id = crate::rpc::RequestId::Number(1);
        let request = Request { id, method: method.into(), params: Params::new(Some(&params)) };
        RequestCost::of(&Message::Request(request))
    }

    #[test]
    fn messages_for_connecting_are_light_and_calls_are_not() {
        for method in LIGHT {
            assert_eq!(cost(method, "{}"), RequestCost::LIGHT, "{method}");
        }
        for method in ["tools/call", "resources/read", "prompts/get", "no/such/method"] {
            assert_eq!(cost(method, r#"{"cursor":"a"}"#), RequestCost::CALL, "{method}");
        }
        let note = |method: &'static str| {
            RequestCost::of(&Message::Notification {
                method: method.into(),
                params: Params::new(None),
            })
        };
        assert_eq!(note("notifications/initialized"), RequestCost::LIGHT);
        assert_eq!(note("notifications/cancelled"), RequestCost::FOLLOWUP);
    }

    #[test]
    fn only_the_first_page_of_a_list_is_part_of_connecting() {
        for method in LISTS {
            assert_eq!(cost(method, r#"{"cursor":null}"#), RequestCost::LIGHT, "{method}");
            assert_eq!(cost(method, r#"{"cursor":"a"}"#), RequestCost::FOLLOWUP, "{method}");
            assert_eq!(cost(method, r#"{"cursor":1}"#), RequestCost::FOLLOWUP, "{method}");
            assert_eq!(cost(method, "[]"), RequestCost::LIGHT, "{method}");
        }
    }
}
