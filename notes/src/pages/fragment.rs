//! What the pages of the section have in common: rendering, and errors.

use app::section::{Fragment, SectionError};
use askama::Template;
use platform::db::Failure;

use crate::store::NotesError;

/// Renders a template.
pub(super) fn fragment(
    title: impl Into<String>,
    page: &impl Template,
) -> Result<Fragment, SectionError> {
    let html = page
        .render()
        .map_err(|error| SectionError::Failed(Failure::Internal(anyhow::Error::new(error))))?;
    Ok(Fragment { title: title.into(), html })
}

/// Converts an error of the store.
pub(super) fn section_error(error: NotesError) -> SectionError {
    match error {
        NotesError::NotFound => SectionError::NotFound,
        NotesError::TooCostly => SectionError::Refused(
            "The search took too long. Search for fewer words, or for words that occur less often."
                .to_owned(),
        ),
        NotesError::Full(usage) => SectionError::Refused(usage.to_string()),
        NotesError::Unavailable(error) => SectionError::Failed(Failure::Unavailable(error)),
        NotesError::Busy(busy) => SectionError::Failed(Failure::Busy(busy)),
        NotesError::Internal(error) => SectionError::Failed(Failure::Internal(error)),
    }
}
