//! A started process, before it is known as an instance or as a worker.

use std::sync::Arc;

use mcp::{Bus, Engine};

use super::{node::Node, queue_link::QueueLink};

/// A process with an engine, and its links to the store and to the queue.
pub(super) struct Process {
    pub(super) node: Arc<Node>,
    pub(super) engine: Engine,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) queue: Arc<QueueLink>,
}
