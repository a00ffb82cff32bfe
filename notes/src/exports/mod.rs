//! Exports: writes the notes of a user page by page into a file for download.

mod archive;
mod format;

use app::downloads::{Download, DownloadError, Writer};
use chrono::{DateTime, Utc};
use entity::DownloadId;
use mcp::{Caller, UserId};
use platform::db::{DATABASE, Failure};
use uuid::Uuid;

use self::archive::Archive;
pub use self::format::Format;
use crate::{
    State,
    store::{self, Cursor, Note, NotesError, Tag},
};

/// The maximum size of a file that is offered as a resource, in bytes: it becomes part of one JSON
/// message.
pub const MAX_RESOURCE_BYTES: usize = 2 * 1024 * 1024;

/// The number of notes that are in memory at once: at most 20 MB of text, and usually a few hundred
/// kB.
const PAGE: u64 = 50;

/// The URI of the resource of a file, without its id.
pub const URI_PREFIX: &str = "notes://exports/";

/// The error of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The notes cannot be read.
    #[error(transparent)]
    Notes(#[from] NotesError),
    /// The file cannot be read or written.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The file cannot be encoded.
    #[error(transparent)]
    Encoding(#[from] std::io::Error),
}

impl ExportError {
    /// The dependency that failed, for the field `dependency` of log events.
    pub fn dependency(&self) -> Option<&'static str> {
        match self {
            Self::Notes(NotesError::Unavailable(_)) => Some(DATABASE),
            Self::Download(error) => error.dependency(),
            _ => None,
        }
    }
}

impl From<Failure> for ExportError {
    fn from(failure: Failure) -> Self {
        Self::Download(failure.into())
    }
}

/// Returns the URI of the resource of a file.
pub fn uri(id: DownloadId) -> String {
    format!("{URI_PREFIX}{id}")
}

/// An export that is being written.
pub struct Export {
    owner: UserId,
    tag: Option<Tag>,
    file: Writer,
    archive: Archive,
    created_at: DateTime<Utc>,
    position: Option<Cursor>,
}

/// Begins a file of all notes of a user, or of those with a tag.
pub async fn begin(
    state: &State,
    caller: &Caller,
    format: Format,
    tag: Option<Tag>,
) -> Result<Export, ExportError> {
    let created_at = state.clock().now();
    let file_name = format!("notes-{}.{}", created_at.format("%Y-%m-%d"), format.extension());
    let file = state.downloads().create(caller, file_name, format.media_type()).await?;
    let archive = Archive::new(format, created_at);
    Ok(Export { owner: caller.user.clone(), tag, file, archive, created_at, position: None })
}

impl Export {
    /// Writes the next page of notes and returns how many notes are in the file. `Ok(None)`: all
    /// notes have been written.
    ///
    /// A note that changes during the export is in the file exactly once, in its old or new
    /// version.
    pub async fn write_page(&mut self, state: &State) -> Result<Option<u64>, ExportError> {
        let db = state.db_for(&self.owner).in_job();
        let page =
            store::list_full(&db, &self.owner, self.tag.as_ref(), self.position, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.position = Some(last.cursor());
        let encoded = self.encode(&page)?;
        self.file.write(&encoded).await?;
        Ok(Some(self.file.add_items(page.len())))
    }

    /// Finishes the file, and returns it with the only copy of its URL.
    pub async fn finish(mut self) -> Result<(Download, String), ExportError> {
        let empty = Archive::new(Format::Markdown, self.created_at);
        let rest = std::mem::replace(&mut self.archive, empty).finish()?;
        self.file.write(&rest).await?;
        Ok(self.file.finish().await?)
    }

    /// Deletes the unfinished file.
    pub async fn discard(self) {
        self.file.discard().await;
    }

    fn encode(&mut self, page: &[Note]) -> Result<Vec<u8>, ExportError> {
        for note in page {
            self.archive.push(note)?;
        }
        Ok(self.archive.take())
    }
}

/// Finds the export at a URL: its download URL, or the URI of its resource, which only its owner
/// can read. `None`: the URL is not that of an export.
pub async fn find(
    state: &State,
    owner: &UserId,
    url: &str,
) -> Option<Result<Download, DownloadError>> {
    if let Some(id) = url.strip_prefix(URI_PREFIX) {
        return Some(match Uuid::try_parse(id) {
            Ok(id) => state.downloads().get(owner, DownloadId(id)).await,
            Err(_not_an_id) => Err(DownloadError::NotFound),
        });
    }
    state.downloads().by_url(url).await
}
