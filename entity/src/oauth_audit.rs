//! A line of the audit log.

use sea_orm::entity::prelude::*;

use crate::{AuditId, ClientId, GrantId};

/// A row of `oauth_audit`: what happened, to whom, and from where, without a secret.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_audit")]
pub struct Model {
    /// Made by the service, not by the database.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AuditId,
    /// When it happened.
    pub at: DateTimeUtc,
    /// What happened, in one word.
    #[sea_orm(column_type = "Text")]
    pub event: String,
    /// The `sub` of the person, if there is one.
    #[sea_orm(column_type = "Text", nullable)]
    pub user_sub: Option<String>,
    /// The client, if there is one.
    pub client_id: Option<ClientId>,
    /// The grant, if there is one.
    pub grant_id: Option<GrantId>,
    /// More about it, in words.
    #[sea_orm(column_type = "Text", nullable)]
    pub detail: Option<String>,
    /// The request that caused it, as it stands in the log and on error pages.
    #[sea_orm(column_type = "Text", nullable)]
    pub request_id: Option<String>,
    /// Where the request came from: an address, or the network of one.
    #[sea_orm(column_type = "Text", nullable)]
    pub ip: Option<String>,
    /// The hash of the `User-Agent`: enough to see that two requests came from different programs.
    pub user_agent_hash: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}
