//! The revocation of service clients, by an operator.

use entity::oauth_service_clients::{COLUMN, Column, Entity};
use platform::db::{self, Failure};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::Expr};

use crate::{
    audit::{self, Event, RequestInfo},
    client::ClientId,
    grant::Reason,
    revoke::{self, Ended},
    server::Server,
};

/// Revokes a service client: it cannot authenticate any more, and its access tokens end at every
/// instance, also those that it got for users. What its account has stored is kept. Returns whether the
/// client existed and was not revoked before.
///
/// A concurrent token request locks the client's row before it creates a grant: either its grant is
/// revoked here, or it finds that the client is revoked.
pub async fn revoke(
    server: &Server,
    id: &ClientId,
    request: &RequestInfo,
) -> Result<bool, Failure> {
    let now = server.clock().now();
    let transaction = db::begin(server.db()).await?;
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now))
        .filter(COLUMN.id.eq(id.clone()))
        .filter(COLUMN.revoked_at.is_null())
        .exec(&transaction)
        .await?;
    let grants = revoke::all_of_client(&transaction, now, id, Reason::Operator).await?;
    let is_new = revoked.rows_affected == 1;
    let event = Event::new(audit::Kind::ClientRevoked, request)
        .client(id)
        .detail(platform::counted(grants.len(), "grant", "grants"));
    if is_new {
        audit::write(&transaction, now, &event).await?;
    }
    transaction.commit().await?;
    if is_new {
        event.log();
    }
    revoke::notify(server, Ended { at: now, grants: &grants, user: None }).await;
    Ok(is_new)
}
