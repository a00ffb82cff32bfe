//! The steps in the lifecycle of keys: one conditional statement each.
//!
//! The steps do not depend on which instance performs them, or on when one was last performed: the
//! steps that are due follow from the rows and the time ([`due`](super::rotation::due)), and a step
//! that another instance has taken does nothing.

use chrono::{DateTime, Utc};
use entity::{
    Kid,
    oauth_signing_keys::{ActiveModel, COLUMN, Column, Entity, State},
};
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, Set,
    sea_query::{Alias, Expr, OnConflict, Query, SelectStatement},
};

use super::{
    SigningKeys,
    key_set::ALGORITHM,
    rotation::{ABANDONED_AFTER, RETIRING_FOR, SCHEDULED_AHEAD, Step, end},
    sealed::FreshKey,
};
use crate::audit::{self, Event, RequestInfo};

impl SigningKeys {
    pub(super) async fn insert_first_key(&self) -> Result<(), Failure> {
        let now = self.0.clock.now();
        self.insert(State::Active, now, now).await
    }

    /// Creates a key, unless there is one in the same state under the same secret: then that key,
    /// created by another instance, is used.
    async fn insert(
        &self,
        state: State,
        activate_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let fresh = FreshKey::generate().map_err(Failure::Internal)?;
        let sealed = self.0.kek.seal(&fresh).map_err(Failure::Internal)?;
        let kid = fresh.kid.clone();
        let row = ActiveModel {
            kid: Set(fresh.kid),
            alg: Set(ALGORITHM.to_owned()),
            public_jwk: Set(fresh.jwk),
            private_sealed: Set(Some(sealed)),
            kek_id: Set(self.0.kek.id.clone()),
            state: Set(state),
            created_at: Set(now),
            activate_at: Set(activate_at),
            retire_at: Set(None),
            wiped_at: Set(None),
            last_signed_at: Set(None),
            replace_at: Set(None),
        };
        let on_conflict = OnConflict::new().do_nothing().to_owned();
        let inserted =
            Entity::insert(row).on_conflict(on_conflict).exec_without_returning(&self.0.db).await?;
        if inserted == 1 {
            self.record(audit::Kind::KeyCreated, &kid).await?;
        }
        Ok(())
    }

    /// Performs one step, unless another instance has.
    pub(super) async fn perform(&self, step: &Step, now: DateTime<Utc>) -> Result<(), Failure> {
        let db = &self.0.db;
        match step {
            Step::RequestSuccessor(kid) => {
                Entity::update_many()
                    .col_expr(Column::ReplaceAt, Expr::value(now + SCHEDULED_AHEAD))
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Active))
                    .filter(COLUMN.replace_at.is_null())
                    .exec(db)
                    .await?;
            }
            Step::CreateSuccessor { activate_at } => {
                self.insert(State::Pending, *activate_at, now).await?;
            }
            Step::Activate { kid, kek_id } => {
                retire(Entity::update_many(), now)
                    .filter(COLUMN.kek_id.eq(kek_id.as_str()))
                    .filter(COLUMN.state.eq(State::Active))
                    .filter(Expr::exists(successor(kid, now)))
                    .exec(db)
                    .await?;
                let active = Entity::update_many()
                    .col_expr(Column::State, Expr::value(State::Active))
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Pending))
                    .filter(Expr::exists(active(kek_id)).not())
                    .exec(db)
                    .await?;
                if active.rows_affected == 1 {
                    self.record(audit::Kind::KeyActivated, kid).await?;
                }
            }
            Step::Abandon(kid) => {
                retire(Entity::update_many(), now)
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Active))
                    .filter(not_signed_since(now - ABANDONED_AFTER))
                    .exec(db)
                    .await?;
            }
            Step::Retire(kid) => {
                let retired = end(Entity::update_many(), State::Retired, now)
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Retiring))
                    .filter(COLUMN.retire_at.lte(now))
                    .filter(not_signed_since(now - RETIRING_FOR))
                    .exec(db)
                    .await?;
                if retired.rows_affected == 1 {
                    self.record(audit::Kind::KeyRetired, kid).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes an event to the audit log, and logs it.
    async fn record(&self, what: audit::Kind, kid: &Kid) -> Result<(), Failure> {
        let event = Event::new(what, &RequestInfo::none()).detail(kid.to_string());
        audit::write(&self.0.db, self.0.clock.now(), &event).await?;
        event.log();
        Ok(())
    }
}

/// Sets the state of a key to retiring: it no longer signs.
fn retire(update: sea_orm::UpdateMany<Entity>, now: DateTime<Utc>) -> sea_orm::UpdateMany<Entity> {
    update
        .col_expr(Column::State, Expr::value(State::Retiring))
        .col_expr(Column::RetireAt, Expr::value(now + RETIRING_FOR))
}

fn not_signed_since(then: DateTime<Utc>) -> Condition {
    Condition::any().add(Column::LastSignedAt.is_null()).add(Column::LastSignedAt.lte(then))
}

/// Selects a pending key whose activation time has come.
fn successor(kid: &Kid, now: DateTime<Utc>) -> SelectStatement {
    other_keys()
        .and_where(Expr::col((Alias::new(OTHER), Column::Kid)).eq(kid.clone()))
        .and_where(Expr::col((Alias::new(OTHER), Column::State)).eq(State::Pending))
        .and_where(Expr::col((Alias::new(OTHER), Column::ActivateAt)).lte(now))
        .take()
}

/// Selects the active key under a secret.
fn active(kek_id: &str) -> SelectStatement {
    other_keys()
        .and_where(Expr::col((Alias::new(OTHER), Column::KekId)).eq(kek_id))
        .and_where(Expr::col((Alias::new(OTHER), Column::State)).eq(State::Active))
        .take()
}

/// The alias of the table in conditions about rows other than the one that is changed.
const OTHER: &str = "other";

fn other_keys() -> SelectStatement {
    Query::select().expr(Expr::val(1)).from_as(Entity, Alias::new(OTHER)).take()
}
