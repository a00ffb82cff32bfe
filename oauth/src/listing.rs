//! Paginated lists of users, clients and audit entries, for operators.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::{
    AuditId, ClientId, oauth_audit, oauth_clients, oauth_grants, oauth_service_clients, users,
};
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, SimpleExpr},
};
use serde::Serialize;

use super::{client::Metadata, grant, login::users as known_users, service_client};
use crate::server::Server;

/// The maximum number of entries of one page.
pub const MAX_PAGE: u64 = 1_000;

/// A user who has signed in, or was blocked.
#[derive(Clone, Debug, Serialize)]
pub struct Person {
    /// The identity, such as `dev:ada`.
    pub user: String,
    /// The login of the last sign-in.
    pub login: String,
    /// When the user first signed in.
    pub since: DateTime<Utc>,
    /// When the user last used the server.
    pub last_seen: DateTime<Utc>,
    /// When the user was blocked. `None`: not blocked.
    pub blocked: Option<DateTime<Utc>>,
    /// The number of connected apps.
    pub connections: u64,
}

/// A client that was registered dynamically, is known by its metadata document, or was created by an
/// operator.
#[derive(Clone, Debug, Serialize)]
pub struct KnownClient {
    /// The `client_id`.
    pub client: String,
    /// How the client is known: `dynamic`, `metadata_document` or `service`.
    pub kind: String,
    /// The self-declared, unverified name; of a service client that of its account.
    pub name: Option<String>,
    /// When the client became known.
    pub since: DateTime<Utc>,
    /// When the client last got a token, to the hour.
    pub last_used: Option<DateTime<Utc>>,
    /// The number of live grants of the client.
    pub connections: u64,
    /// The scopes of a service client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// When a service client was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<DateTime<Utc>>,
}

/// An entry of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The id, which is the cursor for the next page.
    pub id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The kind of event.
    pub event: String,
    /// The user.
    pub user: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The grant.
    pub grant: Option<String>,
    /// The request id, as in the log.
    pub request_id: Option<String>,
    /// The network address that the request came from.
    pub address: Option<String>,
    /// Details of the event.
    pub detail: Option<String>,
}

/// A filter for entries of the audit log. `None` in a field: no restriction.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Entries about this user.
    pub user: Option<UserId>,
    /// Entries about this client.
    pub client: Option<ClientId>,
    /// Entries of this kind of event.
    pub event: Option<String>,
    /// Entries of this request.
    pub request_id: Option<String>,
    /// Entries at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Entries before the entry with this id.
    pub before: Option<uuid::Uuid>,
}

/// Lists users by identity, after `after`, the last identity of the previous page.
pub async fn people(
    server: &Server,
    only_blocked: bool,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Person>, Failure> {
    use users::{COLUMN, Column, Entity};

    let mut query = Entity::find().order_by_asc(Column::Sub).limit(Ord::min(limit, MAX_PAGE));
    if only_blocked {
        query = query.filter(known_users::blocked());
    }
    if let Some(after) = after {
        query = query.filter(COLUMN.sub.gt(after));
    }
    let rows = query.all(server.db()).await?;
    let subs = rows.iter().map(|row| row.sub.clone());
    let condition = Expr::col(oauth_grants::Column::UserSub).is_in(subs);
    let connections = connections(server, oauth_grants::Column::UserSub, condition).await?;
    let person = |row: users::Model| Person {
        connections: connections.get(&row.sub).copied().unwrap_or_default(),
        user: row.sub,
        login: row.login,
        since: row.created_at,
        last_seen: row.last_seen_at,
        blocked: row.blocked_at,
    };
    Ok(rows.into_iter().map(person).collect())
}

/// Lists clients, after `after`, the last id of the previous page: first service clients, then all
/// others, each by id.
pub async fn clients(
    server: &Server,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<KnownClient>, Failure> {
    let limit = Ord::min(limit, MAX_PAGE);
    let is_past_services = after.is_some_and(|after| !service_client::is_id(after));
    let mut page = Vec::new();
    if !is_past_services {
        page = service_clients(server, after, limit).await?;
    }
    let rest = limit.saturating_sub(u64::try_from(page.len()).unwrap_or(limit));
    if rest > 0 {
        page.extend(other_clients(server, after.filter(|_| is_past_services), rest).await?);
    }
    Ok(page)
}

async fn service_clients(
    server: &Server,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<KnownClient>, Failure> {
    use oauth_service_clients::{COLUMN, Column, Entity};

    let mut query = Entity::find().order_by_asc(Column::Id).limit(limit);
    if let Some(after) = after {
        query = query.filter(COLUMN.id.gt(ClientId(after.to_owned())));
    }
    let rows = query.all(server.db()).await?;
    let connections = connections_of_clients(server, rows.iter().map(|row| &row.id)).await?;
    let client = |row: oauth_service_clients::Model| {
        let id = row.id.to_string();
        KnownClient {
            kind: "service".to_owned(),
            name: Some(row.name),
            since: row.created_at,
            last_used: row.last_used_at,
            connections: connections.get(&id).copied().unwrap_or_default(),
            scope: Some(row.scope),
            revoked: row.revoked_at,
            client: id,
        }
    };
    Ok(rows.into_iter().map(client).collect())
}

async fn other_clients(
    server: &Server,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<KnownClient>, Failure> {
    use oauth_clients::{COLUMN, Column, Entity};

    let mut query = Entity::find().order_by_asc(Column::Id).limit(limit);
    if let Some(after) = after {
        query = query.filter(COLUMN.id.gt(ClientId(after.to_owned())));
    }
    let rows = query.all(server.db()).await?;
    let connections = connections_of_clients(server, rows.iter().map(|row| &row.id)).await?;
    let client = |row: oauth_clients::Model| {
        let metadata: Option<Metadata> = serde_json::from_value(row.metadata).ok();
        let id = row.id.to_string();
        KnownClient {
            kind: sea_orm::ActiveEnum::to_value(&row.kind),
            name: metadata.map(|it| it.client_name.to_string()),
            since: row.created_at,
            last_used: row.last_used_at,
            connections: connections.get(&id).copied().unwrap_or_default(),
            scope: None,
            revoked: None,
            client: id,
        }
    };
    Ok(rows.into_iter().map(client).collect())
}

/// Lists entries of the audit log, newest first.
pub async fn audit(
    server: &Server,
    filter: AuditFilter,
    limit: u64,
) -> Result<Vec<Entry>, Failure> {
    use oauth_audit::{COLUMN, Column, Entity};

    let AuditFilter { user, client, event, request_id, since, before } = filter;
    // Ids begin with the time.
    let mut query = Entity::find().order_by_desc(Column::Id).limit(Ord::min(limit, MAX_PAGE));
    if let Some(user) = user {
        query = query.filter(Column::UserSub.eq(user.as_str()));
    }
    if let Some(client) = client {
        query = query.filter(Column::ClientId.eq(client));
    }
    if let Some(event) = event {
        query = query.filter(COLUMN.event.eq(event));
    }
    if let Some(request_id) = request_id {
        query = query.filter(Column::RequestId.eq(request_id));
    }
    if let Some(since) = since {
        query = query.filter(COLUMN.at.gte(since));
    }
    if let Some(before) = before {
        query = query.filter(COLUMN.id.lt(AuditId(before)));
    }
    let entry = |row: oauth_audit::Model| Entry {
        id: row.id.0.to_string(),
        at: row.at,
        event: row.event,
        user: row.user_sub,
        client: row.client_id.map(|it| it.to_string()),
        grant: row.grant_id.map(|it| it.to_string()),
        request_id: row.request_id,
        address: row.ip,
        detail: row.detail,
    };
    Ok(query.all(server.db()).await?.into_iter().map(entry).collect())
}

/// Counts the live grants of each of these clients.
async fn connections_of_clients(
    server: &Server,
    ids: impl Iterator<Item = &ClientId>,
) -> Result<HashMap<String, u64>, Failure> {
    let condition = Expr::col(oauth_grants::Column::ClientId).is_in(ids.map(ClientId::as_str));
    connections(server, oauth_grants::Column::ClientId, condition).await
}

/// Counts the live grants for each value of a column.
async fn connections(
    server: &Server,
    column: oauth_grants::Column,
    condition: SimpleExpr,
) -> Result<HashMap<String, u64>, Failure> {
    let counted: Vec<(String, i64)> = oauth_grants::Entity::find()
        .select_only()
        .column(column)
        .column_as(oauth_grants::Column::Id.count(), "connections")
        .filter(condition)
        .filter(grant::live(server.clock().now()))
        .group_by(column)
        .into_tuple()
        .all(server.db())
        .await?;
    Ok(counted.into_iter().map(|(value, count)| (value, count.unsigned_abs())).collect())
}
