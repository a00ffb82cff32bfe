//! Client ID Metadata Documents: a client whose id is the address of a document that says who it is.
//!
//! Whoever sends a request chooses the address, so the fetch must not become a way into our own
//! network, nor a way to make us attack somebody else: the address is checked by [`MetadataUrl`], the
//! rest by [`crate::fetch`], within [`FETCH_TIMEOUT`] and [`MAX_DOCUMENT_BYTES`]; and there is one
//! fetch at a time for each document, over all instances, and a budget for each host and for all.
//!
//! A good document is kept as long as its header allows, within bounds; a failure never is. What the
//! document said when a person agreed is kept in the database as a **snapshot**, and that is what the
//! token endpoint goes by: a document that vanishes ends no session, and one that changes counts from
//! the next consent on.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    oauth_clients::{ActiveModel, COLUMN, Column, Entity, Kind},
    oauth_grants,
};
use reqwest::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap},
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    sea_query::{Expr, ExprTrait as _, OnConflict, Query},
};
use serde_json::{Map, Value};
use tokio::{sync::OnceCell, time::Instant};
use tracing::Instrument as _;

use super::{
    audit::RequestInfo,
    client::{self, Client, ClientError, ClientId, ClientKind, Metadata, Method, UNUSED_LIFETIME},
    display_name::DisplayName,
    grant::{self, Reason},
    limits::{METADATA_ALL, METADATA_HOST},
    metadata_url::MetadataUrl,
    redirect_uri::{RedirectUri, Schemes},
    register::holds_private_key,
    revoke,
    scope::Scopes,
    strict_json,
};
pub use crate::fetch::{Resolver, SystemResolver};
use crate::{
    Service,
    clock::Clock,
    db::Failure,
    fetch::{Bounds, FetchError, Fetcher},
};

/// The largest document that is read. Real ones have a few hundred bytes.
pub const MAX_DOCUMENT_BYTES: usize = 5 * 1024;

/// How long a fetch may take, from the question for the name to the last byte.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What one fetch may cost.
const BOUNDS: Bounds =
    Bounds { time: FETCH_TIMEOUT, bytes: MAX_DOCUMENT_BYTES, accept: "application/json" };

/// A document is kept at least this long, so that a flood of requests is one fetch.
const LEAST_FRESH: Duration = Duration::from_mins(1);

/// A document is kept at most this long, so that a changed one counts within a day.
const MOST_FRESH: Duration = Duration::from_hours(24);

/// How long a document without a header is kept.
const USUALLY_FRESH: Duration = Duration::from_mins(5);

/// How often an instance looks whether another one has fetched the document.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Keeps documents for all instances, and lets one of them fetch at a time. Best effort: when the
/// store is away, each instance fetches for itself.
#[async_trait]
pub trait Documents: Send + Sync + fmt::Debug {
    /// What is kept under a key.
    async fn get(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps a value for as long as `ttl`.
    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration);

    /// Whether the caller is the one who fetches. The right ends by itself after `lease`.
    async fn lead(&self, key: &str, lease: Duration) -> bool;

    /// Gives the right back.
    async fn resign(&self, key: &str);
}

/// What is needed to fetch documents: shared by all clones of a service.
pub(crate) struct Fetching {
    fetcher: Arc<Fetcher>,
    documents: Arc<dyn Documents>,
    flights: Mutex<HashMap<String, Weak<Flight>>>,
}

/// One fetch that several requests wait for.
type Flight = OnceCell<Result<Metadata, ClientError>>;

impl Fetching {
    pub(crate) fn new(fetcher: Arc<Fetcher>, documents: Arc<dyn Documents>) -> Self {
        Self { fetcher, documents, flights: Mutex::default() }
    }

    fn flight(&self, key: &str) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, it| it.strong_count() > 0);
        let flight = Arc::new(Flight::new());
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetching")
    }
}

/// The client of an address. Uses what is kept of the document, or fetches it, and keeps a snapshot.
pub(super) async fn find(service: &Service, id: &str) -> Result<Client, ClientError> {
    let url = MetadataUrl::parse(id, service.config().public_url.host()).map_err(|error| {
        ClientError::Refused(format!("The address of the client's document is wrong: {error}."))
    })?;
    let metadata = document(service, &url).await?;
    snapshot(service, &url, metadata).await
}

/// How long a document has to be gone before what its client was given ends: long enough for whoever
/// broke their site by mistake to notice.
pub const GONE_AFTER: TimeDelta = TimeDelta::days(7);

/// How many documents one call of [`recheck`] looks for.
const RECHECKED_AT_ONCE: u64 = 20;

/// Looks whether the documents of connected clients are still there, and revokes what a client was
/// given whose document has been gone for [`GONE_AFTER`]: taking the document away is how a publisher
/// takes back a client. A host that does not answer, or answers anything but 404 or 410, says nothing
/// about that, and what a document says by now counts from the next consent on.
///
/// To be called once a day: first with nothing, then with the client that the last call gave, until
/// one gives none. Since when a document is gone is remembered where documents are kept; if that is
/// lost, the wait begins anew.
pub async fn recheck(service: &Service, after: Option<&ClientId>) -> Result<Rechecked, Failure> {
    let connected = Query::select()
        .expr(Expr::val(1))
        .from(oauth_grants::Entity)
        .and_where(
            Expr::col((oauth_grants::Entity, oauth_grants::Column::ClientId))
                .equals((Entity, Column::Id)),
        )
        .cond_where(grant::live(service.clock().now()))
        .take();
    let mut query = Entity::find()
        .filter(COLUMN.kind.eq(Kind::MetadataDocument))
        .filter(Expr::exists(connected))
        .order_by_asc(Column::Id)
        .limit(RECHECKED_AT_ONCE);
    if let Some(after) = after {
        query = query.filter(COLUMN.id.gt(after.clone()));
    }
    let clients = query.all(service.db()).await?;
    let mut revoked = 0;
    for client in &clients {
        if is_gone_for_good(service, &client.id).await {
            tracing::warn!(client = %client.id, "The document of a client is gone for good");
            revoke::client(service, &client.id, Reason::ClientGone, &RequestInfo::none()).await?;
            revoked += 1;
        }
    }
    Ok(Rechecked { last: clients.last().map(|it| it.id.clone()), revoked })
}

/// What a call of [`recheck`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rechecked {
    /// Where to go on; nothing at the end.
    pub last: Option<ClientId>,
    /// How many clients lost what they were given.
    pub revoked: u64,
}

/// Whether the document is gone now and was at all times that somebody looked, for long enough.
async fn is_gone_for_good(service: &Service, id: &ClientId) -> bool {
    let Ok(url) = MetadataUrl::parse(id.as_str(), service.config().public_url.host()) else {
        return false;
    };
    if take_share(service, &url).await.is_err() {
        return false;
    }
    let (fetching, now) = (service.fetching(), service.clock().now());
    let mark = format!("gone:{}", url.as_str());
    let marked = fetching.documents.get(&mark).await;
    let since = marked.as_deref().and_then(|it| str::from_utf8(it).ok()?.parse().ok());
    match (fetch(fetching, &url).await, since) {
        (Err(Problem::Gone), Some(since)) => since <= now - GONE_AFTER,
        (Err(Problem::Gone), None) => {
            let kept = 2 * GONE_AFTER.to_std().unwrap_or(MOST_FRESH);
            fetching.documents.put(&mark, now.to_rfc3339().into_bytes(), kept).await;
            false
        }
        (Ok(_), Some::<DateTime<Utc>>(_)) => {
            fetching.documents.put(&mark, Vec::new(), LEAST_FRESH).await;
            false
        }
        (Ok(_) | Err(_), _) => false,
    }
}

/// What the document says, as recently as its header demands.
async fn document(service: &Service, url: &MetadataUrl) -> Result<Metadata, ClientError> {
    let fetching = service.fetching();
    let key = url.as_str();
    if let Some(kept) = kept(fetching, key).await {
        return Ok(kept);
    }
    // Requests that come meanwhile share the outcome, good or bad; the next one after that fetches.
    let flight = fetching.flight(key);
    flight
        .get_or_init(|| async {
            // A task of its own: whoever began it may go away while others wait.
            let (service, url) = (service.clone(), url.clone());
            tokio::spawn(async move { lead_or_follow(&service, &url).await }.in_current_span())
                .await
                .unwrap_or(Err(ClientError::Unavailable))
        })
        .await
        .clone()
}

async fn kept(fetching: &Fetching, key: &str) -> Option<Metadata> {
    let value = fetching.documents.get(key).await?;
    serde_json::from_slice(&value).ok()
}

/// Of the instances, one fetches, and the others look for what it has found. When it has found
/// nothing, the next one tries.
async fn lead_or_follow(service: &Service, url: &MetadataUrl) -> Result<Metadata, ClientError> {
    let fetching = service.fetching();
    let key = url.as_str();
    let patience = Instant::now() + FETCH_TIMEOUT;
    while !fetching.documents.lead(key, FETCH_TIMEOUT).await {
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Some(kept) = kept(fetching, key).await {
            return Ok(kept);
        }
        if Instant::now() >= patience {
            return Err(ClientError::Unavailable);
        }
    }
    let fetched = match kept(fetching, key).await {
        Some(kept) => Ok(kept),
        None => fetch_and_keep(service, url).await,
    };
    fetching.documents.resign(key).await;
    fetched
}

/// Takes one from the shares of a host and of all hosts together.
async fn take_share(service: &Service, url: &MetadataUrl) -> Result<(), ClientError> {
    let limiter = service.limiter();
    for (bucket, key) in [(&METADATA_HOST, url.host()), (&METADATA_ALL, "all")] {
        if !limiter.check(bucket, key).await.is_allowed() {
            tracing::warn!(
                bucket = bucket.name,
                host = url.host(),
                "The document of a client is not fetched: too many were"
            );
            return Err(ClientError::Unavailable);
        }
    }
    Ok(())
}

async fn fetch_and_keep(service: &Service, url: &MetadataUrl) -> Result<Metadata, ClientError> {
    take_share(service, url).await?;
    let fetching = service.fetching();
    let (body, fresh) = fetch(fetching, url).await.map_err(|error| {
        tracing::info!(client = url.as_str(), "The document of a client is not usable: {error}");
        match error {
            Problem::Fetch(FetchError::Ours) => ClientError::Unavailable,
            Problem::Gone => {
                ClientError::Refused(format!("The client's document at {} is gone.", url.host()))
            }
            why => ClientError::Refused(format!(
                "The client's document at {} cannot be used: {why}.",
                url.host()
            )),
        }
    })?;
    let metadata = parse(&body, url, &service.config().redirect_schemes).map_err(|why| {
        tracing::info!(client = url.as_str(), "The document of a client is wrong: {why}");
        ClientError::Refused(format!("The client's document at {} is wrong: {why}.", url.host()))
    })?;
    if let Ok(value) = serde_json::to_vec(&metadata) {
        fetching.documents.put(url.as_str(), value, fresh).await;
    }
    Ok(metadata)
}

/// The document and how long it may be kept; otherwise what is wrong with it.
async fn fetch(fetching: &Fetching, url: &MetadataUrl) -> Result<(Vec<u8>, Duration), Problem> {
    let answer = fetching.fetcher.get(url.as_str(), BOUNDS).await.map_err(|error| match error {
        FetchError::Status(StatusCode::NOT_FOUND | StatusCode::GONE) => Problem::Gone,
        error => Problem::Fetch(error),
    })?;
    if !is_json(answer.headers()) {
        return Err(Problem::NotJson);
    }
    let fresh = fresh_for(answer.headers());
    Ok((answer.body().await?, fresh))
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// Its host says that there is none (404 or 410).
    #[error("it is gone")]
    Gone,
    #[error("the answer is not JSON")]
    NotJson,
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|it| it.to_str()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// How long a document may be kept, by `Cache-Control`, within our own bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let mut fresh = USUALLY_FRESH;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => return LEAST_FRESH,
                Some(("max-age", seconds)) => {
                    // A number too large to read is a long time all the same.
                    let digits = seconds.trim_matches('"');
                    fresh = match digits.parse() {
                        Ok(seconds) => Duration::from_secs(seconds),
                        Err(_) if digits.bytes().all(|it| it.is_ascii_digit()) => MOST_FRESH,
                        Err(_) => LEAST_FRESH,
                    };
                }
                _ => {}
            }
        }
    }
    fresh.clamp(LEAST_FRESH, MOST_FRESH)
}

/// What is kept of a document, if it is one that we can serve.
fn parse(body: &[u8], url: &MetadataUrl, schemes: &Schemes) -> Result<Metadata, &'static str> {
    let object = strict_json::object(body).ok_or("it is not a JSON object")?;
    if object.get("client_id").and_then(Value::as_str) != Some(url.as_str()) {
        return Err("its client_id is not its own address");
    }
    let given = |member: &str| strict_json::optional(&object, member);
    if given("client_secret").is_some() || given("client_secret_expires_at").is_some() {
        return Err("a public document cannot hold a secret");
    }
    if holds_private_key(&object) {
        return Err("a public document cannot hold a private key");
    }
    if !can_do_without_proof(&object) {
        return Err("its token_endpoint_auth_method is not supported here, only none is");
    }
    let has = |member: &str, needed: &str| match given(member) {
        None => true,
        Some(Value::Array(items)) => items.iter().any(|it| it == needed),
        Some(_) => false,
    };
    if !has("response_types", "code") {
        return Err("its response_types do not hold code");
    }
    if !has("grant_types", "authorization_code") {
        return Err("its grant_types do not hold authorization_code");
    }
    let redirect_uris = match object.get("redirect_uris") {
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => items
            .iter()
            .filter_map(Value::as_str)
            // The document serves other servers too: what is not allowed here is left out.
            .filter_map(|it| RedirectUri::parse(it, schemes).ok())
            .collect(),
        _ => vec![],
    };
    if redirect_uris.is_empty() {
        return Err("it has no redirect_uris that are allowed here");
    }
    let name = match given("client_name") {
        Some(Value::String(name)) => name.as_str(),
        _ => url.host(),
    };
    Ok(Metadata {
        client_name: DisplayName::sanitize(name),
        redirect_uris,
        method: Method::None,
        may_refresh: has("grant_types", "refresh_token"),
        scope: given("scope")
            .and_then(Value::as_str)
            .map(Scopes::known)
            .filter(|it| !it.is_empty()),
    })
}

/// Whether the client can come without a proof of who it is. One that prefers another way but lists
/// `none` among those it can do is met there: ChatGPT is such a client.
fn can_do_without_proof(object: &Map<String, Value>) -> bool {
    let lists_none = ["token_endpoint_auth_methods_supported", "token_endpoint_auth_methods"]
        .iter()
        .filter_map(|it| object.get(*it).and_then(Value::as_array))
        .any(|items| items.iter().any(|it| it == "none"));
    match strict_json::optional(object, "token_endpoint_auth_method") {
        None => true,
        Some(Value::String(method)) => match method.as_str() {
            "none" => true,
            // A secret would have to be in the public document.
            "client_secret_basic" | "client_secret_post" | "client_secret_jwt" => false,
            _ => lists_none,
        },
        Some(_) => false,
    }
}

/// Keeps what the document says now, unless that is what is kept already.
async fn snapshot(
    service: &Service,
    url: &MetadataUrl,
    metadata: Metadata,
) -> Result<Client, ClientError> {
    let now = service.clock().now();
    let row = client::row(service.db(), url.as_str()).await?;
    if row.as_ref().is_some_and(|it| it.disabled_at.is_some()) {
        return Err(ClientError::Unknown);
    }
    let hash = metadata.hash();
    let ends = row.as_ref().and_then(|it| it.expires_at);
    let still_right = row.as_ref().is_some_and(|it| it.metadata_hash.as_bytes() == hash)
        && ends.is_some_and(|it| it > now + UNUSED_LIFETIME / 2);
    let id = ClientId(url.as_str().to_owned());
    if !still_right {
        let kept_until = Ord::max(ends.unwrap_or(now), now + UNUSED_LIFETIME);
        let row = ActiveModel {
            id: Set(id.clone()),
            kind: Set(Kind::MetadataDocument),
            metadata: Set(serde_json::to_value(&metadata).map_err(|error| {
                Failure::Internal(anyhow::Error::new(error).context("could not write metadata"))
            })?),
            metadata_hash: Set(entity::Digest::new(hash)),
            secret_hash: Set(None),
            created_at: Set(now),
            fetched_at: Set(Some(now)),
            last_used_at: Set(None),
            expires_at: Set(Some(kept_until)),
            disabled_at: Set(None),
        };
        let newer = OnConflict::column(Column::Id)
            .update_columns([
                Column::Metadata,
                Column::MetadataHash,
                Column::FetchedAt,
                Column::ExpiresAt,
            ])
            .to_owned();
        Entity::insert(row)
            .on_conflict(newer)
            .exec_without_returning(service.db())
            .await
            .map_err(Failure::from)?;
    }
    let kind = ClientKind::MetadataDocument { host: url.host().to_owned() };
    Ok(client::client(id, kind, metadata, None))
}

/// How many documents this process keeps, of at most [`MAX_DOCUMENT_BYTES`] each.
const MAX_KEPT: usize = 2_000;

/// Each with its end.
type Kept = HashMap<String, (DateTime<Utc>, Vec<u8>)>;

/// Documents of this process alone.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    leaders: Mutex<HashMap<String, Instant>>,
}

impl InProcess {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default(), leaders: Mutex::default() }
    }
}

#[async_trait]
impl Documents for InProcess {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, value) = kept.get(key)?;
        (*end > self.clock.now()).then(|| value.clone())
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (end, _)| *end > now);
        }
        // Anything can be fetched again, so a full store begins anew.
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key.to_owned(), (now + ttl, value));
    }

    async fn lead(&self, key: &str, lease: Duration) -> bool {
        let now = Instant::now();
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        leaders.retain(|_, end| *end > now);
        if leaders.contains_key(key) {
            return false;
        }
        leaders.insert(key.to_owned(), now + lease);
        true
    }

    async fn resign(&self, key: &str) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        leaders.remove(key);
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}
