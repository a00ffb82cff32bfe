//! The prompt `weekly_review`: reviews the notes of the last seven days.

use chrono::Days;
use mcp::{Call, Prompt, PromptMessage, PromptResult, ToolError};
use platform::plain;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, Listing, MAX_PAGE, NoteSummary, PageSize},
};

pub(super) struct WeeklyReview;

/// The period of the review.
const WEEK: Days = Days::new(7);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// What to pay particular attention to, such as a project or a person.
    focus: Option<String>,
}

impl Prompt<State> for WeeklyReview {
    const NAME: &'static str = "weekly_review";
    const TITLE: &'static str = "Weekly review";
    const DESCRIPTION: &'static str =
        "Reviews the notes that the user wrote in the last seven days.";
    const SCOPE: &'static str = scopes::READ;
    type Arguments = Arguments;

    async fn get(
        &self,
        call: &Call,
        state: &State,
        Arguments { focus }: Arguments,
    ) -> Result<PromptResult, ToolError> {
        let limit = PageSize::new(u64::from(MAX_PAGE)).map_err(ToolError::internal)?;
        let listing = Listing { limit, ..Listing::default() };
        let page = store::list(&state.db_for(call.user()), call.user(), listing)
            .await
            .map_err(tool_error)?;
        let since = state.clock().now() - WEEK;
        let mut text =
            "Help me with my weekly review. Group what I wrote by theme, list decisions \
            and open tasks, and suggest what to do next week."
                .to_owned();
        if let Some(focus) = focus {
            text.extend([" Pay particular attention to this: ", &focus, "."]);
        }
        let of_the_week: Vec<_> =
            page.notes.iter().filter(|note| note.created_at >= since).collect();
        if of_the_week.is_empty() {
            text.push_str("\n\nI wrote no notes in the last seven days.");
        } else {
            text.push_str("\n\nMy notes of the last seven days (read them with notes_get):\n");
            let lines = of_the_week.iter().map(|note| {
                let NoteSummary { id, title, created_at, .. } = note;
                format!("- {}: {} (id {id})\n", created_at.date_naive(), plain(title))
            });
            text.extend(lines);
        }
        Ok(PromptResult {
            description: Some(Self::DESCRIPTION.to_owned()),
            messages: vec![PromptMessage::user(text)],
        })
    }
}
