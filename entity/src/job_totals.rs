//! The number of jobs and attempts by result, over all processes and all time.

use sea_orm::entity::prelude::*;

/// A row of `job_totals`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job_totals")]
pub struct Model {
    /// What is counted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub what: What,
    /// The tool, or one word for all tools that are not in the catalog.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub tool: String,
    /// The result.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub how: String,
    /// The number.
    pub total: i64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum What {
    /// Attempts of jobs.
    #[sea_orm(string_value = "attempt")]
    Attempt,
    /// Jobs.
    #[sea_orm(string_value = "job")]
    Job,
}

impl ActiveModelBehavior for ActiveModel {}
