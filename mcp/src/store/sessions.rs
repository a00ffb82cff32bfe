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

/// The record of a legacy session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The owner. For any other user the session does not exist.
    pub user: UserId,
    /// The negotiated protocol revision.
    pub version: ProtocolVersion,
    /// The capabilities that the client declared.
    pub capabilities: ClientCapabilities,
    /// The client's `clientInfo`. Determines only how its event streams are written
    /// (`StreamQuirks`), never its rights.
    pub client_info: Option<Implementation>,
    /// The minimum severity of log messages sent to the client.
    pub log_level: LogLevel,
    /// The URIs of the resources that the client subscribes to.
    pub subscriptions: BTreeSet<String>,
    /// The digest of the lists that the client fetched, or was last notified about.
    #[serde(default)]
    pub catalog: CatalogDigest,
    /// Creation time in seconds since the Unix epoch. `None`: created by a server version without
    /// this field.
    #[serde(default)]
    pub began: Option<i64>,
}

/// The data of a deleted session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedSession {
    /// [`Session::began`]. `None` also if the record is of a format that this version cannot read.
    pub began: Option<i64>,
}

/// The maximum number of subscriptions of a session. Bounds the size of a session record.
pub const MAX_SUBSCRIPTIONS: usize = 1_000;

/// The maximum total length of the URIs that a session subscribes to, in bytes: enough for
/// [`MAX_SUBSCRIPTIONS`] URIs of ordinary length.
pub const MAX_SUBSCRIPTION_BYTES: usize = 64 * 1024;

/// The maximum length of a URI in a subscription, in bytes.
pub const MAX_URI_BYTES: usize = 1_024;

/// The maximum number of sessions of a user. A client that is open in several windows has one
/// session for each; the session records of one user are at most about 10 MiB.
pub const MAX_SESSIONS_PER_USER: usize = 100;

/// Legacy sessions (2025-11-25, basic/transports, "Session Management").
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Stores a new session. When this returns, every instance can load it. Returns the user's
    /// sessions above [`MAX_SESSIONS_PER_USER`], longest idle first: they are no longer counted,
    /// and the caller must end them. Each one is returned to exactly one caller.
    async fn create(&self, id: &SessionId, session: &Session)
    -> Result<Vec<SessionId>, StoreError>;
    /// Loads a session of a user and restarts its idle timeout. `Ok(None)`: the user has no such
    /// session.
    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError>;
    /// Sets the log level. Does nothing if the session does not exist.
    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError>;
    /// Stores the digest of the lists that the client has. Does nothing if the session does not
    /// exist.
    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError>;
    /// Adds a subscription. `false`: the session does not exist, or would exceed
    /// [`MAX_SUBSCRIPTIONS`] or [`MAX_SUBSCRIPTION_BYTES`].
    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError>;
    /// Removes a subscription.
    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError>;
    /// Deletes a session of a user and its waiting calls. `Ok(None)`: it did not exist.
    async fn delete(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<Option<DeletedSession>, StoreError>;
}
