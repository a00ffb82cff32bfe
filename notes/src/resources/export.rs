//! `notes://exports/{id}`: a file that `notes_export` has created, until it expires.

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
    const DESCRIPTION: &'static str = "A file that notes_export has created, \
        available for an hour, up to 2 MB. Download larger files.";
    const MIME_TYPE: &'static str = "application/octet-stream";
    const SCOPE: &'static str = scopes::READ;

    async fn read(
        &self,
        call: &Call,
        state: &State,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        let id = DownloadId::parse(uri.variable("id"));
        let id = id.ok_or_else(|| download_error(DownloadError::NotFound))?;
        let file = state.downloads().get(call.user(), id).await.map_err(download_error)?;
        let bytes =
            state.downloads().read(&file, MAX_RESOURCE_BYTES).await.map_err(download_error)?;
        let Some(bytes) = bytes else {
            return Err(ToolError::Input(
                "The file is larger than 2 MB, the maximum for a resource: download it from the URL \
                 that notes_export returned."
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

fn download_error(error: DownloadError) -> ToolError {
    match error {
        DownloadError::NotFound => ToolError::NotFound(
            "There is no such export, or it has expired: exports are kept for an hour. Call \
             notes_export again."
                .into(),
        ),
        error => {
            tracing::error!(
                dependency = error.dependency(), error = ?error,
                "Could not read an export that was requested as a resource"
            );
            ToolError::Unavailable(
                "The file temporarily cannot be read. Try again in a few seconds.".into(),
            )
        }
    }
}
