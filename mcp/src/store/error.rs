//! The error type of the stores.

use crate::error::BoxError;

/// A store is unavailable, or returned a value that cannot be read. Whether the operation took
/// effect is unknown.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct StoreError {
    dependency: Option<&'static str>,
    source: BoxError,
}

impl StoreError {
    /// Creates an error. `dependency`: the unavailable service, such as `redis`. `None`: the
    /// service answered, but its answer cannot be used.
    pub fn new(dependency: Option<&'static str>, source: impl Into<BoxError>) -> Self {
        Self { dependency, source: source.into() }
    }

    /// The unavailable service. Log events with the field `dependency` are rate-limited to one per
    /// minute while the outage lasts.
    pub fn dependency(&self) -> Option<&'static str> {
        self.dependency
    }
}
