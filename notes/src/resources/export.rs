//! `notes://exports/{id}`: a file that `notes_export` has made, while it is kept.

use app::downloads::DownloadError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use entity::DownloadId;
use mcp::{Call, MatchedUri, Resource, ResourceContents, ToolError};

use crate::{State, exports::MAX_RESOURCE_BYTES, scopes};

pub(super) struct ExportById;

impl Resource<State> for ExportById {
    const URI: &'static str = "notes://exports/{id}";
    const NAME: &'static str = "export";
    const TITLE: &'static str = "An export";
    const DESCRIPTION: &'static str = "A file that notes_export has made, for an hour and up to 2 MB. Larger ones have to be \
         downloaded.";
    const MIME_TYPE: &'static str = "application/octet-stream";
    const SCOPE: &'static str = scopes::READ;

    async fn read(
        &self,
        call: &Call,
        state: &State,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        let id = DownloadId::parse(uri.variable("id"));
        let id = id.ok_or_else(|| failed(DownloadError::NotFound))?;
        let file = state.downloads().get(call.user(), id).await.map_err(failed)?;
        let bytes = state.downloads().read(&file, MAX_RESOURCE_BYTES).await.map_err(failed)?;
        let Some(bytes) = bytes else {
            return Err(ToolError::Input(
                "The file is too large to be read as a resource: download it from the address that \
                 notes_export gave."
                    .into(),
            ));
        };
        let contents = match String::from_utf8(bytes) {
            Ok(text) => ResourceContents::text(&uri.uri, file.media_type, text),
            Err(other) => {
                let bytes = STANDARD.encode(other.as_bytes());
                ResourceContents::blob(&uri.uri, file.media_type, bytes)
            }
        };
        Ok(vec![contents])
    }
}

fn failed(error: DownloadError) -> ToolError {
    match error {
        DownloadError::NotFound => ToolError::NotFound(
            "There is no such export, or not any more: it is kept for an hour. Call notes_export \
             for a new one."
                .into(),
        ),
        error => {
            tracing::error!(
                dependency = error.dependency(), error = ?error,
                "An export cannot be read: {error}"
            );
            ToolError::Unavailable(
                "The file cannot be read at the moment. Try again in a few seconds.".into(),
            )
        }
    }
}
