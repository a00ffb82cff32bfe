//! `bookmarks_check`: finds dead links. Runs as a job.
//!
//! The result of each bookmark is stored together with the checkpoint, so that a later attempt
//! continues with the next bookmark.

use std::time::Duration;

use mcp::{Call, RunMode, Tool, ToolAnnotations, ToolError};
use platform::{
    db,
    fetch::{Address, Bounds, FetchError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{errors::failed, scopes, state::State, store};

/// The timeout of one attempt.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The maximum number of attempts. Each continues where the previous one ended.
const ATTEMPTS: u32 = 5;

/// The maximum number of dead links in the result.
const MAX_LISTED: usize = 100;

/// The limits of fetching one page.
const FETCH: Bounds =
    Bounds { time: Duration::from_secs(10), bytes: 64 * 1024, accept: "text/html, */*;q=0.1" };

pub(super) struct CheckBookmarks;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {}

/// The result so far; also the checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Output {
    /// The number of links that were checked.
    checked: u64,
    /// The number of links that could not be checked: those that are not https.
    skipped: u64,
    /// The dead links, at most 100.
    dead: Vec<Dead>,
    /// The number of dead links that are not in `dead`.
    more_dead: u64,
    /// The last bookmark that was checked.
    last: Option<Uuid>,
}

/// A dead link.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Dead {
    /// The id of the bookmark.
    id: Uuid,
    /// The address.
    url: String,
    /// Why the link is dead.
    problem: String,
}

impl Tool<State> for CheckBookmarks {
    const NAME: &'static str = "bookmarks_check";
    const TITLE: &'static str = "Find dead links";
    const DESCRIPTION: &'static str = "Fetches the page of every bookmark and returns those that \
        cannot be reached. It runs as a job: if the result takes too long, get it from jobs_list \
        later instead of calling again.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations {
        read_only_hint: Some(false),
        destructive_hint: Some(false),
        idempotent_hint: Some(true),
        open_world_hint: Some(true),
    };
    const RUN: RunMode = RunMode::Job { timeout: TIMEOUT, attempts: ATTEMPTS };
    type Input = Input;
    type Output = Output;

    async fn call(&self, call: &Call, state: &State, _: Input) -> Result<Output, ToolError> {
        let db = state.db_of(call.user()).in_job();
        let total = store::count(&db, call.user()).await.map_err(failed)?;
        let mut output: Output = call.checkpoint().unwrap_or_default();
        loop {
            let next = store::after(&db, call.user(), output.last, 1).await.map_err(failed)?;
            let Some(bookmark) = next.into_iter().next() else { return Ok(output) };
            let result = check(state, &bookmark.url).await?;
            output.last = Some(bookmark.id);
            match &result {
                Check::Alive => output.checked += 1,
                Check::Skipped => output.skipped += 1,
                Check::Dead(why) => {
                    output.checked += 1;
                    if output.dead.len() < MAX_LISTED {
                        let (id, url) = (bookmark.id, bookmark.url);
                        output.dead.push(Dead { id, url, problem: why.clone() });
                    } else {
                        output.more_dead += 1;
                    }
                }
            }
            let transaction = db::begin(&db).await.map_err(failed)?;
            if let Check::Alive | Check::Dead(_) = result {
                let (now, why) = (state.clock().now(), result.why());
                store::checked(&transaction, call.user(), bookmark.id, now, why)
                    .await
                    .map_err(failed)?;
            }
            jobs::checkpoint_of(state.jobs(), call, &transaction, &output).await?;
            transaction.commit().await.map_err(failed)?;
            let done = output.checked + output.skipped;
            let message = format!("Checked {done} of {total}");
            call.progress(to_f64(done), Some(to_f64(total)), Some(&message)).await;
        }
    }
}

/// The result for one link.
enum Check {
    Alive,
    /// It cannot be checked.
    Skipped,
    Dead(String),
}

impl Check {
    fn why(self) -> Option<String> {
        match self {
            Self::Dead(why) => Some(why),
            Self::Alive | Self::Skipped => None,
        }
    }
}

async fn check(state: &State, url: &str) -> Result<Check, ToolError> {
    let Ok(address) = Address::parse(url, state.public_url().host()) else {
        return Ok(Check::Skipped);
    };
    match state.fetcher().get(address.as_str(), FETCH).await {
        Ok(_page) => Ok(Check::Alive),
        // A redirect is not followed, but proves that the site responds.
        Err(FetchError::Status(status)) if status.is_redirection() => Ok(Check::Alive),
        Err(FetchError::TooLarge) => Ok(Check::Alive),
        Err(FetchError::Unavailable) => Err(ToolError::Unavailable(
            "Pages cannot be fetched at the moment. Try again in a few minutes.".into(),
        )),
        Err(error) => Ok(Check::Dead(error.to_string())),
    }
}

/// Converts a count to the number type of progress notifications.
fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
