//! `notes_export`: exports notes to a file that the user can download. Runs as a job.
//!
//! A repeated attempt starts from the beginning: an export only reads notes, and the URL of the
//! file of a failed attempt was never returned.

use std::time::Duration;

use app::downloads::{self, Download, DownloadError};
use chrono::{DateTime, Utc};
use mcp::{
    Call, CallToolResult, Content, ResourceEntry, RunMode, Tool, ToolAnnotations, ToolError,
    ToolOutput, View,
};
use platform::{counted, db::Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    State,
    errors::job_error,
    exports::{self, ExportError, Format},
    progress::to_f64,
    scopes,
    store::{self, Tag},
    views,
};

/// The time limit of one attempt.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The maximum number of attempts.
const ATTEMPTS: u32 = 5;

pub(crate) struct ExportNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The format of the file.
    #[serde(default)]
    format: Format,
    /// Only notes with this tag.
    tag: Option<Tag>,
}

/// The structured result. The content of the result also has a link to the resource.
#[derive(Serialize, JsonSchema)]
struct ExportedFile {
    /// The URL of the file. Anyone with the URL can download the file, so give it only to the user.
    download_url: String,
    /// The URI of the same file as a resource of this server.
    uri: String,
    /// The name of the file.
    file_name: String,
    /// The media type of the file.
    media_type: String,
    /// The size of the file in bytes.
    bytes: u64,
    /// The number of notes in the file.
    notes: u64,
    /// When the URL expires.
    expires_at: DateTime<Utc>,
}

/// The result of an export: structured, as text, and as a link.
pub(crate) struct Output {
    file: Download,
    url: String,
}

impl ToolOutput for Output {
    fn schema() -> Option<Value> {
        <ExportedFile as ToolOutput>::schema()
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
        let mut result = ExportedFile {
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
    const DESCRIPTION: &'static str = "Exports the user's notes to a file: a ZIP of Markdown files, \
        one JSON document or one Markdown document. Returns a download URL that is valid for an \
        hour; show it to the user. It runs as a job: if the result takes too long, get it from \
        jobs_list later instead of calling again.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const RUN: RunMode = RunMode::Job { timeout: TIMEOUT, attempts: ATTEMPTS };
    const VIEW: Option<&View> = Some(&views::EXPORT);
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
        let total = to_f64(total.map_err(|error| export_error(error.into()))?);
        let mut export =
            exports::begin(state, call.caller(), format, tag).await.map_err(export_error)?;
        loop {
            let done = match export.write_page(state).await {
                Ok(Some(done)) => done,
                Ok(None) => break,
                Err(error) => {
                    export.discard().await;
                    return Err(export_error(error));
                }
            };
            let message = format!("Exported {}", counted(done, "note", "notes"));
            // Notes that are created during the export must not raise the progress above the total.
            call.progress(to_f64(done).min(total), Some(total), Some(&message)).await;
        }
        let (file, url) = export.finish().await.map_err(export_error)?;
        Ok(Output { file, url })
    }
}

fn export_error(error: ExportError) -> ToolError {
    const UNAVAILABLE: &str = "The notes temporarily cannot be exported.";
    match error {
        ExportError::Download(DownloadError::TooLarge) => ToolError::Failed(format!(
            "The export is larger than {} MB, the maximum. Export the notes of one `tag` at a time.",
            downloads::MAX_BYTES >> 20
        )),
        // The row of the file expired, or the account was deleted. A new attempt finds out which.
        ExportError::Download(DownloadError::NotFound) => {
            ToolError::Unavailable(UNAVAILABLE.into())
        }
        ExportError::Notes(error) => job_error(error, UNAVAILABLE),
        ExportError::Download(DownloadError::Failed(
            error @ (Failure::Unavailable(_) | Failure::Busy(_)),
        )) => job_error(error.into(), UNAVAILABLE),
        error => ToolError::internal(error),
    }
}
