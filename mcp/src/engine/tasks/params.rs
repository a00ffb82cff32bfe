//! The parameter `task` of a call (2025-11-25).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::json;

/// The value of `task`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(in crate::engine) struct TaskRequest {
    /// How long the result should be kept, in milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::optional_integer"
    )]
    ttl: Option<u64>,
}

impl TaskRequest {
    pub(in crate::engine) fn ttl(self) -> Option<Duration> {
        self.ttl.map(Duration::from_millis)
    }
}
