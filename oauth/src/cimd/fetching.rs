//! Dependencies of fetching client metadata documents, and the lookups in progress.

use std::{fmt, sync::Arc, time::Duration};

use moka::future::Cache;
use platform::fetch::Fetcher;

use super::{known::KnownDocuments, store::Documents};
use crate::{client::Metadata, redirect_uri::Schemes};

/// The maximum number of lookups whose result concurrent requests share. Above it, requests may
/// look up the same document more than once.
const MAX_LOOKUPS: u64 = 2_000;

/// Dependencies of fetching documents, shared by all clones of a server.
pub(crate) struct Fetching {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) documents: Arc<dyn Documents>,
    /// Documents to use while their hosts cannot be reached.
    pub(super) built_in: KnownDocuments,
    /// The lookups of this instance, by URL. A result expires immediately: only requests that wait
    /// for the same lookup share it. [`Documents`] is what keeps documents.
    pub(super) lookups: Cache<String, Found>,
}

impl Fetching {
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        documents: Arc<dyn Documents>,
        own_host: &str,
        schemes: &Schemes,
    ) -> Self {
        let built_in = KnownDocuments::built_in(own_host, schemes);
        let lookups =
            Cache::builder().max_capacity(MAX_LOOKUPS).time_to_live(Duration::ZERO).build();
        Self { fetcher, documents, built_in, lookups }
    }
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetching")
    }
}

/// The metadata that is used for a client.
#[derive(Clone)]
pub(super) enum Found {
    /// The document: configured, or fetched recently.
    Document(Metadata),
    /// The snapshot of an earlier document, because a newer one could not be fetched.
    Snapshot(Metadata),
}
