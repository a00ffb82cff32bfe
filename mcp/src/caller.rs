//! Who is calling: what the layer in front of the engine learned from the access token.

use std::{collections::BTreeSet, fmt, sync::Arc};

use tokio::sync::watch;

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
    /// The key that signed the token, likewise. Empty in what was kept before this field existed.
    #[serde(default = "no_key")]
    pub key: Arc<str>,
    /// When the access token was issued, in seconds since the Unix epoch.
    #[serde(default)]
    pub issued_at: i64,
    /// When the access token expires, in seconds since the Unix epoch: an open stream is closed
    /// then.
    pub expires_at: i64,
    /// The id of the HTTP request, for the log. Jobs keep it, so that the lines of a worker name the
    /// request that started the job. A client may choose it, so it proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
}

fn no_key() -> Arc<str> {
    Arc::from("")
}

/// Says whether callers may still act. Streams and calls outlive the check of their access token, so
/// they ask again for as long as they are open. Without I/O: it is asked often.
pub trait AccessCheck: Send + Sync {
    /// Whether the access token of this caller is still good, as far as this process knows.
    fn is_allowed(&self, caller: &Caller) -> bool;
    /// Changes when an answer of [`Self::is_allowed`] may have become `false`.
    fn changes(&self) -> watch::Receiver<u64>;
}

impl Caller {
    /// Whether the token grants `scope`. The empty scope is granted to every token.
    pub fn may(&self, scope: &str) -> bool {
        scope.is_empty() || self.scopes.contains(scope)
    }
}
