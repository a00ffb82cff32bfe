//! The resources, one per file.
//!
//! To add a resource, write a file like [`recent`] and add it to [`ALL`].

mod export;
mod note;
mod recent;

use mcp::AnyResource;

use crate::State;

/// All resources and templates, in the order of the lists.
pub const ALL: &[&dyn AnyResource<State>] =
    &[&recent::RecentNotes, &note::NoteById, &export::ExportById];
