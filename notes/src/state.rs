//! The state that tools, resources, prompts and schedules share.

use std::{fmt, sync::Arc};

use app::{Limiter, Platform, Reader, Removed, downloads::Downloads, model::Model};
use async_trait::async_trait;
use jobs::Queue;
use mcp::{Bus, UserId};
use platform::{
    clock::Clock,
    db::{DATABASE, Database, Failure, Transaction},
    fetch::Fetcher,
    public_url::PublicUrl,
};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};

use crate::{
    entity, settings,
    store::quota::{self, Amount, QuotaUsage},
};

/// The dependencies of the product. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    platform: Platform,
    quota: Amount,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl State {
    /// The database, for background work.
    pub(crate) fn db(&self) -> &Database {
        &self.0.platform.db
    }

    /// The share of the connection pool for the requests of one user, so that other users always
    /// find a connection.
    pub(crate) fn db_for(&self, user: &UserId) -> Database {
        self.0.platform.db.of_person(user.as_str())
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.platform.clock
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.0.platform.bus
    }

    pub(crate) fn limiter(&self) -> &dyn Limiter {
        &*self.0.platform.limiter
    }

    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.0.platform.fetcher
    }

    pub(crate) fn model(&self) -> Option<&Model> {
        self.0.platform.model.as_deref()
    }

    pub(crate) fn jobs(&self) -> &Queue {
        &self.0.platform.jobs
    }

    pub(crate) fn downloads(&self) -> &Downloads {
        &self.0.platform.downloads
    }

    pub(crate) fn public_url(&self) -> &PublicUrl {
        &self.0.platform.public_url
    }

    /// The quota of notes for each user.
    pub(crate) fn quota(&self) -> Amount {
        self.0.quota
    }
}

#[async_trait]
impl app::State for State {
    type Settings = Amount;

    fn settings(reader: &mut Reader<'_>) -> Amount {
        settings::quota(reader)
    }

    fn new(platform: Platform, quota: Amount) -> Self {
        Self(Arc::new(Inner { platform, quota }))
    }

    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        let count = delete_notes(transaction, user).await?;
        Ok(Removed { count, one: "note", many: "notes" })
    }

    async fn account_deleted(&self, user: &UserId) {
        // An import may have written notes while the account was deleted: deleting its job waits
        // for the running transaction.
        if let Err(error) = delete_notes(self.db(), user).await {
            tracing::warn!(
                dependency = DATABASE, error = %error,
                "Could not delete notes that were written while their account was deleted"
            );
        }
    }

    async fn usage(&self, user: &UserId) -> Result<Option<String>, Failure> {
        let current = quota::usage(&self.db_for(user), user).await?;
        Ok(Some(QuotaUsage { used: current, quota: self.quota() }.to_string()))
    }
}

async fn delete_notes(db: &impl ConnectionTrait, user: &UserId) -> Result<u64, DbErr> {
    let is_owner = entity::COLUMN.owner_sub.eq(user.as_str());
    let deleted = entity::Entity::delete_many().filter(is_owner).exec(db).await?;
    Ok(deleted.rows_affected)
}
