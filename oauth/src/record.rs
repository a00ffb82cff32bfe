//! Audit events outside any other transaction.

use platform::db::Failure;

use crate::{
    audit::{Event, write},
    server::Server,
};

/// Writes and logs an event that changed nothing else in the database.
pub(crate) async fn record(server: &Server, event: Event) -> Result<(), Failure> {
    write(server.db(), server.clock().now(), &event).await?;
    event.log();
    Ok(())
}
