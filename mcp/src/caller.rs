//! Who is calling: what the layer in front of the engine learned from the access token.

use std::{collections::BTreeSet, fmt, sync::Arc};

/// A stable identifier of a person, such as `github:1234567`. Every session, stream, question and
/// note belongs to exactly one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Takes the `sub` of a verified access token.
    pub fn new(sub: impl Into<Arc<str>>) -> Self {
        Self(sub.into())
    }

    /// The `sub` as it stands in the access token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The authenticated principal of one HTTP request. MCP sessions are never authentication, so
/// every request brings its own.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Caller {
    /// The person.
    pub user: UserId,
    /// The OAuth client (`client_id`) that holds the token.
    pub client: Arc<str>,
    /// The scopes that the token grants.
    pub scopes: BTreeSet<String>,
    /// The authorization (grant) that the token came from: when it is revoked, open streams end.
    pub grant: Arc<str>,
    /// When the access token expires, in seconds since the Unix epoch: an open stream is closed
    /// then.
    pub expires_at: i64,
}

impl Caller {
    /// Whether the token grants `scope`. The empty scope is granted to every token.
    pub fn may(&self, scope: &str) -> bool {
        scope.is_empty() || self.scopes.contains(scope)
    }
}
