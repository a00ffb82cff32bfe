//! `notes_export`: a file of all notes, to be downloaded. A job.
//!
//! An attempt that follows another one starts over: it only reads notes, and the file of the other
//! one has no address.

use std::time::Duration;

use app::downloads::{self, Download, DownloadError};
use chrono::{DateTime, Utc};
use mcp::{
    Call, CallToolResult, Content, ResourceEntry, RunMode, Tool, ToolAnnotations, ToolError,
    ToolOutput,
};
use platform::{counted, db::Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::progress::to_f64;
use crate::{
    State,
    errors::job_error,
    exports::{self, ExportError, Format},
    scopes,
    store::{self, Tag},
};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_mins(10);

/// How many attempts there are.
const ATTEMPTS: u32 = 5;

pub(super) struct ExportNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What the file is to be.
    #[serde(default)]
    format: Format,
    /// Only notes with this tag.
    tag: Option<Tag>,
}

/// The file, for programs. The result holds a link to the resource too.
#[derive(Serialize, JsonSchema)]
struct Made {
    /// The address of the file. Whoever has it can download the file, so give it to the user alone.
    download_url: String,
    /// The same file as a resource of this server.
    uri: String,
    /// What the file is called.
    file_name: String,
    /// What is in it.
    media_type: String,
    /// Its size in bytes.
    bytes: u64,
    /// How many notes are in it.
    notes: u64,
    /// Until when it can be downloaded.
    expires_at: DateTime<Utc>,
}

/// A file as a result: structured, as text, and as a link.
pub(super) struct Output {
    file: Download,
    url: String,
}

impl ToolOutput for Output {
    fn schema() -> Option<Value> {
        <Made as ToolOutput>::schema()
    }

    fn into_result(self) -> Result<CallToolResult, serde_json::Error> {
        let Self { file, url } = self;
        let uri = exports::uri(file.id);
        let link = ResourceEntry {
            title: Some("Exported notes".into()),
            mime_type: Some(file.media_type.clone()),
            size: Some(file.bytes),
            ..ResourceEntry::new(uri.clone(), file.file_name.clone())
        };
        let mut result = Made {
            download_url: url,
            uri,
            file_name: file.file_name,
            media_type: file.media_type,
            bytes: file.bytes,
            notes: file.items,
            expires_at: file.expires_at,
        }
        .into_result()?;
        result.content.push(Content::ResourceLink(link));
        Ok(result)
    }
}

impl Tool<State> for ExportNotes {
    const NAME: &'static str = "notes_export";
    const TITLE: &'static str = "Export notes";
    const DESCRIPTION: &'static str = "Makes a file of the user's notes: a ZIP of Markdown files, \
        one JSON document or one Markdown document. Returns an address from which it can be \
        downloaded for an hour; show it to the user. It runs as a job: if the answer takes too \
        long, ask jobs_list for it later instead of calling again.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const RUN: RunMode = RunMode::Job { timeout: TIMEOUT, attempts: ATTEMPTS };
    type Input = Input;
    type Output = Output;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { format, tag }: Input,
    ) -> Result<Output, ToolError> {
        let total =
            store::count(&state.db_for(call.user()).in_job(), call.user(), tag.as_ref()).await;
        let total = to_f64(total.map_err(|it| failed(it.into()))?);
        let mut export = exports::begin(state, call.caller(), format, tag).await.map_err(failed)?;
        loop {
            let done = match export.write_page(state).await {
                Ok(Some(done)) => done,
                Ok(None) => break,
                Err(error) => {
                    export.discard().await;
                    return Err(failed(error));
                }
            };
            let message = format!("Exported {}", counted(done, "note", "notes"));
            // A note that came meanwhile is no reason to go beyond the total.
            call.progress(to_f64(done).min(total), Some(total), Some(&message)).await;
        }
        let (file, url) = export.finish().await.map_err(failed)?;
        Ok(Output { file, url })
    }
}

fn failed(error: ExportError) -> ToolError {
    const AWAY: &str = "The notes cannot be exported at the moment.";
    match error {
        ExportError::Download(DownloadError::TooLarge) => ToolError::Failed(format!(
            "The notes are more than {} MB. Export them tag by tag, with `tag`.",
            downloads::MAX_BYTES >> 20
        )),
        // Its row expired, or the account was deleted: a new attempt says which.
        ExportError::Download(DownloadError::NotFound) => ToolError::Unavailable(AWAY.into()),
        ExportError::Notes(error) => job_error(error, AWAY),
        ExportError::Download(DownloadError::Failed(
            error @ (Failure::Unavailable(_) | Failure::Busy(_)),
        )) => job_error(error.into(), AWAY),
        error => ToolError::internal(error),
    }
}
