//! What every part of one instance may reach.

use ::mcp::Engine;
use service::Service;
use tokio_util::sync::CancellationToken;

use crate::http::body::budget::Budget;

/// What every part of one instance may reach.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) service: Service,
    pub(crate) engine: Engine,
    /// Cancelled from the moment this instance is asked to end: readiness is false from then on.
    pub(crate) ending: CancellationToken,
    /// The bytes of request bodies that this instance holds.
    pub(crate) bodies: Budget,
}
