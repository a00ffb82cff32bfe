//! `notes_stats`: how many notes there are, by week and by tag, and the storage that they use.

use mcp::{Call, Tool, ToolAnnotations, ToolError, View};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{
        NotesError,
        stats::{self, DEFAULT_WEEKS, MAX_WEEKS, Stats},
    },
    views,
};

pub(super) struct NoteStats;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The number of weeks, including the current one. 26 if left out.
    #[schemars(range(min = 1, max = MAX_WEEKS))]
    weeks: Option<u64>,
}

impl Tool<State> for NoteStats {
    const NAME: &'static str = "notes_stats";
    const TITLE: &'static str = "Statistics of notes";
    const DESCRIPTION: &'static str = "Counts the user's notes: in total, created in each of the last \
        weeks, and for each of the 20 most frequent tags; and tells how much of the storage quota they \
        use.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW: Option<&View> = Some(&views::STATS);
    type Input = Input;
    type Output = Stats;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Stats, ToolError> {
        let weeks = input.weeks.unwrap_or(DEFAULT_WEEKS);
        if !(1..=MAX_WEEKS).contains(&weeks) {
            let problem = format!("`weeks` is {weeks}; it must be from 1 to {MAX_WEEKS}.");
            return Err(ToolError::Input(problem));
        }
        stats::of_user(state, call.user(), weeks).await.map_err(|error| match error {
            NotesError::TooCostly => ToolError::Failed(
                "The notes were not counted, because it took too long: there are too many. Count \
                 those with one tag by listing them with notes_list."
                    .into(),
            ),
            error => tool_error(error),
        })
    }
}
