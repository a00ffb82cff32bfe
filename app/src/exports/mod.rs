//! Files of a person's notes: written by a job, kept in the database in pieces, served by any
//! instance until they expire.
//!
//! **Who may fetch one.** The address of a file ends with 256 random bits and is all that is needed
//! to fetch it, so that a browser or a download program can, which have no access token. It is given
//! to its owner alone, works for [`LIFETIME`], and only its hash is kept beside the file. It stops
//! working when the access ends that the file was made with ([`access`]), also in the middle of a
//! download. An MCP client can also read the file as a resource, with its access token, as long as
//! the file is small.
//!
//! A file that a job did not finish has no address, and expires like the others.

mod archive;

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{ExportId, export_chunks, exports};
use mcp::{Caller, UserId};
use oauth::{
    access::{self, Authority},
    token_format::PlainDownload,
};
use platform::db::{DATABASE, Database, Failure};
use schemars::JsonSchema;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
    sea_query::{Expr, ExprTrait as _},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::archive::Archive;
use crate::{
    App,
    notes::{self, Cursor, Note, NotesError, Tag},
};

/// How long a file is kept, and its address works: long enough for somebody to click on it.
pub const LIFETIME: Duration = Duration::from_hours(1);

/// The largest file, in bytes: some hundred thousand notes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The largest file that is given out as a resource, in bytes: it goes into one JSON message.
pub const MAX_RESOURCE_BYTES: usize = 2 * 1024 * 1024;

/// The most files of one person; the oldest make room.
const MAX_KEPT: u64 = 3;

/// Unfinished files of a person at most, of which the oldest go first: what an export that was
/// cancelled or lost leaves behind until it expires.
const MAX_UNFINISHED: u64 = 10;

/// The size of a piece, in bytes: one row, and what an instance holds of a file that it serves.
const CHUNK: usize = 256 * 1024;

/// Notes that are in memory at once: at most 20 MB of text, and usually a few hundred kB.
const PAGE: u64 = 50;

/// How the URI of the resource of one file begins; its id follows.
pub const URI_PREFIX: &str = "notes://exports/";

/// How the path of the address of a file begins; its token follows.
pub const PATH_PREFIX: &str = "/exports/";

/// What a file is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Format {
    /// A ZIP file with a Markdown file for each note, with front matter.
    #[default]
    Zip,
    /// One JSON document.
    Json,
    /// One Markdown document.
    Markdown,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Json => "json",
            Self::Markdown => "md",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Zip => "application/zip",
            Self::Json => "application/json",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }
}

/// A file that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Which one.
    pub id: ExportId,
    /// What it is called when it is saved.
    pub file_name: String,
    /// What is in it.
    pub media_type: String,
    /// Its size.
    pub bytes: u64,
    /// How many notes are in it.
    pub notes: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is gone.
    pub expires_at: DateTime<Utc>,
    chunks: i32,
    /// What it was made with.
    authority: Authority,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The export does not exist, has expired, belongs to another person, or was made with access
    /// that has ended.
    #[error("there is no such export")]
    NotFound,
    /// More than [`MAX_BYTES`].
    #[error("the export is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// The notes cannot be read.
    #[error(transparent)]
    Notes(#[from] NotesError),
    /// The file cannot be read or written.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ExportError {
    /// What did not answer, for the field `dependency` of log events.
    pub fn dependency(&self) -> Option<&'static str> {
        match self {
            Self::Notes(NotesError::Unavailable(_)) => Some(DATABASE),
            Self::Failed(failure) => failure.dependency(),
            _ => None,
        }
    }
}

impl From<sea_orm::DbErr> for ExportError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// The resource of one file.
pub fn uri(id: ExportId) -> String {
    format!("{URI_PREFIX}{id}")
}

/// A file that is being written.
pub struct Writing {
    owner: UserId,
    tag: Option<Tag>,
    row: exports::Model,
    archive: Archive,
    unwritten: Vec<u8>,
    position: Option<Cursor>,
}

/// Begins a file of all notes of a person, or of those with a tag. What was begun before and never
/// finished expires by itself.
pub async fn begin(
    app: &App,
    caller: &Caller,
    format: Format,
    tag: Option<Tag>,
) -> Result<Writing, ExportError> {
    let owner = &caller.user;
    let Authority { grant, key, .. } = Authority::of(caller);
    let now = app.clock().now();
    make_room(app, owner).await?;
    let row = exports::Model {
        id: ExportId(Uuid::new_v4()),
        owner_sub: owner.as_str().to_owned(),
        grant_id: grant,
        key_id: key,
        file_name: format!("notes-{}.{}", now.format("%Y-%m-%d"), format.extension()),
        media_type: format.media_type().to_owned(),
        bytes: 0,
        chunks: 0,
        notes: 0,
        token_hash: None,
        created_at: now,
        expires_at: now + LIFETIME,
    };
    exports::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db_of(owner).in_job())
        .await?;
    let archive = Archive::new(format, now);
    Ok(Writing { owner: owner.clone(), tag, row, archive, unwritten: Vec::new(), position: None })
}

impl Writing {
    /// Writes some more notes and says how many there are now; nothing once there are no more.
    ///
    /// A note that is changed meanwhile is in the file as it was or as it is, once either way.
    pub async fn go_on(&mut self, app: &App) -> Result<Option<u64>, ExportError> {
        let page = notes::whole(&self.db(app), &self.owner, self.tag.as_ref(), self.position, PAGE)
            .await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.position = Some(last.cursor());
        self.push(&page)?;
        self.row.notes += i64::try_from(page.len()).unwrap_or(i64::MAX);
        let rest = self.unwritten.split_off(self.unwritten.len() / CHUNK * CHUNK);
        let full = std::mem::replace(&mut self.unwritten, rest);
        for chunk in full.chunks(CHUNK) {
            self.write(app, chunk.to_vec()).await?;
        }
        Ok(Some(self.row.notes.unsigned_abs()))
    }

    /// Ends the file, and gives the only copy of its address.
    pub async fn finish(mut self, app: &App) -> Result<(Export, String), ExportError> {
        let empty = Archive::new(Format::Markdown, self.row.created_at);
        let rest = std::mem::replace(&mut self.archive, empty).finish().map_err(internal)?;
        self.unwritten.extend(rest);
        for chunk in std::mem::take(&mut self.unwritten).chunks(CHUNK) {
            self.write(app, chunk.to_vec()).await?;
        }
        let token = PlainDownload::generate();
        let expires_at = app.clock().now() + LIFETIME;
        let finished = exports::Entity::update_many()
            .col_expr(exports::Column::TokenHash, Expr::value(Some(token.hash())))
            .col_expr(exports::Column::Bytes, Expr::value(self.row.bytes))
            .col_expr(exports::Column::Chunks, Expr::value(self.row.chunks))
            .col_expr(exports::Column::Notes, Expr::value(self.row.notes))
            .col_expr(exports::Column::ExpiresAt, Expr::value(expires_at))
            .filter(exports::COLUMN.id.eq(self.row.id))
            .filter(exports::COLUMN.token_hash.is_null())
            .exec(&self.db(app))
            .await?;
        if finished.rows_affected == 0 {
            return Err(ExportError::NotFound);
        }
        let url = format!("{}{PATH_PREFIX}{}", app.config().public_url, token.expose());
        Ok((Export::from(exports::Model { expires_at, ..self.row }), url))
    }

    /// Deletes what was written of a file that will not be finished. What stays if that fails expires.
    pub async fn discard(self, app: &App) {
        let id = self.row.id;
        if let Err(error) = exports::Entity::delete_by_id(id).exec(&self.db(app)).await {
            tracing::warn!(
                dependency = DATABASE, error = %error,
                "An unfinished export could not be deleted: {error}"
            );
        }
    }

    fn db(&self, app: &App) -> Database {
        app.db_of(&self.owner).in_job()
    }

    fn push(&mut self, page: &[Note]) -> Result<(), ExportError> {
        // Compressing takes a while, and other calls run on this thread too.
        let archive = &mut self.archive;
        for note in page {
            archive.push(note).map_err(internal)?;
        }
        self.unwritten.extend(archive.take());
        let written = usize::try_from(self.row.bytes).unwrap_or(usize::MAX);
        if written.saturating_add(self.unwritten.len()) > MAX_BYTES {
            return Err(ExportError::TooLarge);
        }
        Ok(())
    }

    async fn write(&mut self, app: &App, bytes: Vec<u8>) -> Result<(), ExportError> {
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let chunk = export_chunks::Model { export_id: self.row.id, number: self.row.chunks, bytes };
        export_chunks::Entity::insert(chunk.into_active_model())
            .exec_without_returning(&self.db(app))
            .await?;
        self.row.chunks += 1;
        self.row.bytes += size;
        Ok(())
    }
}

/// Deletes the oldest files of a person, so that a new one is not one too many.
async fn make_room(app: &App, owner: &UserId) -> Result<(), ExportError> {
    let token_hash = exports::COLUMN.token_hash;
    let db = app.db_of(owner).in_job();
    for (which, most) in
        [(token_hash.is_not_null(), MAX_KEPT), (token_hash.is_null(), MAX_UNFINISHED)]
    {
        let too_many = exports::Entity::owned_by(owner.as_str())
            .filter(which)
            .order_by_desc(exports::Column::CreatedAt)
            .order_by_desc(exports::Column::Id)
            .offset(most - 1)
            .limit(most)
            .select_only()
            .column(exports::Column::Id)
            .into_tuple::<ExportId>()
            .all(&db)
            .await?;
        if !too_many.is_empty() {
            exports::Entity::delete_owned_by(owner.as_str())
                .filter(exports::Column::Id.is_in(too_many))
                .exec(&db)
                .await?;
        }
    }
    Ok(())
}

/// The file behind an address, whoever asks.
pub async fn by_token(app: &App, token: &str) -> Result<Export, ExportError> {
    let token = PlainDownload::parse(token).ok_or(ExportError::NotFound)?;
    let row = exports::Entity::find()
        .filter(exports::COLUMN.token_hash.eq(Some(token.hash())))
        .filter(exports::COLUMN.expires_at.gt(app.clock().now()))
        .one(app.db())
        .await?;
    let export = row.map(Export::from).ok_or(ExportError::NotFound)?;
    match access::denied(app.db(), &export.authority).await? {
        None => Ok(export),
        Some(denied) => {
            let why = denied.as_str();
            tracing::info!(why, "Refused the address of an export: {why}");
            Err(ExportError::NotFound)
        }
    }
}

/// Whether the access that a file was made with has ended since, as far as this instance knows: its
/// address is then worth nothing any more.
pub fn is_denied(app: &App, export: &Export) -> bool {
    app.oauth().revoked().is_denied(&export.authority)
}

/// One of a person's files.
pub async fn get(app: &App, owner: &UserId, id: ExportId) -> Result<Export, ExportError> {
    let row = exports::Entity::owned_by(owner.as_str())
        .filter(exports::COLUMN.id.eq(id))
        .filter(exports::COLUMN.token_hash.is_not_null())
        .filter(exports::COLUMN.expires_at.gt(app.clock().now()))
        .one(&app.db_of(owner))
        .await?;
    row.map(Export::from).ok_or(ExportError::NotFound)
}

/// The file that `address` names, if it is the address of an export of this server: its download URL,
/// or the URI of its resource, which only its owner can read. `None`: it is any other address.
pub async fn find(app: &App, owner: &UserId, address: &str) -> Option<Result<Export, ExportError>> {
    if let Some(id) = address.strip_prefix(URI_PREFIX) {
        return Some(match Uuid::try_parse(id) {
            Ok(id) => get(app, owner, ExportId(id)).await,
            Err(_not_an_id) => Err(ExportError::NotFound),
        });
    }
    let own = format!("{}{PATH_PREFIX}", app.config().public_url);
    Some(by_token(app, address.strip_prefix(&own)?).await)
}

/// A whole file; `None` if it has more bytes than `most`.
pub async fn bytes(
    app: &App,
    export: &Export,
    most: usize,
) -> Result<Option<Vec<u8>>, ExportError> {
    if usize::try_from(export.bytes).map_or(true, |it| it > most) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    for number in 0.. {
        match chunk(app, export, number).await? {
            Some(chunk) => bytes.extend(chunk),
            None => break,
        }
    }
    Ok(Some(bytes))
}

/// One piece of a file; nothing after the last one.
pub async fn chunk(
    app: &App,
    export: &Export,
    number: u32,
) -> Result<Option<Vec<u8>>, ExportError> {
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    if number >= export.chunks {
        return Ok(None);
    }
    let db = app.db_of(&export.authority.user).in_job();
    let row = export_chunks::Entity::find_by_id((export.id, number)).one(&db).await?;
    // Deleted while somebody reads it: better no end than a wrong one.
    row.map(|it| Some(it.bytes)).ok_or(ExportError::NotFound)
}

/// The most files that one call of [`sweep_expired`] deletes: each may have hundreds of pieces.
pub const SWEEP_BATCH: u64 = 20;

/// Deletes files that have expired, at most [`SWEEP_BATCH`], and says how many: call again while that
/// is [`SWEEP_BATCH`].
pub async fn sweep_expired(app: &App) -> Result<u64, Failure> {
    let expired = exports::Entity::find()
        .filter(exports::COLUMN.expires_at.lte(app.clock().now()))
        .select_only()
        .column(exports::Column::Id)
        .limit(SWEEP_BATCH)
        .into_query();
    let deleted = exports::Entity::delete_many()
        .filter(Expr::col(exports::Column::Id).in_subquery(expired))
        .exec(app.db())
        .await?;
    Ok(deleted.rows_affected)
}

fn internal(error: std::io::Error) -> ExportError {
    ExportError::Failed(Failure::Internal(error.into()))
}

impl From<exports::Model> for Export {
    fn from(row: exports::Model) -> Self {
        let authority = Authority {
            user: UserId::new(row.owner_sub),
            grant: row.grant_id,
            key: row.key_id,
            issued_at: row.created_at,
        };
        Self {
            authority,
            id: row.id,
            file_name: row.file_name,
            media_type: row.media_type,
            bytes: row.bytes.unsigned_abs(),
            notes: row.notes.unsigned_abs(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            chunks: row.chunks,
        }
    }
}
