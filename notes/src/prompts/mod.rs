//! The prompts, one per file.
//!
//! To add a prompt, write a file like [`summarize_notes`] and add it to [`ALL`].

mod summarize_notes;
mod weekly_review;

use mcp::AnyPrompt;

use crate::State;

/// All prompts, in the order of `prompts/list`.
pub const ALL: &[&dyn AnyPrompt<State>] =
    &[&summarize_notes::SummarizeNotes, &weekly_review::WeeklyReview];
