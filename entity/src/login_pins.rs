//! The account to which a login on the allow list is pinned.

use sea_orm::entity::prelude::*;

/// A row of `login_pins`. Logins are reassigned, subjects are not.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "login_pins")]
pub struct Model {
    /// The login in lower case. For providers other than GitHub, `<provider>:<login>`: the key of
    /// the table dates from when GitHub was the only provider.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub login: String,
    /// The subject of a GitHub account as a number. The previous version of the program, which may
    /// run beside this one, reads and writes only this column.
    pub github_id: Option<i64>,
    /// When the login was pinned.
    pub pinned_at: DateTimeUtc,
    /// The identity provider.
    #[sea_orm(column_type = "Text")]
    pub provider: String,
    /// The subject of the account that first signed in with the login. `None` in rows of the
    /// previous version, where `github_id` is the subject.
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_subject: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
