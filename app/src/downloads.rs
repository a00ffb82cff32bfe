//! Files for download: written by a tool, stored in the database in chunks, served by any instance
//! until they expire.
//!
//! **Access.** The URL of a file ends with 256 random bits and is the only credential, so that a
//! browser or a download program, which has no access token, can fetch the file. The URL is given
//! only to the owner, works for [`LIFETIME`], and is stored as a hash. It stops working, even in the
//! middle of a download, when the access with which the file was created ends ([`access`]). A product
//! may also offer small files as MCP resources, to be read with an access token ([`Downloads::read`]).
//!
//! A file that is never finished has no URL, and expires like the others.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
pub use entity::DownloadId;
use entity::{download_chunks, downloads};
use mcp::{Caller, UserId};
use oauth::{
    access::{self, Authority},
    token_format::PlainDownload,
};
use platform::{
    clock::Clock,
    db::{DATABASE, Database, Failure},
    public_url::PublicUrl,
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
    sea_query::{Expr, ExprTrait as _},
};
use uuid::Uuid;

/// How long a file is kept and its URL works: long enough for a user to click on it.
pub const LIFETIME: Duration = Duration::from_hours(1);

/// The maximum size of a file, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The maximum number of finished files of a user. A new one replaces the oldest.
const MAX_KEPT: u64 = 3;

/// The maximum number of unfinished files of a user. Cancelled or lost jobs leave them behind until
/// they expire. A new one replaces the oldest.
const MAX_UNFINISHED: u64 = 10;

/// The size of a chunk, in bytes: the content of one row, and the part of a file that an instance
/// holds in memory while it serves the file.
const CHUNK: usize = 256 * 1024;

/// The path of a download, without its token.
pub const PATH_PREFIX: &str = "/exports/";

/// A file that can be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The id. Not a credential.
    pub id: DownloadId,
    /// The file name for saving.
    pub file_name: String,
    /// The media type.
    pub media_type: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The number of items in the file, as its writer counted them.
    pub items: u64,
    /// When writing began.
    pub created_at: DateTime<Utc>,
    /// When it is deleted.
    pub expires_at: DateTime<Utc>,
    chunks: i32,
    authority: Authority,
}

impl Download {
    /// The access with which the file was created.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The file does not exist, has expired, belongs to another user, or was created with access
    /// that has ended.
    #[error("there is no such file")]
    NotFound,
    /// The file would be larger than [`MAX_BYTES`].
    #[error("the file is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// The database failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl DownloadError {
    /// The dependency that failed, for the field `dependency` of log events.
    pub fn dependency(&self) -> Option<&'static str> {
        match self {
            Self::Failed(failure) => failure.dependency(),
            _ => None,
        }
    }
}

impl From<sea_orm::DbErr> for DownloadError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// The store of files for download. Cheap to clone.
#[derive(Clone)]
pub struct Downloads {
    db: Database,
    clock: Arc<dyn Clock>,
    public_url: PublicUrl,
}

impl fmt::Debug for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Downloads")
    }
}

impl Downloads {
    /// Creates a store in this database, with URLs below this one.
    pub fn new(db: Database, clock: Arc<dyn Clock>, public_url: PublicUrl) -> Self {
        Self { db, clock, public_url }
    }

    /// Creates a file that belongs to the caller. The file name must consist of ASCII letters,
    /// digits, dots and dashes.
    pub async fn create(
        &self,
        caller: &Caller,
        file_name: String,
        media_type: &str,
    ) -> Result<Writer, DownloadError> {
        let owner = &caller.user;
        let Authority { grant, key, .. } = Authority::of(caller);
        let now = self.clock.now();
        self.make_room(owner).await?;
        let row = downloads::Model {
            id: DownloadId(Uuid::new_v4()),
            owner_sub: owner.as_str().to_owned(),
            grant_id: grant,
            key_id: key,
            file_name,
            media_type: media_type.to_owned(),
            bytes: 0,
            chunks: 0,
            items: 0,
            token_hash: None,
            created_at: now,
            expires_at: now + LIFETIME,
        };
        let db = self.db_of(owner);
        downloads::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(&db)
            .await?;
        Ok(Writer { downloads: self.clone(), db, row, unwritten: Vec::new() })
    }

    /// Finds a file by the token in its URL.
    pub async fn by_token(&self, token: &str) -> Result<Download, DownloadError> {
        let token = PlainDownload::parse(token).ok_or(DownloadError::NotFound)?;
        let row = downloads::Entity::find()
            .filter(downloads::COLUMN.token_hash.eq(Some(token.hash())))
            .filter(downloads::COLUMN.expires_at.gt(self.clock.now()))
            .one(&self.db)
            .await?;
        let download = row.map(Download::from).ok_or(DownloadError::NotFound)?;
        match access::denied(&self.db, &download.authority).await? {
            None => Ok(download),
            Some(denied) => {
                let why = denied.as_str();
                tracing::info!(
                    why,
                    "Refused a download: the access that created the file has ended"
                );
                Err(DownloadError::NotFound)
            }
        }
    }

    /// Finds a file of a user by its id.
    pub async fn get(&self, owner: &UserId, id: DownloadId) -> Result<Download, DownloadError> {
        let row = downloads::Entity::owned_by(owner.as_str())
            .filter(downloads::COLUMN.id.eq(id))
            .filter(downloads::COLUMN.token_hash.is_not_null())
            .filter(downloads::COLUMN.expires_at.gt(self.clock.now()))
            .one(&self.db.of_person(owner.as_str()))
            .await?;
        row.map(Download::from).ok_or(DownloadError::NotFound)
    }

    /// Lists the finished files of a user that have not expired, newest first: at most
    /// [`MAX_KEPT`].
    pub async fn list(&self, owner: &UserId) -> Result<Vec<Download>, Failure> {
        let rows = downloads::Entity::owned_by(owner.as_str())
            .filter(downloads::COLUMN.token_hash.is_not_null())
            .filter(downloads::COLUMN.expires_at.gt(self.clock.now()))
            .order_by_desc(downloads::Column::CreatedAt)
            .limit(MAX_KEPT)
            .all(&self.db.of_person(owner.as_str()))
            .await?;
        Ok(rows.into_iter().map(Download::from).collect())
    }

    /// Finds the file of a URL. `None`: it is not the URL of a download of this server.
    pub async fn by_url(&self, url: &str) -> Option<Result<Download, DownloadError>> {
        let own = format!("{}{PATH_PREFIX}", self.public_url);
        Some(self.by_token(url.strip_prefix(&own)?).await)
    }

    /// Reads a whole file. `Ok(None)`: it has more than `limit` bytes.
    pub async fn read(
        &self,
        download: &Download,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, DownloadError> {
        if usize::try_from(download.bytes).map_or(true, |bytes| bytes > limit) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for number in 0.. {
            match self.chunk(download, number).await? {
                Some(chunk) => bytes.extend(chunk),
                None => break,
            }
        }
        Ok(Some(bytes))
    }

    /// Reads one chunk of a file. `Ok(None)`: after the last one.
    pub async fn chunk(
        &self,
        download: &Download,
        number: u32,
    ) -> Result<Option<Vec<u8>>, DownloadError> {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        if number >= download.chunks {
            return Ok(None);
        }
        let db = self.db_of(&download.authority.user);
        let row = download_chunks::Entity::find_by_id((download.id, number)).one(&db).await?;
        // The file was deleted while it is read. This is an error, so that the reader does not mistake the
        // part for the whole.
        row.map(|chunk| Some(chunk.bytes)).ok_or(DownloadError::NotFound)
    }

    /// Deletes at most [`SWEEP_BATCH`] expired files and returns their number.
    pub async fn sweep_expired(&self) -> Result<u64, Failure> {
        let expired = downloads::Entity::find()
            .filter(downloads::COLUMN.expires_at.lte(self.clock.now()))
            .select_only()
            .column(downloads::Column::Id)
            .limit(SWEEP_BATCH)
            .into_query();
        let deleted = downloads::Entity::delete_many()
            .filter(Expr::col(downloads::Column::Id).in_subquery(expired))
            .exec(&self.db)
            .await?;
        Ok(deleted.rows_affected)
    }

    /// Returns the part of the connection pool for jobs of a user.
    fn db_of(&self, owner: &UserId) -> Database {
        self.db.of_person(owner.as_str()).in_job()
    }

    /// Deletes the oldest files of a user, so that a new one does not exceed the maximum number.
    async fn make_room(&self, owner: &UserId) -> Result<(), DownloadError> {
        let token_hash = downloads::COLUMN.token_hash;
        let db = self.db_of(owner);
        for (which, most) in
            [(token_hash.is_not_null(), MAX_KEPT), (token_hash.is_null(), MAX_UNFINISHED)]
        {
            let too_many = downloads::Entity::owned_by(owner.as_str())
                .filter(which)
                .order_by_desc(downloads::Column::CreatedAt)
                .order_by_desc(downloads::Column::Id)
                .offset(most - 1)
                .limit(most)
                .select_only()
                .column(downloads::Column::Id)
                .into_tuple::<DownloadId>()
                .all(&db)
                .await?;
            if !too_many.is_empty() {
                downloads::Entity::delete_owned_by(owner.as_str())
                    .filter(downloads::Column::Id.is_in(too_many))
                    .exec(&db)
                    .await?;
            }
        }
        Ok(())
    }
}

/// The maximum number of files that one call of [`Downloads::sweep_expired`] deletes: each may have
/// hundreds of chunks.
pub const SWEEP_BATCH: u64 = 20;

/// A file that is being written. If it is dropped without [`Self::finish`] or [`Self::discard`],
/// the unfinished file remains until it expires.
#[derive(Debug)]
pub struct Writer {
    downloads: Downloads,
    db: Database,
    row: downloads::Model,
    unwritten: Vec<u8>,
}

impl Writer {
    /// Appends to the file. Whole chunks are stored at once.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.unwritten.extend_from_slice(bytes);
        let written = usize::try_from(self.row.bytes).unwrap_or(usize::MAX);
        if written.saturating_add(self.unwritten.len()) > MAX_BYTES {
            return Err(DownloadError::TooLarge);
        }
        let rest = self.unwritten.split_off(self.unwritten.len() / CHUNK * CHUNK);
        let full = std::mem::replace(&mut self.unwritten, rest);
        for chunk in full.chunks(CHUNK) {
            self.store(chunk.to_vec()).await?;
        }
        Ok(())
    }

    /// Adds to the number of items in the file, and returns the sum.
    pub fn add_items(&mut self, count: usize) -> u64 {
        self.row.items += i64::try_from(count).unwrap_or(i64::MAX);
        self.row.items.unsigned_abs()
    }

    /// Finishes the file, and returns it with the only copy of its URL.
    pub async fn finish(mut self) -> Result<(Download, String), DownloadError> {
        for chunk in std::mem::take(&mut self.unwritten).chunks(CHUNK) {
            self.store(chunk.to_vec()).await?;
        }
        let token = PlainDownload::generate();
        let expires_at = self.downloads.clock.now() + LIFETIME;
        let finished = downloads::Entity::update_many()
            .col_expr(downloads::Column::TokenHash, Expr::value(Some(token.hash())))
            .col_expr(downloads::Column::Bytes, Expr::value(self.row.bytes))
            .col_expr(downloads::Column::Chunks, Expr::value(self.row.chunks))
            .col_expr(downloads::Column::Items, Expr::value(self.row.items))
            .col_expr(downloads::Column::ExpiresAt, Expr::value(expires_at))
            .filter(downloads::COLUMN.id.eq(self.row.id))
            .filter(downloads::COLUMN.token_hash.is_null())
            .exec(&self.db)
            .await?;
        if finished.rows_affected == 0 {
            return Err(DownloadError::NotFound);
        }
        let url = format!("{}{PATH_PREFIX}{}", self.downloads.public_url, token.expose());
        Ok((Download::from(downloads::Model { expires_at, ..self.row }), url))
    }

    /// Deletes the unfinished file. If that fails, the file remains until it expires.
    pub async fn discard(self) {
        if let Err(error) = downloads::Entity::delete_by_id(self.row.id).exec(&self.db).await {
            tracing::warn!(
                dependency = DATABASE, error = %error,
                "Could not delete an unfinished file for download; it remains until it expires"
            );
        }
    }

    async fn store(&mut self, bytes: Vec<u8>) -> Result<(), DownloadError> {
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let chunk =
            download_chunks::Model { export_id: self.row.id, number: self.row.chunks, bytes };
        download_chunks::Entity::insert(chunk.into_active_model())
            .exec_without_returning(&self.db)
            .await?;
        self.row.chunks += 1;
        self.row.bytes += size;
        Ok(())
    }
}

impl From<downloads::Model> for Download {
    fn from(row: downloads::Model) -> Self {
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
            items: row.items.unsigned_abs(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            chunks: row.chunks,
        }
    }
}
