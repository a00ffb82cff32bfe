//! Implementations of the traits through which `jobs` and `oauth` call parts that they do not know.

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

/// Tells the queue whether the access has ended that jobs were started with.
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
        let answers = access::denied_all(&self.0, &authorities).await?;
        Ok(answers.into_iter().map(|denied| Some(denied?.job_sentence())).collect())
    }
}

/// Deletes what belongs to an account, and ends what runs with ended access: jobs, downloads, and the
/// data of the product.
pub(crate) struct Owned {
    product: AnyState,
    bus: Arc<dyn Bus>,
    jobs: Queue,
}

impl Owned {
    pub(crate) fn new(product: AnyState, bus: Arc<dyn Bus>, jobs: Queue) -> Self {
        Self { product, bus, jobs }
    }
}

#[async_trait]
impl oauth::Dependents for Owned {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        let removed = self.product.owner().delete_owned(transaction, user).await?;
        // A worker that runs one of the jobs finds that it can write nothing more.
        entity::jobs::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        downloads::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        Ok(removed)
    }

    async fn account_deleted(&self, user: &UserId) {
        self.product.owner().account_deleted(user).await;
        let changed = Signal::ResourceListChanged { user: user.clone() };
        signals::publish(&*self.bus, vec![changed]).await;
    }

    async fn access_ended(&self, whose: EndedAccess) -> Result<(), Failure> {
        let which = match whose {
            EndedAccess::OfPerson(user) => DeniedJobs::OfPerson(user),
            EndedAccess::OfGrants(grants) => DeniedJobs::OfGrants(grants),
            EndedAccess::OfKey(key) => DeniedJobs::OfKey(key),
        };
        jobs::end_denied(&self.jobs, &which).await.map(drop)
    }
}
