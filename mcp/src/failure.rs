//! How a request failed, and who is to blame: for logs and metrics.

use std::sync::{Arc, OnceLock};

use crate::rpc::codes;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The answer is a JSON-RPC error with this code.
    Rpc(i64),
    /// The caller's access ended while the call ran.
    AccessEnded,
    /// The tool answered with `isError` for a reason that lies with the caller or with what the call
    /// was about.
    Tool,
    /// The tool answered with `isError` for a reason that lies with the server.
    Fault,
}

impl CallFailure {
    /// Whether the server is to blame.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Fault | Self::Rpc(codes::INTERNAL_ERROR))
    }

    /// The JSON-RPC error code of the answer, if it is an error.
    pub fn code(self) -> Option<i64> {
        match self {
            Self::Rpc(code) => Some(code),
            Self::AccessEnded => Some(codes::INTERNAL_ERROR),
            Self::Tool | Self::Fault => None,
        }
    }
}

/// A failure that is known after the answer has begun. Clones share it; the first one is kept.
#[derive(Clone, Debug, Default)]
pub struct LateFailure(Arc<OnceLock<CallFailure>>);

impl LateFailure {
    pub(crate) fn set(&self, failure: CallFailure) {
        let _first = self.0.get_or_init(|| failure);
    }

    /// The failure, once it is known.
    pub fn get(&self) -> Option<CallFailure> {
        self.0.get().copied()
    }
}
