//! Users who have signed in.

use sea_orm::entity::prelude::*;

/// A row of `users`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The `sub` of access tokens: `<provider>:<subject>`, such as `github:<numeric id>`, or
    /// `dev:<name>` in development.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub sub: String,
    /// The login at the provider. It can change and be reassigned, so it is displayed but never
    /// compared.
    #[sea_orm(column_type = "Text")]
    pub login: String,
    /// The display name at the provider, if there is one.
    #[sea_orm(column_type = "Text", nullable)]
    pub display_name: Option<String>,
    /// The first sign-in.
    pub created_at: DateTimeUtc,
    /// The last sign-in.
    pub last_seen_at: DateTimeUtc,
    /// The number in the `sub` of a GitHub user. Only the previous version of the program, which
    /// may run beside this one, reads it.
    pub github_id: Option<i64>,
    /// When an operator blocked the user; `None` if the user is not blocked.
    pub blocked_at: Option<DateTimeUtc>,
    /// When the access policy last admitted the user.
    pub gate_checked_at: Option<DateTimeUtc>,
    /// When an instance last began to recheck the access policy, so that others need not.
    pub gate_asked_at: Option<DateTimeUtc>,
    /// The rules that the identity provider had to answer at `gate_checked_at`, and that the user
    /// satisfied, such as the organization whose membership was required. `None`: there was no such
    /// rule.
    #[sea_orm(column_type = "Text", nullable)]
    pub gate_org: Option<String>,
    /// The identity provider in `sub`. A generated column, which cannot be written.
    #[sea_orm(column_type = "Text", nullable)]
    pub provider: Option<String>,
    /// The identifier of the user at the provider, which never changes and is never reassigned. A
    /// generated column, which cannot be written.
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_subject: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Updates the row of a user.
    pub fn update_by_sub(sub: &str) -> sea_orm::UpdateMany<Self> {
        Self::update_many().filter(COLUMN.sub.eq(sub))
    }
}
