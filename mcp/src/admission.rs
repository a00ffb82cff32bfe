//! How much one person may ask of a server. The engine counts, because it knows what a request is;
//! whoever sets it up decides ([`Settings::admission`](crate::Settings::admission)).

use std::{ops::Add, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    caller::Caller,
    rpc::{Message, Request, RpcError},
};

/// What one HTTP request asks for, by the quotas that it counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests that make the server work: calls, reads, completions.
    pub calls: u32,
    /// What a client sends to connect and to stay connected: the handshake, the first page of every
    /// list, pings, streams. Nothing else counts against this quota, so that no amount of work keeps
    /// a client from connecting.
    pub light: u32,
    /// What may follow in great numbers and costs little: further pages of lists, looks at a task,
    /// notifications, answers to questions, subscriptions.
    pub followups: u32,
}

/// Methods of messages by which a client connects and stays connected. Of the lists only the first
/// page, see [`LISTS`].
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

/// Methods whose further pages are follow-ups.
const LISTS: [&str; 4] =
    ["tools/list", "resources/list", "resources/templates/list", "prompts/list"];

/// Other methods of requests that are follow-ups.
const FOLLOWUPS: [&str; 5] =
    ["tasks/get", "tasks/list", "tasks/result", "resources/subscribe", "resources/unsubscribe"];

impl Requests {
    /// One request of those by which a client connects.
    pub(crate) const LIGHT: Self = Self { calls: 0, light: 1, followups: 0 };
    const CALL: Self = Self { calls: 1, light: 0, followups: 0 };
    const FOLLOWUP: Self = Self { calls: 0, light: 0, followups: 1 };

    /// What a request counts as.
    pub(crate) fn of_request(request: &Request<'_>) -> Self {
        let method = &*request.method;
        if LISTS.contains(&method) && has_cursor(request.params) {
            Self::FOLLOWUP
        } else if LIGHT.contains(&method) {
            Self::LIGHT
        } else if FOLLOWUPS.contains(&method) {
            Self::FOLLOWUP
        } else {
            Self::CALL
        }
    }

    /// What a message counts as.
    pub(crate) fn of(message: &Message<'_>) -> Self {
        match message {
            Message::Request(request) => Self::of_request(request),
            Message::Notification { method, .. } if LIGHT.contains(&&**method) => Self::LIGHT,
            Message::Notification { .. } | Message::Response { .. } => Self::FOLLOWUP,
        }
    }
}

/// Whether the parameters of a list ask for another page than the first one.
fn has_cursor(params: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        cursor: Option<&'a RawValue>,
    }
    params
        .and_then(|params| crate::json::from_str::<Params<'_>>(params.get()).ok())
        .is_some_and(|params| params.cursor.is_some())
}

impl Add for Requests {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            light: self.light + other.light,
            followups: self.followups + other.followups,
        }
    }
}

/// What is left of a share, for the client to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The name of the policy that the share belongs to.
    pub policy: &'static str,
    /// How many requests the whole share is.
    pub limit: u32,
    /// Within how long.
    pub window: Duration,
    /// How many are left now.
    pub remaining: u32,
    /// After how long there are more: the whole share again, or the next one of a used-up share.
    pub reset: Duration,
}

impl Quota {
    /// The error of a request that this quota refuses.
    pub(crate) fn refusal(&self) -> RpcError {
        let seconds = self.reset.as_secs().max(1);
        let plural = if seconds == 1 { "" } else { "s" };
        let message = format!(
            "too many calls: wait {seconds} second{plural}, then try again, and make fewer calls at \
             once; the limit is {} within {} seconds",
            self.limit,
            self.window.as_secs(),
        );
        RpcError::too_many_requests(message, self.reset)
    }
}

/// Whether a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes. The quota is absent where nothing is counted.
    Admitted(Option<Quota>),
    /// Not now.
    Refused(Quota),
}

/// Decides whether a caller's requests are served. Asked once for each HTTP request, at the same
/// time as the session is loaded: whoever keeps both in one store makes it one round trip.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Takes this much of the caller's share. Never fails: without its store it decides alone.
    async fn admit(&self, caller: &Caller, requests: Requests) -> Verdict;

    /// Counts bytes that the shared store is to keep for a caller for about
    /// [`STREAM_TTL`](crate::store::STREAM_TTL). False if that would be more than one person may keep
    /// there: then nothing is counted.
    async fn keep(&self, _caller: &Caller, _bytes: usize) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(method: &str, params: &str) -> Requests {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        let id = crate::rpc::RequestId::Number(1);
        let request = Request { id, method: method.into(), params: Some(&params) };
        Requests::of(&Message::Request(request))
    }

    #[test]
    fn connecting_is_light_and_working_is_not() {
        for method in LIGHT {
            assert_eq!(cost(method, "{}"), Requests::LIGHT, "{method}");
        }
        for method in ["tools/call", "resources/read", "prompts/get", "no/such/method"] {
            assert_eq!(cost(method, r#"{"cursor":"a"}"#), Requests::CALL, "{method}");
        }
        let note = |method: &'static str| {
            Requests::of(&Message::Notification { method: method.into(), params: None })
        };
        assert_eq!(note("notifications/initialized"), Requests::LIGHT);
        assert_eq!(note("notifications/cancelled"), Requests::FOLLOWUP);
    }

    #[test]
    fn only_the_first_page_of_a_list_is_part_of_connecting() {
        for method in LISTS {
            assert_eq!(cost(method, r#"{"cursor":null}"#), Requests::LIGHT, "{method}");
            assert_eq!(cost(method, r#"{"cursor":"a"}"#), Requests::FOLLOWUP, "{method}");
            assert_eq!(cost(method, r#"{"cursor":1}"#), Requests::FOLLOWUP, "{method}");
            assert_eq!(cost(method, "[]"), Requests::LIGHT, "{method}");
        }
    }
}
