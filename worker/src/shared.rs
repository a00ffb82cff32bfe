//! The state that the tasks of a running worker share.

use std::sync::Arc;

use app::App;

use crate::{
    completions::Completions, health::Pulse, progress::ProgressBoard, runner::Runner,
    running::Running, settings::Settings,
};

/// The state that the tasks of a running worker share.
pub(crate) struct Shared {
    pub(crate) app: App,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) settings: Settings,
    pub(crate) pulse: Pulse,
    pub(crate) running: Running,
    pub(crate) completions: Completions,
    pub(crate) progress: ProgressBoard,
}
