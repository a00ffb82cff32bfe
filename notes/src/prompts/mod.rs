//! The prompts, one per file.
//!
//! To add one, write its file after the model of [`summarize_notes`] and name it in [`ALL`].

mod summarize_notes;
mod weekly_review;

use mcp::AnyPrompt;

use crate::State;

/// Every prompt, in the order clients see them.
pub const ALL: &[&dyn AnyPrompt<State>] =
    &[&summarize_notes::SummarizeNotes, &weekly_review::WeeklyReview];
