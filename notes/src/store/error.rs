//! The error of the functions of [`super`].

use platform::db::{self, Failure};
use sea_orm::DbErr;

use super::quota;

/// Why a verb gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    /// This person has no such note. Whether anybody has, nobody learns.
    #[error("there is no such note")]
    NotFound,
    /// The database cannot be reached, or is too busy: the same call may succeed later.
    #[error("the notes are unavailable at the moment")]
    Unavailable(#[source] DbErr),
    /// This person already asks for as much as one person may at once.
    #[error(transparent)]
    Busy(#[from] db::Busy),
    /// The person would have more than one may keep.
    #[error("the notes are full: {0}")]
    Full(quota::QuotaUsage),
    /// The search took longer than one may.
    #[error("the search takes too long")]
    TooCostly,
    /// Anything else, for the log.
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
