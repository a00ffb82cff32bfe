//! How much one person may ask of a server. The engine counts, because it knows what a request is;
//! whoever sets it up decides ([`Settings::admission`](crate::Settings::admission)).

use std::{ops::Add, time::Duration};

use async_trait::async_trait;

use crate::{caller::Caller, rpc::Message};

/// What one HTTP request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests that make the server work: calls, reads, completions.
    pub calls: u32,
    /// What a client sends in great numbers while it connects, and what costs hardly anything:
    /// handshakes, lists, notifications, answers to our questions, looks at a task, streams.
    pub light: u32,
}

/// Methods of requests that are light.
const LIGHT: [&str; 11] = [
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "subscriptions/listen",
    "tasks/get",
    "tasks/list",
    "tasks/result",
];

impl Requests {
    /// One light request.
    pub(crate) const LIGHT: Self = Self { calls: 0, light: 1 };
    const CALL: Self = Self { calls: 1, light: 0 };

    /// What a request counts as, by its method.
    pub(crate) fn of_method(method: &str) -> Self {
        if LIGHT.contains(&method) { Self::LIGHT } else { Self::CALL }
    }

    /// What a message counts as.
    pub(crate) fn of(message: &Message<'_>) -> Self {
        match message {
            Message::Request(request) => Self::of_method(&request.method),
            Message::Notification { .. } | Message::Response { .. } => Self::LIGHT,
        }
    }
}

impl Add for Requests {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, light: self.light + other.light }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_is_light_and_working_is_not() {
        for method in ["initialize", "ping", "tools/list", "server/discover"] {
            assert_eq!(Requests::of_method(method), Requests::LIGHT, "{method}");
        }
        for method in ["tools/call", "resources/read", "prompts/get", "no/such/method"] {
            assert_eq!(Requests::of_method(method), Requests::CALL, "{method}");
        }
        let note = Message::Notification { method: "x".into(), params: None };
        assert_eq!(Requests::of(&note), Requests::LIGHT);
    }
}
