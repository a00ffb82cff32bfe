//! The state of a product: what the base provides to it, and what the base calls.

use std::{any::Any, fmt, sync::Arc};

use async_trait::async_trait;
use jobs::Queue;
use mcp::{Bus, UserId};
use oauth::{Removed, limits::Limiter};
use platform::{
    clock::Clock,
    db::{Database, Failure, Transaction},
    fetch::Fetcher,
    public_url::PublicUrl,
};

use crate::{config::Reader, downloads::Downloads, model::Model};

/// What the base provides to the state of a product.
#[derive(Clone)]
pub struct Platform {
    /// The database. For requests of a user, use [`Database::of_person`].
    pub db: Database,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Publishes changes to clients of all instances; see [`platform::signals::publish`].
    pub bus: Arc<dyn Bus>,
    /// Rate limits that all instances share.
    pub limiter: Arc<dyn Limiter>,
    /// Fetches documents whose URL comes from a request.
    pub fetcher: Arc<Fetcher>,
    /// The language model of the operator, if one is configured.
    pub model: Option<Arc<Model>>,
    /// The queue of jobs.
    pub jobs: Queue,
    /// Files for download.
    pub downloads: Downloads,
    /// The public URL of the server.
    pub public_url: PublicUrl,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Platform")
    }
}

/// The state of a product: what its tools, resources, prompts and schedules share, and what the
/// base calls when an account is deleted or displayed. Cheap to clone.
#[async_trait]
pub trait State: Clone + Send + Sync + 'static {
    /// The settings of the product.
    type Settings: Clone + Send + Sync + 'static;

    /// Reads the settings from the environment. The reader collects the problems, and they are
    /// reported together with those of the base.
    fn settings(reader: &mut Reader<'_>) -> Self::Settings;

    /// Creates the state of one process.
    fn new(platform: Platform, settings: Self::Settings) -> Self;

    /// Deletes everything that a user owns, in the transaction that deletes the account. If this
    /// fails, the transaction is rolled back. Jobs and downloads are deleted by the base.
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure>;

    /// Cleans up after the deletion was committed: deletes what a concurrent call wrote meanwhile.
    /// Logs failures.
    async fn account_deleted(&self, _user: &UserId) {}

    /// Describes how much data a user has stored, and the quota, for the account page, such as
    /// “1,203 of 50,000 notes, 12 of 500 MB”. `Ok(None)`: the page does not show it.
    async fn usage(&self, _user: &UserId) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

/// The settings of a product, with their type erased.
#[derive(Clone)]
pub struct AnySettings(pub(super) Arc<dyn Any + Send + Sync>);

impl fmt::Debug for AnySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySettings")
    }
}

/// The state of a product, with its type erased.
#[derive(Clone)]
pub struct AnyState(Arc<dyn Owner>);

impl AnyState {
    pub(super) fn new<S: State>(state: S) -> Self {
        Self(Arc::new(state))
    }

    /// Returns the state with its type.
    ///
    /// # Panics
    /// If the product has another type of state.
    pub fn of<S: State>(&self) -> &S {
        let state: &dyn Any = &*self.0;
        state.downcast_ref().expect("the caller names the state of this product")
    }

    pub(crate) fn owner(&self) -> &dyn Owner {
        &*self.0
    }
}

impl fmt::Debug for AnyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyState")
    }
}

/// The object-safe part of [`State`].
#[async_trait]
pub(crate) trait Owner: Any + Send + Sync {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure>;
    async fn account_deleted(&self, user: &UserId);
    async fn usage(&self, user: &UserId) -> Result<Option<String>, Failure>;
}

#[async_trait]
impl<S: State> Owner for S {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        State::delete_owned(self, transaction, user).await
    }

    async fn account_deleted(&self, user: &UserId) {
        State::account_deleted(self, user).await;
    }

    async fn usage(&self, user: &UserId) -> Result<Option<String>, Failure> {
        State::usage(self, user).await
    }
}
