//! The supported protocol revisions.

use std::{fmt, str::FromStr};

/// A revision of the Model Context Protocol. Ordered by date.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum ProtocolVersion {
    /// The first revision with Streamable HTTP; the only one with JSON-RPC batches.
    #[serde(rename = "2025-03-26")]
    V2025_03_26,
    /// Adds structured output, elicitation, resource links and titles.
    #[serde(rename = "2025-06-18")]
    V2025_06_18,
    /// Adds icons, URL elicitation and the priming event of a stream.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// Stateless: no sessions, no server-to-client requests.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

impl ProtocolVersion {
    /// All supported revisions, newest first, as listed by `server/discover`.
    pub const ALL: [Self; 4] =
        [Self::V2026_07_28, Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26];

    /// The newest revision with `initialize`, which is negotiated if the client requests an unknown
    /// one.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// The date that identifies the revision on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether requests are self-contained (2026-07-28 and later) instead of belonging to a
    /// session.
    pub fn is_modern(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// Whether `text` names a revision without sessions, supported or not. Revisions are dates, so
    /// they compare as text (2026-07-28, basic/versioning).
    pub(crate) fn names_modern(text: &str) -> bool {
        text >= Self::V2026_07_28.as_str()
    }

    /// The names of [`Self::ALL`].
    pub fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|it| it.as_str()).collect()
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of a text that names no supported revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol version that this server supports")]
pub struct UnknownVersion;

impl FromStr for ProtocolVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or(UnknownVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_parsed_from_its_name() {
        for version in ProtocolVersion::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert!("2024-11-05".parse::<ProtocolVersion>().is_err());
    }

    #[test]
    fn later_dates_are_modern_even_when_unknown() {
        assert!(ProtocolVersion::names_modern("2027-01-01"));
        assert!(ProtocolVersion::names_modern("v999.0.0"));
        assert!(!ProtocolVersion::names_modern("2025-11-25"));
    }
}
