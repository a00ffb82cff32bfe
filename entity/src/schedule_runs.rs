//! When each schedule last ran, so that only one of several workers runs it.

use sea_orm::entity::prelude::*;

/// A row of `schedule_runs`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schedule_runs")]
pub struct Model {
    /// The name of the schedule.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub name: String,
    /// When a worker last started it.
    pub ran_at: DateTimeUtc,
    /// The number of runs, on all workers.
    pub ran: i64,
    /// The number of failed runs, on all workers.
    pub failed: i64,
}

impl ActiveModelBehavior for ActiveModel {}
