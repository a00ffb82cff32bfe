//! When each schedule last ran, so that of several workers one runs it.

use sea_orm::entity::prelude::*;

/// A row of `schedule_runs`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schedule_runs")]
pub struct Model {
    /// The name of the schedule.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub name: String,
    /// When a worker last took it.
    pub ran_at: DateTimeUtc,
    /// How often it ran, on any worker.
    pub ran: i64,
    /// How often it failed, on any worker.
    pub failed: i64,
}

impl ActiveModelBehavior for ActiveModel {}
