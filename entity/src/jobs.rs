//! A call that runs in a worker.

use sea_orm::{Iterable as _, QuerySelect as _, entity::prelude::*, sea_query::Expr};

use crate::{GrantId, Kid};

/// A row of `jobs`. Columns of JSON are text; what stands in them is `app::jobs`' business.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    /// Random; it is the task id of the protocol too.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub id: String,
    /// The `sub` of the person it belongs to.
    #[sea_orm(column_type = "Text")]
    pub owner_sub: String,
    /// The client through which it was started.
    #[sea_orm(column_type = "Text")]
    pub client_id: String,
    /// The grant of the access token that started it; `None` if the token had none, or in rows of
    /// versions before this column.
    pub grant_id: Option<GrantId>,
    /// The key that signed that token; `None` in rows of versions before this column.
    pub key_id: Option<Kid>,
    /// The tool to run.
    #[sea_orm(column_type = "Text")]
    pub tool: String,
    /// JSON: everything that any process needs to run it, but for the arguments.
    #[sea_orm(column_type = "Text")]
    pub call: String,
    /// The arguments as they were sent, which may be large; nothing once it has ended.
    #[sea_orm(column_type = "Text", nullable)]
    pub arguments: Option<String>,
    /// Where it is in its life.
    pub status: Status,
    /// How often it was claimed. Every write of an attempt names its number, and is void once
    /// another has begun.
    pub attempt: i32,
    /// How many of the attempts have failed.
    pub failures: i32,
    /// How many may.
    pub max_attempts: i32,
    /// Milliseconds that one attempt may take.
    pub timeout_ms: i64,
    /// Not before this time.
    pub run_at: DateTimeUtc,
    /// While it runs: from when on its worker counts as dead. While it waits for the client: from
    /// when on nobody waits any more.
    pub lease_until: Option<DateTimeUtc>,
    /// Who runs it.
    #[sea_orm(column_type = "Text", nullable)]
    pub worker: Option<String>,
    /// The job that waits for this one.
    #[sea_orm(column_type = "Text", nullable)]
    pub parent_id: Option<String>,
    /// What that job calls it.
    #[sea_orm(column_type = "Text", nullable)]
    pub parent_key: Option<String>,
    /// How many jobs it waits for.
    pub pending: i32,
    /// How far it is.
    pub progress: Option<f64>,
    /// What `progress` will be at the end.
    pub total: Option<f64>,
    /// The progress in words.
    #[sea_orm(column_type = "Text", nullable)]
    pub message: Option<String>,
    /// JSON: what a later attempt needs to go on.
    #[sea_orm(column_type = "Text", nullable)]
    pub checkpoint: Option<String>,
    /// JSON: what the client must answer.
    #[sea_orm(column_type = "Text", nullable)]
    pub questions: Option<String>,
    /// JSON: what the client has answered.
    #[sea_orm(column_type = "Text", nullable)]
    pub answers: Option<String>,
    /// JSON: what came of it.
    #[sea_orm(column_type = "Text", nullable)]
    pub outcome: Option<String>,
    /// Why the last attempt that failed did, for the log and the model.
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
    /// Whether a client that does not ask was told how it stands.
    pub announced: bool,
    /// Milliseconds that the result is kept.
    pub keep_ms: i64,
    /// When it was made.
    pub created_at: DateTimeUtc,
    /// When its status or progress last changed.
    pub updated_at: DateTimeUtc,
    /// When it ended.
    pub ended_at: Option<DateTimeUtc>,
    /// From when on it may be deleted. A child goes with its parent.
    pub expires_at: Option<DateTimeUtc>,
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Status {
    /// It waits for a worker, and for its time.
    #[sea_orm(string_value = "queued")]
    Queued,
    /// A worker has it.
    #[sea_orm(string_value = "running")]
    Running,
    /// It waits for its children.
    #[sea_orm(string_value = "waiting")]
    Waiting,
    /// It waits for the client.
    #[sea_orm(string_value = "input_required")]
    InputRequired,
    /// There is a result.
    #[sea_orm(string_value = "completed")]
    Completed,
    /// There is none.
    #[sea_orm(string_value = "failed")]
    Failed,
    /// The client wanted none.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The jobs of one person that a client has started: where every query for jobs begins.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.owner_sub.eq(owner)).filter(COLUMN.parent_id.is_null())
    }

    /// One of them.
    pub fn owned(owner: &str, id: &str) -> Select<Self> {
        Self::owned_by(owner).filter(COLUMN.id.eq(id))
    }

    /// Jobs to look at: without what only whoever runs one needs, which may be large.
    pub fn outside(jobs: Select<Self>) -> Select<Self> {
        let large = |it: &Column| matches!(it, Column::Arguments | Column::Checkpoint);
        let nothing = || Expr::value(None::<String>);
        jobs.select_only()
            .columns(Column::iter().filter(|it| !large(it)))
            .expr_as(nothing(), Column::Arguments)
            .expr_as(nothing(), Column::Checkpoint)
    }

    /// The deletion of all jobs of one person.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.owner_sub.eq(owner))
    }
}
