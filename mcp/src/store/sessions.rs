//! Legacy sessions.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{CatalogDigest, StoreError};
use crate::{
    caller::UserId,
    id::SessionId,
    types::{ClientCapabilities, Implementation, LogLevel},
    version::ProtocolVersion,
};

/// What is known of a legacy session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is. Presented by anyone else, the session does not exist.
    pub user: UserId,
    /// The negotiated revision.
    pub version: ProtocolVersion,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// What the client calls itself. Decides only how its event streams are written, never what it
    /// may do.
    pub client_info: Option<Implementation>,
    /// The least severity that the client wants to hear of.
    pub log_level: LogLevel,
    /// The resources that the client follows.
    pub subscriptions: BTreeSet<String>,
    /// The lists that the client has, or was told of last.
    #[serde(default)]
    pub catalog: CatalogDigest,
    /// When it began, in seconds since the Unix epoch. Nothing for one that an older version began.
    #[serde(default)]
    pub began: Option<i64>,
}

/// How many resources one session may follow. Bounds the size of a session record.
pub const MAX_SUBSCRIPTIONS: usize = 1_000;

/// How long the URIs that one session follows may be together, in bytes: 1,000 of ordinary length.
pub const MAX_SUBSCRIPTION_BYTES: usize = 64 * 1024;

/// The longest URI that can be followed, in bytes.
pub const MAX_URI_BYTES: usize = 1_024;

/// How many sessions one person may have. A client that is open in several windows has one for each;
/// with this many a person's session records are at most about 10 MiB.
pub const MAX_SESSIONS_PER_USER: usize = 100;

/// Legacy sessions (2025-11-25, basic/transports, "Session Management").
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps a new session. Returns only when every instance will find it, with those sessions of the
    /// same user that were idle for longest and no longer count, because there would be more than
    /// [`MAX_SESSIONS_PER_USER`]: the caller has to end them. Each is given to one caller only.
    async fn create(&self, id: &SessionId, session: &Session)
    -> Result<Vec<SessionId>, StoreError>;
    /// Finds a session of a user and starts its idle time anew.
    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError>;
    /// Changes the log level. Nothing happens if the session is gone.
    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError>;
    /// Notes which lists the client has. Nothing happens if the session is gone.
    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError>;
    /// Follows a resource. False if the session is gone, or would follow more than
    /// [`MAX_SUBSCRIPTIONS`] or URIs of more than [`MAX_SUBSCRIPTION_BYTES`] together.
    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError>;
    /// Follows a resource no more.
    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError>;
    /// Ends a session of a user, with its waiting calls. False if it was gone already.
    async fn delete(&self, user: &UserId, id: &SessionId) -> Result<bool, StoreError>;
}
