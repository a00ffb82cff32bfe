//! How clients treat the event streams of a session, where they differ from the specification.
//!
//! 2025-11-25 lets a stream begin with an event that has an id and empty data (basic/transports,
//! "Sending Messages to the Server", 6), so that a client can resume before the first message. To a
//! parser of server-sent events that is a message with the text "", and some clients fail on it.

use crate::{store::Session, version::ProtocolVersion};

/// What the client of a session does with its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct StreamHabits {
    /// Whether events without data are allowed on the stream of a call.
    pub(in crate::engine) empty_on_calls: bool,
    /// Whether events without data are allowed on the standalone stream.
    pub(in crate::engine) empty_on_standalone: bool,
    /// Whether the client is known to fail on an event without data, of whatever revision.
    pub(in crate::engine) never_empty: bool,
    /// Whether the client resumes the stream of a call. If not, what it misses there is sent when it
    /// resumes its standalone stream.
    pub(in crate::engine) resumes_calls: bool,
}

/// Names of clients that take an event without data for a broken message, in lower case: claude.ai.
const NO_EMPTY_EVENTS: [&str; 2] = ["claude-ai", "anthropic"];

/// Names of clients that resume only their standalone stream, in lower case: Visual Studio Code and
/// its builds. On the stream of a call they log a warning for an event without data, which would be of
/// no use to them.
const STANDALONE_ONLY: [&str; 3] = ["visual studio code", "code - oss", "vscodium"];

impl StreamHabits {
    const STANDARD: Self = Self {
        empty_on_calls: true,
        empty_on_standalone: true,
        never_empty: false,
        resumes_calls: true,
    };
    const OLD: Self = Self { empty_on_calls: false, empty_on_standalone: false, ..Self::STANDARD };

    /// By the revision, and by the name that the client gave in `initialize`.
    pub(in crate::engine) fn of(session: &Session) -> Self {
        let name = session.client_info.as_ref().map(|info| info.name.to_lowercase());
        let is = |names: &[&str]| {
            name.as_ref().is_some_and(|name| {
                names.iter().any(|known| {
                    // `Anthropic/ClaudeAI`, `Visual Studio Code - Insiders`
                    let rest = name.strip_prefix(known);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ' ']))
                })
            })
        };
        let habits = match session.version {
            version if version < ProtocolVersion::V2025_11_25 => Self::OLD,
            _ => Self::STANDARD,
        };
        if is(&NO_EMPTY_EVENTS) {
            Self { never_empty: true, ..Self::OLD }
        } else if is(&STANDALONE_ONLY) {
            Self { empty_on_calls: false, resumes_calls: false, ..habits }
        } else {
            habits
        }
    }

    /// Whether events without data are allowed on a stream.
    pub(in crate::engine) fn may_be_empty(self, standalone: bool) -> bool {
        if standalone { self.empty_on_standalone } else { self.empty_on_calls }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        caller::UserId,
        store::CatalogDigest,
        types::{ClientCapabilities, Implementation, LogLevel},
    };

    fn habits(version: ProtocolVersion, name: &str) -> StreamHabits {
        let info = serde_json::json!({ "name": name, "version": "1" });
        StreamHabits::of(&Session {
            user: UserId::new("dev:ada"),
            version,
            capabilities: ClientCapabilities::default(),
            client_info: serde_json::from_value::<Implementation>(info).ok(),
            log_level: LogLevel::Info,
            subscriptions: BTreeSet::new(),
            catalog: CatalogDigest::default(),
            began: None,
        })
    }

    #[test]
    fn a_client_gets_empty_events_only_where_it_can_take_them() {
        let new = ProtocolVersion::V2025_11_25;
        for name in ["claude-code", "mcp-inspector", "", "Anthropically", "claude-ai-copy"] {
            assert_eq!(habits(new, name), StreamHabits::STANDARD, "{name}");
            assert_eq!(habits(ProtocolVersion::V2025_06_18, name), StreamHabits::OLD, "{name}");
        }
        for name in ["claude-ai", "Anthropic", "Anthropic/ClaudeAI", "Anthropic/Toolbox"] {
            let habits = habits(new, name);
            assert!(!habits.may_be_empty(false) && !habits.may_be_empty(true), "{name}");
            assert!(habits.never_empty, "{name}");
        }
        for name in ["Visual Studio Code", "Visual Studio Code - Insiders", "VSCodium"] {
            let habits = habits(new, name);
            assert!(!habits.may_be_empty(false) && habits.may_be_empty(true), "{name}");
            assert!(!habits.resumes_calls, "{name}");
        }
    }
}
