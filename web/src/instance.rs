//! The state of one instance.

use ::mcp::Engine;
use app::App;
use tokio_util::sync::CancellationToken;

use crate::http::body::budget::Budget;

/// The state that the endpoints of one instance share.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) app: App,
    pub(crate) engine: Engine,
    /// Cancelled when the instance begins to shut down. From then on it reports that it is not
    /// ready.
    pub(crate) ending: CancellationToken,
    /// The budget for request bodies.
    pub(crate) bodies: Budget,
}
