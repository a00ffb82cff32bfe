//! A person who has signed in.

use sea_orm::entity::prelude::*;

/// A row of `users`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The `sub` of their access tokens: `<provider>:<subject>`, such as `github:<numeric id>`, or
    /// `dev:<name>` in development.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub sub: String,
    /// The name they sign in with. It can change and can pass to somebody else, so it is shown and
    /// never compared.
    #[sea_orm(column_type = "Text")]
    pub login: String,
    /// The name they want to be called by, if they gave one.
    #[sea_orm(column_type = "Text", nullable)]
    pub display_name: Option<String>,
    /// First sign-in.
    pub created_at: DateTimeUtc,
    /// Last sign-in.
    pub last_seen_at: DateTimeUtc,
    /// The number in `sub` of a GitHub user. Only the earlier version of the program, which may run
    /// beside this one, reads it.
    pub github_id: Option<i64>,
    /// When an operator shut them out; nothing while they may come in.
    pub blocked_at: Option<DateTimeUtc>,
    /// When it was last found that they may come in.
    pub gate_checked_at: Option<DateTimeUtc>,
    /// When an instance last set out to find that, so that others need not.
    pub gate_asked_at: Option<DateTimeUtc>,
    /// The organization that they were a member of at `gate_checked_at`, if membership was asked for.
    #[sea_orm(column_type = "Text", nullable)]
    pub gate_org: Option<String>,
    /// The identity provider in `sub`. The database generates it; it cannot be written.
    #[sea_orm(column_type = "Text", nullable)]
    pub provider: Option<String>,
    /// The identifier of the person at the provider, which never changes and is never reassigned. The
    /// database generates it from `sub`; it cannot be written.
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_subject: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// A change of one person's row.
    pub fn update_one_of(sub: &str) -> sea_orm::UpdateMany<Self> {
        Self::update_many().filter(COLUMN.sub.eq(sub))
    }
}
