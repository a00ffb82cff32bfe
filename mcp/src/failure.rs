//! Classification of failed requests for logs and metrics.

use std::sync::{Arc, OnceLock};

use crate::rpc::codes;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The answer is a JSON-RPC error with this code.
    Rpc(i64),
    /// The caller's access ended while the call ran.
    AccessEnded,
    /// The tool returned `isError` because of the call: its arguments, its caller or the data.
    Tool,
    /// The tool returned `isError` because of a failure of the server.
    Fault,
}

impl CallFailure {
    /// Whether the failure is the server's, as for a metric of server errors.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Fault | Self::Rpc(codes::INTERNAL_ERROR))
    }

    /// The JSON-RPC error code of the response. `None`: the response is a result with `isError`.
    pub fn code(self) -> Option<i64> {
        match self {
            Self::Rpc(code) => Some(code),
            Self::AccessEnded => Some(codes::INTERNAL_ERROR),
            Self::Tool | Self::Fault => None,
        }
    }
}

/// A failure that becomes known after the response was started. Clones share it; the first value is
/// kept.
#[derive(Clone, Debug, Default)]
pub struct LateFailure(Arc<OnceLock<CallFailure>>);

impl LateFailure {
    pub(crate) fn set(&self, failure: CallFailure) {
        let _first = self.0.get_or_init(|| failure);
    }

    /// The failure. `None`: none so far.
    pub fn get(&self) -> Option<CallFailure> {
        self.0.get().copied()
    }
}
