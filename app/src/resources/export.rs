//! `notes://exports/{id}`: a file that `notes_export` has made, while it is kept.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use entity::ExportId;
use mcp::{Call, MatchedUri, Resource, ResourceContents, ToolError};
use oauth::scope;

use crate::{
    App,
    exports::{self, ExportError, MAX_RESOURCE_BYTES},
};

pub(super) struct ExportById;

impl Resource<App> for ExportById {
    const URI: &'static str = "notes://exports/{id}";
    const NAME: &'static str = "export";
    const TITLE: &'static str = "An export";
    const DESCRIPTION: &'static str = "A file that notes_export has made, for an hour and up to 2 MB. Larger ones have to be \
         downloaded.";
    const MIME_TYPE: &'static str = "application/octet-stream";
    const SCOPE: &'static str = scope::NOTES_READ;

    async fn read(
        &self,
        call: &Call,
        app: &App,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        let id =
            ExportId::parse(uri.variable("id")).ok_or_else(|| failed(ExportError::NotFound))?;
        let export = exports::get(app, call.user(), id).await.map_err(failed)?;
        if export.bytes > MAX_RESOURCE_BYTES as u64 {
            return Err(ToolError::Input(
                "The file is too large to be read as a resource: download it from the address that \
                 notes_export gave."
                    .into(),
            ));
        }
        let mut bytes = Vec::new();
        let mut number = 0;
        while let Some(chunk) = exports::chunk(app, &export, number).await.map_err(failed)? {
            bytes.extend(chunk);
            number += 1;
        }
        let contents = match String::from_utf8(bytes) {
            Ok(text) => ResourceContents::text(&uri.uri, export.media_type, text),
            Err(other) => {
                let bytes = STANDARD.encode(other.as_bytes());
                ResourceContents::blob(&uri.uri, export.media_type, bytes)
            }
        };
        Ok(vec![contents])
    }
}

fn failed(error: ExportError) -> ToolError {
    match error {
        ExportError::NotFound => ToolError::NotFound(
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
