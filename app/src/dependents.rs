//! What depends on accounts and access: the traits by which `jobs` and `oauth` call this crate.

use std::sync::Arc;

use async_trait::async_trait;
use entity::{exports, notes};
use jobs::{DeniedJobs, Queue};
use mcp::{Bus, Caller, Signal, UserId};
use oauth::{
    EndedAccess, Removed,
    access::{self, Authority},
};
use platform::{
    db::{DATABASE, Database, Failure, Transaction},
    signals,
};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};

/// What the queue asks about the access that jobs were started with.
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

/// What ends with an account or with access: notes, exports and jobs.
pub(crate) struct Owned {
    db: Database,
    bus: Arc<dyn Bus>,
    jobs: Queue,
}

impl Owned {
    pub(crate) fn new(db: Database, bus: Arc<dyn Bus>, jobs: Queue) -> Self {
        Self { db, bus, jobs }
    }

    async fn delete_notes(db: &impl ConnectionTrait, user: &UserId) -> Result<u64, DbErr> {
        let theirs = notes::COLUMN.owner_sub.eq(user.as_str());
        let deleted = notes::Entity::delete_many().filter(theirs).exec(db).await?;
        Ok(deleted.rows_affected)
    }
}

#[async_trait]
impl oauth::Dependents for Owned {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        let count = Self::delete_notes(transaction, user).await?;
        // A worker that runs one of the jobs finds that it can write nothing more.
        entity::jobs::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        exports::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        Ok(Removed { count, one: "note", many: "notes" })
    }

    async fn account_deleted(&self, user: &UserId) {
        // An import that was writing meanwhile was waited for when its job was deleted.
        if let Err(error) = Self::delete_notes(&self.db, user).await {
            tracing::warn!(
                dependency = DATABASE, error = %error,
                "Notes of a deleted account may have stayed: {error}"
            );
        }
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
