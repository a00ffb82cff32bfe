//! The resources, one per file.
//!
//! To add one, write its file after the model of [`recent`] and name it in [`ALL`].

mod export;
mod note;
mod recent;

use mcp::AnyResource;

use crate::State;

/// Every resource and template, in the order clients see them.
pub const ALL: &[&dyn AnyResource<State>] =
    &[&recent::RecentNotes, &note::NoteById, &export::ExportById];
