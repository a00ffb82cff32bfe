//! The authenticated caller, as the HTTP layer obtained it from the access token.

use std::{collections::BTreeSet, fmt, sync::Arc};

use tokio::sync::watch;

/// A stable identifier of a user, such as `user:1234567`. Every session, stream, question and job
/// belongs to exactly one user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Takes the `sub` of a verified access token.
    pub fn new(sub: impl Into<Arc<str>>) -> Self {
        Self(sub.into())
    }

    /// The `sub` of the access token.
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

/// The authenticated principal of an HTTP request. An MCP session is not authentication, so every
/// request has its own caller.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The OAuth `client_id` that the token was issued to.
    pub client: Arc<str>,
    /// The scopes of the token.
    pub scopes: BTreeSet<String>,
    /// The grant of the token. Open streams end when it is revoked.
    pub grant: Arc<str>,
    /// The id of the key that signed the token. Open streams end when it is revoked. Empty in
    /// values stored before this field existed.
    #[serde(default = "no_key")]
    pub key: Arc<str>,
    /// When the access token was issued, in seconds since the Unix epoch.
    #[serde(default)]
    pub issued_at: i64,
    /// When the access token expires, in seconds since the Unix epoch. Open streams end then.
    pub expires_at: i64,
    /// The id of the HTTP request, for logs. Stored with jobs, so that the log events of a worker
    /// have the id of the request that created the job. Not trusted, since a client may choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
}

fn no_key() -> Arc<str> {
    Arc::from("")
}

/// Detects that a caller's access has ended. Streams and calls outlive the check of the access
/// token, so they check again while they are open.
pub trait AccessCheck: Send + Sync {
    /// Whether the access token of a caller is valid, as far as this process knows. Called often:
    /// must not perform I/O.
    fn is_allowed(&self, caller: &Caller) -> bool;
    /// Changes whenever [`Self::is_allowed`] may have become `false` for a caller.
    fn changes(&self) -> watch::Receiver<u64>;
}

impl Caller {
    /// Whether the token has `scope`. Every token has the empty scope.
    pub fn may(&self, scope: &str) -> bool {
        scope.is_empty() || self.scopes.contains(scope)
    }

    /// Records a change of the user's data as a line of the log. Call after the commit. `tool`: the
    /// name of the tool, or of the tool that does the same. `changed`: the ids of what was changed, or
    /// a number; no content.
    pub fn audit(&self, tool: &str, changed: impl fmt::Display) {
        tracing::info!(
            audit = "data_changed",
            user = self.user.as_str(),
            client = &*self.client,
            grant = &*self.grant,
            tool,
            changed = %changed,
            "Audit: data changed"
        );
    }
}
