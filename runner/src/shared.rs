//! The state that the tasks of a runner share.

use std::sync::Arc;

use mcp::Bus;

use crate::{
    completions::Completions, engine::Runner, observer::Observer, progress::ProgressBoard,
    queue::WorkQueue, running::Running, settings::Settings,
};

/// The state that the tasks of a runner share.
pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn WorkQueue>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) settings: Settings,
    pub(crate) running: Running,
    pub(crate) completions: Completions,
    pub(crate) progress: ProgressBoard,
}
