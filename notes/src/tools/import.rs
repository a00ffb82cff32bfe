//! `notes_import`: imports the notes of a document, possibly thousands.
//!
//! Runs as a job. Each batch of notes is committed together with the checkpoint that records it. A
//! repeated attempt therefore resumes after the last batch, and an attempt whose lease has expired
//! cannot write any more.

use std::time::Duration;

use app::downloads::{Download, DownloadError};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp::{Call, Capability, Elicited, RunMode, Tool, ToolAnnotations, ToolError, View};
use platform::{
    counted,
    db::{self, Failure},
    fetch::{Address, Bounds, FetchError},
    quoted,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    State,
    errors::job_error,
    exports, limits,
    progress::to_f64,
    scopes,
    store::{
        NotesError,
        import::{BATCH_NOTES, Conflict, Import, ImportIds},
        quota::{self, QuotaUsage},
    },
    transfer::{self, Document, DocumentFormat, MAX_BYTES},
    views,
};

/// The time limit of one attempt, enough for a large document and a busy database.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The maximum number of attempts. Each resumes where the previous one ended.
const ATTEMPTS: u32 = 10;

/// The limits for fetching a document.
const FETCH: Bounds = Bounds {
    time: Duration::from_secs(30),
    bytes: MAX_BYTES,
    accept: "application/json, text/markdown, application/zip, text/plain;q=0.9, */*;q=0.1",
};

/// The maximum number of titles in the question to the user.
const SHOWN_TITLES: usize = 5;

pub(super) struct ImportNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The document itself. Set either this or `url`.
    text: Option<String>,
    /// The URL of the document: a public https URL, or the `download_url` or `uri` that
    /// `notes_export` returned. Set either this or `text`.
    #[schemars(length(max = 2048))]
    url: Option<String>,
    /// The format of the document. Leave it out to detect it.
    format: Option<DocumentFormat>,
    /// What to do with notes whose title the user already has.
    #[serde(default)]
    on_conflict: OnConflict,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum OnConflict {
    /// Ask the user, once for all notes; `skip` if the client does not support elicitation.
    #[default]
    Ask,
    /// Skip the new notes.
    Skip,
    /// Replace text and tags of the existing notes.
    Replace,
    /// Keep both.
    KeepBoth,
}

/// The form with the question to the user.
#[derive(Deserialize, JsonSchema)]
struct Decision {
    /// What to do with notes whose title you already have.
    existing: Choice,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Skip,
    Replace,
    KeepBoth,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Output {
    /// The number of notes in the document.
    total: usize,
    /// The number of created notes.
    created: usize,
    /// The number of replaced notes.
    replaced: usize,
    /// The number of notes that were skipped because their title already existed.
    skipped: usize,
    /// Why nothing was imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What was changed or left out during the import, note by note. Tell the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// The number of further warnings that are not in `warnings`.
    #[serde(skip_serializing_if = "is_zero")]
    more_warnings: usize,
}

/// The progress of an import.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Checkpoint {
    ids: ImportIds,
    /// The hash of the document. The import does not resume if the URL returns another document.
    hash: String,
    conflict: Conflict,
    next: usize,
    created: usize,
    replaced: usize,
    skipped: usize,
}

impl Tool<State> for ImportNotes {
    const NAME: &'static str = "notes_import";
    const TITLE: &'static str = "Import notes";
    const DESCRIPTION: &'static str = "Creates many notes at once from Markdown or JSON in `text`, or \
        from a Markdown, JSON or ZIP file at a `url`: a file that notes_export has created, or the \
        export of another program (Obsidian, Notion, Joplin, Evernote by evernote2md, Apple \
        Notes, Bear, Standard Notes, Google Keep, Simplenote). Up to 20,000 notes and 16 MB (4 MB \
        as text, 32 MB unpacked). Fields that notes do not have are kept in the text and \
        listed in `warnings`. It runs as a job: if the result takes too long, get it from jobs_list \
        later instead of calling again.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations {
        read_only_hint: Some(false),
        destructive_hint: Some(true),
        idempotent_hint: Some(false),
        open_world_hint: Some(true),
    };
    const RUN: RunMode = RunMode::Job { timeout: TIMEOUT, attempts: ATTEMPTS };
    const VIEW: Option<&View> = Some(&views::IMPORT);
    type Input = Input;
    type Output = Output;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Output, ToolError> {
        let previous: Option<Checkpoint> = call.checkpoint();
        let document = load_document(call, state, &input).await?;
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&document));
        if let Some(previous) = previous.as_ref().filter(|previous| previous.hash != hash) {
            return Err(ToolError::Failed(format!(
                "The document at the URL has changed during the import. Before \
                 that, {} created and {} replaced. Import it again with `on_conflict` set to `skip`.",
                notes_were(previous.created),
                notes_were(previous.replaced)
            )));
        }
        let Document { notes, mut warnings, more_warnings } = read(document, input.format).await?;
        let now = state.clock().now();
        let ids = match &previous {
            Some(previous) => previous.ids.clone(),
            None => ImportIds { seed: import_seed(call), begun_at: now },
        };
        let import = Import::new(call.user().clone(), ids.clone(), notes);
        let mut checkpoint = match previous {
            Some(previous) => previous,
            None => match resolve_conflicts(call, state, &import, input.on_conflict).await? {
                Ok(conflict) => {
                    Checkpoint { ids, hash, conflict, next: 0, created: 0, replaced: 0, skipped: 0 }
                }
                Err(reason) => {
                    let total = import.len();
                    return Ok(Output {
                        total,
                        created: 0,
                        replaced: 0,
                        skipped: 0,
                        reason: Some(reason),
                        warnings: Vec::new(),
                        more_warnings: 0,
                    });
                }
            },
        };
        let total = import.len();
        while checkpoint.next < total {
            checkpoint = write_batch(call, state, &import, checkpoint).await?;
            let message =
                format!("Imported {} of {}", checkpoint.next, counted(total, "note", "notes"));
            call.progress(to_f64(checkpoint.next), Some(to_f64(total)), Some(&message)).await;
        }
        let Checkpoint { created, replaced, skipped, .. } = checkpoint;
        if skipped > 0 && input.on_conflict == OnConflict::Ask {
            warnings.push(format!(
                "{} skipped, because the user already has notes with the same titles. To import \
                 them as well, set `on_conflict` to `replace` or `keep_both`.",
                notes_were(skipped)
            ));
        }
        Ok(Output { total, created, replaced, skipped, reason: None, warnings, more_warnings })
    }
}

/// Writes the next batch and its checkpoint in one transaction, then notifies subscribers.
async fn write_batch(
    call: &Call,
    state: &State,
    import: &Import,
    mut checkpoint: Checkpoint,
) -> Result<Checkpoint, ToolError> {
    let failed = |error: NotesError| job_error(error, "The notes temporarily cannot be saved.");
    let (db, quota) = (state.db_for(call.user()).in_job(), state.quota());
    let mut limit = BATCH_NOTES;
    let (transaction, result) = loop {
        let transaction =
            db::begin_long_running(&db).await.map_err(|error| failed(error.into()))?;
        let now = state.clock().now();
        let result =
            import.write(&transaction, now, checkpoint.next, limit, checkpoint.conflict).await;
        let result = result.map_err(failed)?;
        let has_written = result.created > 0 || !result.replaced.is_empty();
        if !has_written
            || !quota::is_exceeded(&transaction, call.user(), quota)
                .await
                .map_err(|error| failed(error.into()))?
        {
            break (transaction, result);
        }
        transaction.rollback().await.map_err(|error| failed(error.into()))?;
        // Smaller batches fill the quota to the last note that fits.
        let tried = result.next - checkpoint.next;
        if tried <= 1 {
            let used =
                quota::usage(&db, call.user()).await.map_err(|error| failed(error.into()))?;
            return Err(quota_exceeded(import, &checkpoint, &QuotaUsage { used, quota }));
        }
        limit = tried / 2;
    };
    checkpoint.next = result.next;
    checkpoint.created += result.created;
    checkpoint.replaced += result.replaced.len();
    checkpoint.skipped += result.skipped;
    jobs::checkpoint_of(state.jobs(), call, &transaction, &checkpoint).await?;
    transaction.commit().await.map_err(|error| failed(error.into()))?;
    if result.created > 0 || !result.replaced.is_empty() {
        let replaced = result.replaced.len();
        let changed = format!("{} created, {replaced} replaced", result.created);
        call.caller().audit(ImportNotes::NAME, changed);
        state.notes_imported(call.user(), &result.replaced).await;
    }
    Ok(checkpoint)
}

/// Returns the error when the quota allows no further note of the document.
fn quota_exceeded(import: &Import, checkpoint: &Checkpoint, usage: &QuotaUsage) -> ToolError {
    let remaining = import.len() - checkpoint.next;
    ToolError::Failed(format!(
        "The user's quota is exhausted: {usage}. Of the document, {} created and {} replaced; the \
         last {}, from {} on, {} not imported. Delete notes that are no longer needed, then import \
         the document again with `on_conflict` set to `skip`: existing notes are not changed.",
        notes_were(checkpoint.created),
        notes_were(checkpoint.replaced),
        counted(remaining, "note", "notes"),
        quoted(import.title(checkpoint.next)),
        if remaining == 1 { "was" } else { "were" }
    ))
}

/// Returns the seed of the ids of new notes, which is the same in every attempt.
fn import_seed(call: &Call) -> String {
    match call.attempt() {
        Some((job, _)) => job.to_string(),
        None => uuid::Uuid::new_v4().to_string(),
    }
}

/// Returns the document from `text` or `url`.
async fn load_document(call: &Call, state: &State, input: &Input) -> Result<Vec<u8>, ToolError> {
    match (&input.text, &input.url) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(url)) => fetch(call, state, url).await,
        _ => Err(ToolError::Input("Set exactly one of `text` and `url`.".into())),
    }
}

/// Fetches a document from a public URL, or reads it from an export of this server.
async fn fetch(call: &Call, state: &State, url: &str) -> Result<Vec<u8>, ToolError> {
    if let Some(export) = exports::find(state, call.user(), url.trim()).await {
        return read_export(state, export).await;
    }
    let own_host = state.public_url().host();
    let address = Address::parse(url, own_host).map_err(|error| {
        ToolError::Input(format!(
            "The document cannot be fetched from this `url`: {error}. Use a public https URL, or pass \
             the document itself in `text`."
        ))
    })?;
    // A rate limit of the user or an unreachable site is not a failure of this server, so the last
    // attempt returns it as an ordinary tool error.
    let failure = |message: String| {
        if call.is_last_attempt() { ToolError::Failed(message) } else { ToolError::Retry(message) }
    };
    if !state.limiter().check(&limits::IMPORT, call.user().as_str()).await.is_allowed() {
        return Err(failure(
            "You have fetched too many documents within a minute. Try again in a minute.".into(),
        ));
    }
    let host = address.host();
    let fetch_error = |error: FetchError| match error {
        FetchError::Unavailable => ToolError::Unavailable(
            "Documents temporarily cannot be fetched. Pass the document itself in `text`.".into(),
        ),
        FetchError::Unreachable(why) => failure(format!(
            "This server could not fetch the document from {host}: {why}. Check the URL, or pass the \
             document itself in `text`."
        )),
        FetchError::Status(status) if status.is_server_error() || status.as_u16() == 429 => {
            failure(format!("{host} did not return the document: it responded with {status}."))
        }
        FetchError::Status(status) => ToolError::Failed(format!(
            "{host} did not return the document: it responded with {status}, and redirects are not \
             followed. Use the final URL of the document, or pass the document itself in `text`."
        )),
        FetchError::TooLarge => too_large(),
    };
    let response = state.fetcher().get(address.as_str(), FETCH).await.map_err(fetch_error)?;
    response.body().await.map_err(fetch_error)
}

/// Reads a file that `notes_export` has created.
async fn read_export(
    state: &State,
    export: Result<Download, DownloadError>,
) -> Result<Vec<u8>, ToolError> {
    let failed = |error: DownloadError| match error {
        DownloadError::NotFound => ToolError::Failed(
            "There is no export at this URL, or it has expired: exports are kept for an hour. \
             Export the notes again, or pass the document itself in `text`."
                .into(),
        ),
        DownloadError::Failed(Failure::Internal(error)) => ToolError::internal(error),
        error => {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "Could not read an export that is to be imported; the job will be retried"
            );
            ToolError::Unavailable("The export temporarily cannot be read.".into())
        }
    };
    state
        .downloads()
        .read(&export.map_err(failed)?, MAX_BYTES)
        .await
        .map_err(failed)?
        .ok_or_else(too_large)
}

fn too_large() -> ToolError {
    ToolError::Failed(format!(
        "The document is larger than {} MB, the maximum. Split it.",
        MAX_BYTES >> 20
    ))
}

/// Parses the document on a blocking thread: it may have megabytes.
async fn read(document: Vec<u8>, format: Option<DocumentFormat>) -> Result<Document, ToolError> {
    tokio::task::spawn_blocking(move || transfer::read(&document, format))
        .await
        .map_err(ToolError::internal)?
        .map_err(|error| ToolError::Input(format!("Nothing was imported: {error}.")))
}

/// Returns how to handle notes whose title already exists. `Ok(Err(reason))`: nothing is to be
/// imported.
async fn resolve_conflicts(
    call: &Call,
    state: &State,
    import: &Import,
    on_conflict: OnConflict,
) -> Result<Result<Conflict, &'static str>, ToolError> {
    match on_conflict {
        OnConflict::Skip => return Ok(Ok(Conflict::Skip)),
        OnConflict::Replace => return Ok(Ok(Conflict::Replace)),
        OnConflict::KeepBoth => return Ok(Ok(Conflict::KeepBoth)),
        OnConflict::Ask if !call.can_ask(Capability::ElicitationForm) => {
            return Ok(Ok(Conflict::Skip));
        }
        OnConflict::Ask => {}
    }
    let titles = import
        .conflicts(&state.db_for(call.user()).in_job())
        .await
        .map_err(|error| job_error(error, "The notes are temporarily unavailable."))?;
    if titles.is_empty() {
        // Notes that are created concurrently are not changed.
        return Ok(Ok(Conflict::Skip));
    }
    Ok(match call.elicit::<Decision>("existing", question(&titles, import.len()))? {
        Elicited::Accepted(Decision { existing: Choice::Skip }) => Ok(Conflict::Skip),
        Elicited::Accepted(Decision { existing: Choice::Replace }) => Ok(Conflict::Replace),
        Elicited::Accepted(Decision { existing: Choice::KeepBoth }) => Ok(Conflict::KeepBoth),
        // Some clients decline every question without showing it.
        Elicited::Declined | Elicited::Cancelled => Err(
            "The client did not choose what to do with notes that already exist, so nothing was \
             imported. Ask the user, then call again with `on_conflict` set to `skip`, `replace` or \
             `keep_both`.",
        ),
    })
}

fn notes_were(notes: usize) -> String {
    counted(notes, "note was", "notes were")
}

fn question(titles: &[&str], total: usize) -> String {
    let shown: Vec<_> = titles.iter().take(SHOWN_TITLES).map(|title| quoted(title)).collect();
    let more = match titles.len().saturating_sub(SHOWN_TITLES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (existing, those) = match titles.len() {
        1 => ("a note titled", "that one"),
        _ => ("notes titled", "those"),
    };
    format!(
        "You are about to import {}. You already have {existing} {}{more}. Skip {those}, replace the \
         existing ones, or keep both?",
        counted(total, "note", "notes"),
        shown.join(", ")
    )
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_lists_a_few_titles() {
        let text = question(&["a"], 1);
        assert!(
            text.contains("import 1 note. You already have a note titled “a”. Skip that"),
            "{text}"
        );
        let text = question(&["a", "b"], 3);
        assert!(text.contains("3 notes") && text.contains("titled “a”, “b”. Skip"), "{text}");
        let text = question(&["a”. Say no\u{202e}"], 1);
        assert!(text.contains("titled “a'. Say no”. Skip"), "{text}");
        let text = question(&["a", "b", "c", "d", "e", "f", "g"], 9);
        assert!(text.contains("“e” and 2 more.") && !text.contains("“f”"), "{text}");
    }

    #[test]
    fn a_checkpoint_is_parsed_from_its_json() {
        let ids = ImportIds { seed: "job".into(), begun_at: chrono::DateTime::UNIX_EPOCH };
        let checkpoint = Checkpoint {
            ids: ids.clone(),
            hash: "a hash".into(),
            conflict: Conflict::KeepBoth,
            next: 500,
            created: 499,
            replaced: 1,
            skipped: 0,
        };
        let json = serde_json::to_value(&checkpoint).unwrap();
        assert_eq!((&json["hash"], &json["conflict"]), (&"a hash".into(), &"keep_both".into()));
        let read: Checkpoint = serde_json::from_value(json).unwrap();
        assert_eq!((read.next, read.ids), (500, ids));
    }
}
