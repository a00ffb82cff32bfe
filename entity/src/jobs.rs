//! Jobs: tool calls that run in a worker.

use sea_orm::{Iterable as _, QuerySelect as _, entity::prelude::*, sea_query::Expr};

use crate::{GrantId, Kid};

/// A row of `jobs`. Columns with JSON are text; the crate `jobs` defines their content.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    /// A random id, which is also the task id of the protocol.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub id: String,
    /// The `sub` of the owner.
    #[sea_orm(column_type = "Text")]
    pub owner_sub: String,
    /// The client through which it was started.
    #[sea_orm(column_type = "Text")]
    pub client_id: String,
    /// The grant of the access token that started the job; `None` if the token had none, or if the
    /// row is older than this column.
    pub grant_id: Option<GrantId>,
    /// The key that signed that token; `None` if the row is older than this column.
    pub key_id: Option<Kid>,
    /// The tool to run.
    #[sea_orm(column_type = "Text")]
    pub tool: String,
    /// JSON: the call without its arguments, with everything that a process needs to run the job.
    #[sea_orm(column_type = "Text")]
    pub call: String,
    /// The arguments as the client sent them, which may be large. `None` once the job has ended.
    #[sea_orm(column_type = "Text", nullable)]
    pub arguments: Option<String>,
    /// The state of the job.
    pub status: Status,
    /// The number of attempts so far. Every write of an attempt names its number, and has no effect
    /// once the next attempt has begun.
    pub attempt: i32,
    /// The number of attempts that have failed.
    pub failures: i32,
    /// The number of the last attempt whose worker was lost. `None` also if the row is older than
    /// this column.
    pub lost_attempt: Option<i32>,
    /// The number of failures after which the job fails.
    pub max_attempts: i32,
    /// The timeout of one attempt, in milliseconds.
    pub timeout_ms: i64,
    /// The time before which the job is not run.
    pub run_at: DateTimeUtc,
    /// While the job runs: the end of its worker's lease. While it waits for the client: the
    /// deadline for answers.
    pub lease_until: Option<DateTimeUtc>,
    /// The name of the worker that runs it.
    #[sea_orm(column_type = "Text", nullable)]
    pub worker: Option<String>,
    /// The job that waits for this one.
    #[sea_orm(column_type = "Text", nullable)]
    pub parent_id: Option<String>,
    /// The key of this job among the children of its parent.
    #[sea_orm(column_type = "Text", nullable)]
    pub parent_key: Option<String>,
    /// The number of unfinished child jobs that it waits for.
    pub pending: i32,
    /// The progress.
    pub progress: Option<f64>,
    /// The value of `progress` at the end.
    pub total: Option<f64>,
    /// The progress in words.
    #[sea_orm(column_type = "Text", nullable)]
    pub message: Option<String>,
    /// JSON: the state from which a later attempt continues.
    #[sea_orm(column_type = "Text", nullable)]
    pub checkpoint: Option<String>,
    /// JSON: the questions that the client must answer.
    #[sea_orm(column_type = "Text", nullable)]
    pub questions: Option<String>,
    /// JSON: the answers of the client.
    #[sea_orm(column_type = "Text", nullable)]
    pub answers: Option<String>,
    /// JSON: the result.
    #[sea_orm(column_type = "Text", nullable)]
    pub outcome: Option<String>,
    /// The error of the last failed attempt, for the log and the model.
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
    /// Whether a client that does not poll has been notified of the current state.
    pub announced: bool,
    /// How long the result is kept, in milliseconds.
    pub keep_ms: i64,
    /// When it was created.
    pub created_at: DateTimeUtc,
    /// When its status or progress last changed.
    pub updated_at: DateTimeUtc,
    /// When it ended.
    pub ended_at: Option<DateTimeUtc>,
    /// When the row may be deleted. `None` until the job has ended, and always for child jobs,
    /// which are deleted with their parent.
    pub expires_at: Option<DateTimeUtc>,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Status {
    /// It waits for a worker, not before `run_at`.
    #[sea_orm(string_value = "queued")]
    Queued,
    /// A worker runs it.
    #[sea_orm(string_value = "running")]
    Running,
    /// It waits for its child jobs.
    #[sea_orm(string_value = "waiting")]
    Waiting,
    /// It waits for answers of the client.
    #[sea_orm(string_value = "input_required")]
    InputRequired,
    /// It has a result.
    #[sea_orm(string_value = "completed")]
    Completed,
    /// It ended without a result.
    #[sea_orm(string_value = "failed")]
    Failed,
    /// It was cancelled.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the jobs of a user that a client has started, without child jobs.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.owner_sub.eq(owner)).filter(COLUMN.parent_id.is_null())
    }

    /// Selects one of these jobs.
    pub fn owned(owner: &str, id: &str) -> Select<Self> {
        Self::owned_by(owner).filter(COLUMN.id.eq(id))
    }

    /// Replaces the columns that only a worker needs, and that may be large, by `NULL`: the
    /// arguments and the checkpoint.
    pub fn without_payload(jobs: Select<Self>) -> Select<Self> {
        let is_large = |column: &Column| matches!(column, Column::Arguments | Column::Checkpoint);
        let null = || Expr::value(None::<String>);
        jobs.select_only()
            .columns(Column::iter().filter(|column| !is_large(column)))
            .expr_as(null(), Column::Arguments)
            .expr_as(null(), Column::Checkpoint)
    }

    /// Deletes all jobs of a user, including child jobs.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.owner_sub.eq(owner))
    }
}
