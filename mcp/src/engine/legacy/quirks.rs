//! Workarounds for clients whose handling of event streams differs from the specification.
//!
//! In 2025-11-25 a stream should begin with an event that has an id and empty data
//! (basic/transports, "Sending Messages to the Server", 6), so that a client can resume before the
//! first message. An SSE parser reports it as a message with the text "", and some clients fail on
//! it.

use crate::{store::Session, version::ProtocolVersion};

/// Whether a stream contains events with empty data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmptyEvents {
    /// Yes.
    Allowed,
    /// Only when the instance shuts down, to transmit `retry`.
    Avoided,
    /// No: the client is known to fail on them.
    Never,
}

/// The stream handling of the client of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamQuirks {
    on_calls: EmptyEvents,
    on_standalone: EmptyEvents,
    /// Whether the client resumes the stream of a call. If not, missed events are sent when it
    /// resumes its standalone stream.
    pub(super) resumes_calls: bool,
}

/// Lower-case names of clients that treat an event with empty data as a malformed message:
/// claude.ai.
const NO_EMPTY_EVENTS: [&str; 2] = ["claude-ai", "anthropic"];

/// Lower-case names of clients that resume only their standalone stream: Visual Studio Code and its
/// builds. They log a warning for an event with empty data on the stream of a call, which they
/// do not need there.
const STANDALONE_ONLY: [&str; 3] = ["visual studio code", "code - oss", "vscodium"];

impl StreamQuirks {
    const STANDARD: Self = Self::alike(EmptyEvents::Allowed);

    const fn alike(empty_events: EmptyEvents) -> Self {
        Self { on_calls: empty_events, on_standalone: empty_events, resumes_calls: true }
    }

    /// Determined by the revision and by the client's name in `initialize`.
    pub(super) fn of(session: &Session) -> Self {
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
        if is(&NO_EMPTY_EVENTS) {
            return Self::alike(EmptyEvents::Never);
        }
        let quirks = if session.version < ProtocolVersion::V2025_11_25 {
            Self::alike(EmptyEvents::Avoided)
        } else {
            Self::STANDARD
        };
        if is(&STANDALONE_ONLY) {
            Self { on_calls: EmptyEvents::Avoided, resumes_calls: false, ..quirks }
        } else {
            quirks
        }
    }

    /// Whether a stream contains events with empty data.
    pub(super) fn empty_events(self, standalone: bool) -> EmptyEvents {
        if standalone { self.on_standalone } else { self.on_calls }
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

    fn quirks(version: ProtocolVersion, name: &str) -> StreamQuirks {
        let info = serde_json::json!({ "name": name, "version": "1" });
        StreamQuirks::of(&Session {
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
    fn a_client_receives_empty_events_only_where_it_supports_them() {
        let new = ProtocolVersion::V2025_11_25;
        for name in ["claude-code", "mcp-inspector", "", "Anthropically", "claude-ai-copy"] {
            assert_eq!(quirks(new, name), StreamQuirks::STANDARD, "{name}");
            let old = quirks(ProtocolVersion::V2025_06_18, name);
            assert_eq!(old, StreamQuirks::alike(EmptyEvents::Avoided), "{name}");
        }
        for name in ["claude-ai", "Anthropic", "Anthropic/ClaudeAI", "Anthropic/Toolbox"] {
            assert_eq!(quirks(new, name), StreamQuirks::alike(EmptyEvents::Never), "{name}");
        }
        for name in ["Visual Studio Code", "Visual Studio Code - Insiders", "VSCodium"] {
            let quirks = quirks(new, name);
            assert_eq!(quirks.empty_events(false), EmptyEvents::Avoided, "{name}");
            assert_eq!(quirks.empty_events(true), EmptyEvents::Allowed, "{name}");
            assert!(!quirks.resumes_calls, "{name}");
        }
    }
}
