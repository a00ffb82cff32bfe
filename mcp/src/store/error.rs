//! Errors of the stores.

use crate::error::BoxError;

/// A store could not be reached or gave back something unreadable. Says nothing about the data.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct StoreError {
    dependency: Option<&'static str>,
    source: BoxError,
}

impl StoreError {
    /// `dependency`: what did not answer, such as `redis`, for the field `dependency` of log events.
    /// `None` if it answered and the answer was wrong.
    pub fn new(
        dependency: Option<&'static str>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self { dependency, source: source.into() }
    }

    /// What did not answer. Log events with this field are written once a minute while it lasts.
    pub fn dependency(&self) -> Option<&'static str> {
        self.dependency
    }
}
