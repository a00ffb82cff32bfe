//! Client ID Metadata Documents: clients whose id is the URL of a document with their metadata.
//!
//! The sender of a request chooses the URL, so the fetch must not give access to the internal
//! network (SSRF), nor be usable to attack third parties: the URL is validated by [`MetadataUrl`],
//! the connection by [`platform::fetch`], within [`FETCH_TIMEOUT`] and [`MAX_DOCUMENT_BYTES`]; each
//! instance fetches a document for one request at a time, and there is a rate limit per host and in
//! total, across all instances.
//!
//! A valid document is cached as long as its header allows, within bounds; a failure is not. Some
//! documents are never fetched: those that the operator has configured, and all of them if fetching
//! is turned off. For a few well-known clients there is a built-in document, which is used while
//! their host cannot be reached. When a user authorizes a client, its metadata is stored in the
//! database as a **snapshot**, which the token endpoint uses: if the document disappears, existing
//! sessions continue, and if it changes, the change applies from the next consent on.

mod document;
mod fetching;
mod known;
mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
#[cfg(feature = "fuzzing")]
pub(crate) use document::parse as parse_document;
use entity::{
    oauth_clients::{ActiveModel, COLUMN, Column, Entity, Kind},
    oauth_grants,
};
pub use known::KnownDocuments;
pub use platform::fetch::{Resolver, SystemResolver};
use platform::{
    db::Failure,
    fetch::{Bounds, FetchError},
};
use reqwest::StatusCode;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    sea_query::{Expr, ExprTrait as _, OnConflict, Query},
};
pub use store::{Documents, InProcess};

pub(crate) use self::fetching::Fetching;
use self::{
    document::{MAX_FRESHNESS, MIN_FRESHNESS},
    fetching::Found,
};
use super::{
    audit::RequestInfo,
    client::{self, Client, ClientError, ClientId, ClientKind, Metadata, UNUSED_LIFETIME},
    grant::{self, Reason},
    limits::{METADATA_ALL, METADATA_HOST, METADATA_KNOWN_ALL, METADATA_KNOWN_HOST, Verdict},
    metadata_url::MetadataUrl,
    revoke,
};
use crate::server::Server;

/// The maximum size of a document, in bytes. Real ones have a few hundred bytes.
pub const MAX_DOCUMENT_BYTES: usize = 5 * 1024;

/// The timeout of a fetch, from the DNS query to the last byte.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The bounds of one fetch.
const BOUNDS: Bounds =
    Bounds { time: FETCH_TIMEOUT, bytes: MAX_DOCUMENT_BYTES, accept: "application/json" };

/// Finds the client of a URL. Uses the configured or cached document, or fetches it, and stores a
/// snapshot. While no newer document can be fetched, the snapshot of one that was fetched within
/// [`SNAPSHOT_VALID_FOR`] is used.
pub(super) async fn find(server: &Server, id: &str) -> Result<Client, ClientError> {
    let config = server.settings();
    let url = MetadataUrl::parse(id, config.public_url.host()).map_err(|error| {
        ClientError::Refused(format!(
            "The URL of the client's metadata document is invalid: {error}."
        ))
    })?;
    let found = match config.known_documents.get(&url) {
        Some(known) => Found::Document(known.clone()),
        None if !config.client_documents => return Err(ClientError::DocumentsOff),
        None => document(server, &url).await?,
    };
    match found {
        Found::Document(metadata) => snapshot(server, &url, metadata).await,
        Found::Snapshot(metadata) => Ok(from_document(&url, metadata)),
    }
}

/// How long the snapshot of a document is used instead of the document while it cannot be fetched.
pub const SNAPSHOT_VALID_FOR: TimeDelta = GONE_AFTER;

/// The age from which the fetch time in a snapshot is updated: one write a day for each document in
/// use.
const FETCHED_AT_PRECISION: TimeDelta = TimeDelta::days(1);

/// How long a document must be gone before its client's grants are revoked: long enough for a
/// publisher who broke their site by mistake to notice.
pub const GONE_AFTER: TimeDelta = TimeDelta::days(7);

/// The maximum number of documents that one call of [`recheck`] fetches.
const RECHECK_BATCH: u64 = 20;

/// Checks whether the documents of connected clients still exist, and revokes the grants of clients
/// whose document has been gone for [`GONE_AFTER`]: removing the document is how a publisher
/// withdraws a client. If the host does not respond, or responds with another status than 404 or
/// 410, the document does not count as gone. Changes of a document apply from the next consent on.
///
/// Call it once a day: first with `None`, then with the [`Rechecked::last`] of the previous call,
/// until that is `None`. The time since which a document is gone is kept in the store of documents;
/// if it is lost, the wait begins again.
pub async fn recheck(server: &Server, after: Option<&ClientId>) -> Result<Rechecked, Failure> {
    if !server.settings().client_documents {
        return Ok(Rechecked { last: None, revoked: 0 });
    }
    let connected = Query::select()
        .expr(Expr::val(1))
        .from(oauth_grants::Entity)
        .and_where(
            Expr::col((oauth_grants::Entity, oauth_grants::Column::ClientId))
                .equals((Entity, Column::Id)),
        )
        .cond_where(grant::live(server.clock().now()))
        .take();
    let mut query = Entity::find()
        .filter(COLUMN.kind.eq(Kind::MetadataDocument))
        .filter(Expr::exists(connected))
        .order_by_asc(Column::Id)
        .limit(RECHECK_BATCH);
    if let Some(after) = after {
        query = query.filter(COLUMN.id.gt(after.clone()));
    }
    let clients = query.all(server.db()).await?;
    let mut revoked = 0;
    for client in &clients {
        if is_gone_for_good(server, &client.id).await {
            tracing::warn!(client = %client.id, "A client's document is gone; revoking its grants");
            revoke::client(server, &client.id, Reason::ClientGone, &RequestInfo::none()).await?;
            revoked += 1;
        }
    }
    Ok(Rechecked { last: clients.last().map(|it| it.id.clone()), revoked })
}

/// The result of a call of [`recheck`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rechecked {
    /// The client to continue after. `None`: all clients are checked.
    pub last: Option<ClientId>,
    /// The number of clients whose grants were revoked.
    pub revoked: u64,
}

/// Returns whether the document is gone now, and was gone at every check for [`GONE_AFTER`].
async fn is_gone_for_good(server: &Server, id: &ClientId) -> bool {
    let Ok(url) = MetadataUrl::parse(id.as_str(), server.settings().public_url.host()) else {
        return false;
    };
    let is_configured = server.settings().known_documents.get(&url).is_some();
    if is_configured || take_quota(server, &url, Budget::KnownClients).await.is_err() {
        return false;
    }
    let (fetching, now) = (server.fetching(), server.clock().now());
    let key = gone_since_key(&url);
    let stored = fetching.documents.get(&key).await;
    let since = stored.as_deref().and_then(|text| str::from_utf8(text).ok()?.parse().ok());
    match (fetch(fetching, &url).await, since) {
        (Err(DocumentError::Gone), Some(since)) => since <= now - GONE_AFTER,
        (Err(DocumentError::Gone), None) => {
            let ttl = 2 * GONE_AFTER.to_std().unwrap_or(MAX_FRESHNESS);
            fetching.documents.put(&key, now.to_rfc3339().into_bytes(), ttl).await;
            false
        }
        (Ok(_), Some::<DateTime<Utc>>(_)) => {
            fetching.documents.put(&key, Vec::new(), MIN_FRESHNESS).await;
            false
        }
        (Ok(_) | Err(_), _) => false,
    }
}

/// Returns the key under which the store of documents has the time since which a document is gone.
fn gone_since_key(url: &MetadataUrl) -> String {
    format!("gone:{}", url.as_str())
}

/// Returns the metadata of a document: cached if its header allows, otherwise fetched if possible.
/// Concurrent requests of this instance share one lookup and its outcome, success or failure; the
/// next request after that looks it up again. If the request that runs the lookup is canceled,
/// another one that waits runs it again.
async fn document(server: &Server, url: &MetadataUrl) -> Result<Found, ClientError> {
    let fetching = server.fetching();
    let lookup = async {
        match cached(fetching, url.as_str()).await {
            Some(metadata) => Ok(Found::Document(metadata)),
            None => fetch_and_cache(server, url).await,
        }
    };
    let found = fetching.lookups.try_get_with_by_ref(url.as_str(), lookup).await;
    found.map_err(Arc::unwrap_or_clone)
}

async fn cached(fetching: &Fetching, key: &str) -> Option<Metadata> {
    let value = fetching.documents.get(key).await?;
    serde_json::from_slice(&value).ok()
}

/// The rate limits that a fetch is counted against.
#[derive(Clone, Copy)]
enum Budget {
    /// For documents that were fetched before: the ids of clients that users have used.
    KnownClients,
    /// For documents that were never fetched. Requests with invented ids use up only this budget.
    UnknownClients,
}

/// Takes one request from the quota of a host, and from that of all hosts.
async fn take_quota(
    server: &Server,
    url: &MetadataUrl,
    budget: Budget,
) -> Result<(), DocumentError> {
    let limiter = server.limiter();
    let (of_host, of_all) = match budget {
        Budget::KnownClients => (&METADATA_KNOWN_HOST, &METADATA_KNOWN_ALL),
        Budget::UnknownClients => (&METADATA_HOST, &METADATA_ALL),
    };
    for (bucket, key) in [(of_host, url.host()), (of_all, "all")] {
        if let Verdict::Refused { retry_after } = limiter.check(bucket, key).await {
            tracing::info!(
                bucket = bucket.name,
                host = url.host(),
                "Did not fetch the document of a client: rate limit exceeded"
            );
            return Err(DocumentError::TooMany(retry_after));
        }
    }
    Ok(())
}

/// Returns the snapshot of a document, if it was fetched recently enough to be used instead of the
/// document.
async fn recent_snapshot(
    server: &Server,
    url: &MetadataUrl,
) -> Result<Option<Metadata>, ClientError> {
    let row = client::row(server.db(), url.as_str()).await?;
    let oldest = server.clock().now() - SNAPSHOT_VALID_FOR;
    Ok(row
        .filter(|it| it.disabled_at.is_none())
        .filter(|it| it.fetched_at.is_some_and(|at| at >= oldest))
        .and_then(|it| serde_json::from_value(it.metadata).ok()))
}

async fn fetch_and_cache(server: &Server, url: &MetadataUrl) -> Result<Found, ClientError> {
    let (fetching, snapshot) = (server.fetching(), recent_snapshot(server, url).await?);
    let failed_recently = format!("failed:{}", url.as_str());
    let budget = match &snapshot {
        Some(metadata) if fetching.documents.get(&failed_recently).await.is_some() => {
            return Ok(Found::Snapshot(metadata.clone()));
        }
        Some(_) => Budget::KnownClients,
        None => Budget::UnknownClients,
    };
    let fetched = match take_quota(server, url, budget).await {
        Ok(()) => fetch(fetching, url).await,
        Err(too_many) => Err(too_many),
    };
    let (body, fresh) = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            if snapshot.is_some() {
                // Until this expires, no request waits for the same host again.
                fetching.documents.put(&failed_recently, vec![1], MIN_FRESHNESS).await;
            }
            return fall_back(server, url, snapshot, error).await;
        }
    };
    let schemes = &server.settings().redirect_schemes;
    let metadata = document::parse(&body, url, schemes).map_err(|why| {
        tracing::info!(client = url.as_str(), error = why, "The document of a client is invalid");
        let host = url.host();
        ClientError::Refused(format!("The client's metadata document at {host} is invalid: {why}."))
    })?;
    cache(fetching, url, &metadata, fresh).await;
    Ok(Found::Document(metadata))
}

/// Returns the snapshot or the built-in document instead of a document that could not be fetched,
/// unless the document is gone. The built-in document is used only if the host was not reached.
async fn fall_back(
    server: &Server,
    url: &MetadataUrl,
    snapshot: Option<Metadata>,
    error: DocumentError,
) -> Result<Found, ClientError> {
    let (client, fetching) = (url.as_str(), server.fetching());
    tracing::info!(client, %error, "Could not fetch the document of a client");
    if !matches!(error, DocumentError::Gone)
        && let Some(metadata) = snapshot
        && !was_gone(fetching, url).await
    {
        tracing::info!(client, "Using the snapshot of an earlier document of a client");
        return Ok(Found::Snapshot(metadata));
    }
    let was_not_reached = matches!(
        error,
        DocumentError::TooMany(_) | DocumentError::Fetch(FetchError::Unreachable(_))
    );
    if was_not_reached && let Some(built_in) = fetching.built_in.get(url) {
        tracing::info!(client, "Using the built-in document of a client");
        cache(fetching, url, built_in, MIN_FRESHNESS).await;
        return Ok(Found::Document(built_in.clone()));
    }
    let host = url.host();
    Err(match error {
        DocumentError::TooMany(retry_after) => ClientError::TooMany(retry_after),
        DocumentError::Fetch(FetchError::Unavailable) => ClientError::Unavailable,
        DocumentError::Fetch(FetchError::Unreachable(why)) => {
            ClientError::Unreachable { host: host.to_owned(), why }
        }
        DocumentError::Gone => ClientError::Refused(format!(
            "The client's metadata document at {host} does not exist any more."
        )),
        error => ClientError::Refused(format!(
            "The client's metadata document at {host} cannot be used: {error}."
        )),
    })
}

/// Returns whether the document was gone at the last check ([`recheck`]).
async fn was_gone(fetching: &Fetching, url: &MetadataUrl) -> bool {
    fetching.documents.get(&gone_since_key(url)).await.is_some_and(|since| !since.is_empty())
}

async fn cache(fetching: &Fetching, url: &MetadataUrl, metadata: &Metadata, fresh: Duration) {
    if let Ok(value) = serde_json::to_vec(metadata) {
        fetching.documents.put(url.as_str(), value, fresh).await;
    }
}

/// Fetches a document. Returns its content and how long it may be cached.
async fn fetch(
    fetching: &Fetching,
    url: &MetadataUrl,
) -> Result<(Vec<u8>, Duration), DocumentError> {
    let response =
        fetching.fetcher.get(url.as_str(), BOUNDS).await.map_err(|error| match error {
            FetchError::Status(StatusCode::NOT_FOUND | StatusCode::GONE) => DocumentError::Gone,
            error => DocumentError::Fetch(error),
        })?;
    if !document::is_json(response.headers()) {
        return Err(DocumentError::NotJson);
    }
    let fresh = document::fresh_for(response.headers());
    Ok((response.body().await?, fresh))
}

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
enum DocumentError {
    /// The host responded that the document does not exist (404 or 410).
    #[error("the document does not exist")]
    Gone,
    #[error("the response is not JSON")]
    NotJson,
    /// Not fetched, because the rate limit is exceeded; contains the time until a retry can
    /// succeed.
    #[error("the rate limit for fetching documents is exceeded")]
    TooMany(Duration),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Stores the metadata of a document as a snapshot, unless the stored one is up to date.
async fn snapshot(
    server: &Server,
    url: &MetadataUrl,
    metadata: Metadata,
) -> Result<Client, ClientError> {
    let now = server.clock().now();
    let row = client::row(server.db(), url.as_str()).await?;
    if row.as_ref().is_some_and(|it| it.disabled_at.is_some()) {
        return Err(ClientError::Unknown);
    }
    let hash = metadata.hash();
    let ends = row.as_ref().and_then(|it| it.expires_at);
    let is_current = row.as_ref().is_some_and(|it| it.metadata_hash.as_bytes() == hash)
        && ends.is_some_and(|it| it > now + UNUSED_LIFETIME / 2)
        && row
            .as_ref()
            .and_then(|it| it.fetched_at)
            .is_some_and(|at| at > now - FETCHED_AT_PRECISION);
    let id = ClientId(url.as_str().to_owned());
    if !is_current {
        let kept_until = Ord::max(ends.unwrap_or(now), now + UNUSED_LIFETIME);
        let row = ActiveModel {
            id: Set(id.clone()),
            kind: Set(Kind::MetadataDocument),
            metadata: Set(serde_json::to_value(&metadata).map_err(|error| {
                Failure::Internal(
                    anyhow::Error::new(error)
                        .context("could not serialize the metadata of a client"),
                )
            })?),
            metadata_hash: Set(entity::Digest::new(hash)),
            secret_hash: Set(None),
            created_at: Set(now),
            fetched_at: Set(Some(now)),
            last_used_at: Set(None),
            expires_at: Set(Some(kept_until)),
            disabled_at: Set(None),
        };
        let on_conflict = OnConflict::column(Column::Id)
            .update_columns([
                Column::Metadata,
                Column::MetadataHash,
                Column::FetchedAt,
                Column::ExpiresAt,
            ])
            .to_owned();
        Entity::insert(row)
            .on_conflict(on_conflict)
            .exec_without_returning(server.db())
            .await
            .map_err(Failure::from)?;
    }
    Ok(from_document(url, metadata))
}

fn from_document(url: &MetadataUrl, metadata: Metadata) -> Client {
    let kind = ClientKind::MetadataDocument { host: url.host().to_owned() };
    client::client(ClientId(url.as_str().to_owned()), kind, metadata, None)
}
