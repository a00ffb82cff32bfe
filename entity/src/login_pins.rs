//! Which GitHub account a login on the list of who may sign in belongs to.

use sea_orm::entity::prelude::*;

/// A row of `login_pins`. Logins change hands, numeric ids do not.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "login_pins")]
pub struct Model {
    /// The login in lower case: GitHub tells no cases apart.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub login: String,
    /// Who first signed in under it.
    pub github_id: i64,
    /// When.
    pub pinned_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
