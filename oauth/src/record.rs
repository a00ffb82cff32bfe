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

/// Writes an event to the audit log. The event has already happened, so a failure is only logged;
/// the event itself is logged in any case.
pub(crate) async fn note(server: &Server, event: Event) {
    if let Err(failure) = record(server, event.clone()).await {
        event.log();
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not write an event to the audit log; it is only in this log"
        );
    }
}
