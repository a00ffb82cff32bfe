//! The state that tools, the resource and the prompt share.

use app::{Platform, Reader, Removed};
use async_trait::async_trait;
use jobs::Queue;
use mcp::UserId;
use platform::{
    clock::Clock,
    db::{Database, Failure, Transaction},
    fetch::Fetcher,
    public_url::PublicUrl,
};

use crate::store;

/// The state of the product.
#[derive(Clone)]
pub struct State(Platform);

impl State {
    /// The part of the connection pool for requests of this user.
    pub(crate) fn db_of(&self, user: &UserId) -> Database {
        self.0.db.of_person(user.as_str())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    pub(crate) fn jobs(&self) -> &Queue {
        &self.0.jobs
    }

    pub(crate) fn public_url(&self) -> &PublicUrl {
        &self.0.public_url
    }
}

#[async_trait]
impl app::State for State {
    type Settings = ();

    fn settings(_: &mut Reader<'_>) {}

    fn new(platform: Platform, (): ()) -> Self {
        Self(platform)
    }

    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        let count = store::delete_all(transaction, user).await?;
        Ok(Removed { count, one: "bookmark", many: "bookmarks" })
    }
}
