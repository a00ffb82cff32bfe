//! The properties that every schedule must have.

use std::fmt;

/// A property, as the simulator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// See [`Property::sentence`].
    EventsOnceInOrder,
    /// See [`Property::sentence`].
    OneResponse,
    /// See [`Property::sentence`].
    OneAnswer,
    /// See [`Property::sentence`].
    CancelledIsSilent,
    /// See [`Property::sentence`].
    EffectAtMostOnce,
    /// See [`Property::sentence`].
    AcknowledgedEffect,
    /// See [`Property::sentence`].
    OneEnd,
    /// See [`Property::sentence`].
    ChildrenEndFirst,
    /// See [`Property::sentence`].
    ProgressIncreases,
    /// See [`Property::sentence`].
    EveryWaitEnds,
    /// See [`Property::sentence`].
    EverythingExpires,
    /// See [`Property::sentence`].
    UsersAreSeparate,
    /// See [`Property::sentence`].
    IdleSessionsAreFree,
    /// See [`Property::sentence`].
    SessionsLast,
    /// See [`Property::sentence`].
    OnlyLostWithInstance,
    /// See [`Property::sentence`].
    Prompt,
    /// See [`Property::sentence`].
    NoPanic,
}

impl Property {
    /// All properties.
    pub const ALL: [Self; 17] = [
        Self::EventsOnceInOrder,
        Self::OneResponse,
        Self::OneAnswer,
        Self::CancelledIsSilent,
        Self::EffectAtMostOnce,
        Self::AcknowledgedEffect,
        Self::OneEnd,
        Self::ChildrenEndFirst,
        Self::ProgressIncreases,
        Self::EveryWaitEnds,
        Self::EverythingExpires,
        Self::UsersAreSeparate,
        Self::IdleSessionsAreFree,
        Self::SessionsLast,
        Self::OnlyLostWithInstance,
        Self::Prompt,
        Self::NoPanic,
    ];

    /// The name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventsOnceInOrder => "events-once-in-order",
            Self::OneResponse => "one-response",
            Self::OneAnswer => "one-answer",
            Self::CancelledIsSilent => "cancelled-is-silent",
            Self::EffectAtMostOnce => "effect-at-most-once",
            Self::AcknowledgedEffect => "acknowledged-effect",
            Self::OneEnd => "one-end",
            Self::ChildrenEndFirst => "children-end-first",
            Self::ProgressIncreases => "progress-increases",
            Self::EveryWaitEnds => "every-wait-ends",
            Self::EverythingExpires => "everything-expires",
            Self::UsersAreSeparate => "users-are-separate",
            Self::IdleSessionsAreFree => "idle-sessions-are-free",
            Self::SessionsLast => "sessions-last",
            Self::OnlyLostWithInstance => "only-lost-with-instance",
            Self::Prompt => "prompt",
            Self::NoPanic => "no-panic",
        }
    }

    /// The property as a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::EventsOnceInOrder => {
                "A client that keeps coming back receives every event of a stream once and in order."
            }
            Self::OneResponse => {
                "A request is answered at most once, and exactly once if its client stays."
            }
            Self::OneAnswer => {
                "A question is asked once and answered by one answer, the first that was accepted."
            }
            Self::CancelledIsSilent => {
                "A call whose cancellation has taken effect is not answered, and has no effect later."
            }
            Self::EffectAtMostOnce => {
                "A tool that is not idempotent takes effect at most once per call; without a session, \
                 once per request."
            }
            Self::AcknowledgedEffect => {
                "A call that was answered with success has taken effect once."
            }
            Self::OneEnd => "A job ends once, and its outcome does not change afterwards.",
            Self::ChildrenEndFirst => {
                "The children of a job end before it, and all of them end if it is cancelled."
            }
            Self::ProgressIncreases => "The progress of a call only increases.",
            Self::EveryWaitEnds => {
                "Every client has its response within a bounded time after the last fault."
            }
            Self::EverythingExpires => "Every entry of the stores expires.",
            Self::UsersAreSeparate => "A user neither sees nor changes anything of another user.",
            Self::IdleSessionsAreFree => {
                "A session that neither calls nor listens uses no memory of an instance."
            }
            Self::SessionsLast => {
                "A session exists until its client ends it or the stores lose their data."
            }
            Self::OnlyLostWithInstance => {
                "A call is lost only if an instance dies, stands still or shuts down, or if the store \
                 loses its data."
            }
            Self::Prompt => {
                "Without faults and losses, a response arrives soon after the call has ended."
            }
            Self::NoPanic => "No code panics.",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A property that a schedule does not have.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The property.
    pub property: Property,
    /// What happened instead.
    pub what: String,
    /// The simulated time in milliseconds.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { property, what, at } = self;
        write!(f, "{property} at {at} ms: {what}")
    }
}
