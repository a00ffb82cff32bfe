//! Implementations of the traits through which `jobs` and `oauth` call crates that they do not
//! depend on.

use std::sync::Arc;

use async_trait::async_trait;
use entity::downloads;
use jobs::{DeniedJobs, Queue};
use mcp::{Bus, Caller, Signal, UserId};
use oauth::{
    EndedAccess, Removed,
    access::{self, Authority},
};
use platform::{
    db::{Database, Failure, Transaction},
    signals,
};

use crate::product::AnyState;

/// Tells the queue whether the access with which a job was started has ended.
pub(crate) struct JobAccess(Database);

impl JobAccess {
    pub(crate) fn new(db: Database) -> Self {
        Self(db)
    }
}

#[async_trait]
impl jobs::Access for JobAccess {
    async fn ended(&self, callers: &[&Caller]) -> Result<Vec<Option<&'static str>>, Failure> {
        let authorities: Vec<_> = callers.iter().map(|caller| Authority::of(caller)).collect();
        let denied = access::denied_all(&self.0, &authorities).await?;
        Ok(denied.into_iter().map(|denied| Some(denied?.job_sentence())).collect())
    }
}

/// Deletes the data of an account (jobs, downloads, and the data of the product), and ends jobs
/// whose access has ended.
pub(crate) struct OwnedData {
    product: AnyState,
    bus: Arc<dyn Bus>,
    jobs: Queue,
}

impl OwnedData {
    pub(crate) fn new(product: AnyState, bus: Arc<dyn Bus>, jobs: Queue) -> Self {
        Self { product, bus, jobs }
    }
}

#[async_trait]
impl oauth::Dependents for OwnedData {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        let removed = self.product.owner().delete_owned(transaction, user).await?;
        // A worker that runs one of these jobs can write nothing more about it.
        entity::jobs::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        downloads::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        Ok(removed)
    }

    async fn account_deleted(&self, user: &UserId) {
        self.product.owner().account_deleted(user).await;
        let changed = Signal::ResourceListChanged { user: user.clone() };
        signals::publish(&*self.bus, vec![changed]).await;
    }

    async fn access_ended(&self, ended: EndedAccess) -> Result<(), Failure> {
        let which = match ended {
            EndedAccess::OfPerson(user) => DeniedJobs::OfPerson(user),
            EndedAccess::OfGrants(grants) => DeniedJobs::OfGrants(grants),
            EndedAccess::OfKey(key) => DeniedJobs::OfKey(key),
        };
        jobs::end_denied(&self.jobs, &which).await.map(drop)
    }
}
