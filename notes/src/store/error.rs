//! The error of the functions of [`super`].

use platform::db::{self, Failure};
use sea_orm::DbErr;

use super::quota;

/// The error of an operation on notes.
#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    /// The user has no such note. Says nothing about whether another user has it.
    #[error("there is no such note")]
    NotFound,
    /// The database is unreachable or overloaded; the same call may succeed later.
    #[error("the notes are unavailable at the moment")]
    Unavailable(#[source] DbErr),
    /// The user has as many concurrent operations as one user may have.
    #[error(transparent)]
    Busy(#[from] db::Busy),
    /// The write would exceed the quota of the user.
    #[error("the quota is exceeded: {0}")]
    Full(quota::QuotaUsage),
    /// The search exceeded its time limit.
    #[error("the search exceeded its time limit")]
    TooCostly,
    /// Any other failure; details are for the log only.
    #[error("the notes could not be read or written")]
    Internal(#[source] anyhow::Error),
}

impl From<Failure> for NotesError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(error) => Self::Unavailable(error),
            Failure::Busy(busy) => Self::Busy(busy),
            Failure::Internal(error) => Self::Internal(error),
        }
    }
}

impl From<DbErr> for NotesError {
    fn from(error: DbErr) -> Self {
        Failure::from(error).into()
    }
}
