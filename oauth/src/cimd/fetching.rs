//! Dependencies of fetching client metadata documents, and the fetches in progress.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use platform::fetch::Fetcher;
use tokio::sync::OnceCell;

use super::{known::KnownDocuments, store::Documents};
use crate::{
    client::{ClientError, Metadata},
    redirect_uri::Schemes,
};

/// Dependencies of fetching documents, shared by all clones of a server.
pub(crate) struct Fetching {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) documents: Arc<dyn Documents>,
    /// Documents to use while their hosts cannot be reached.
    pub(super) built_in: KnownDocuments,
    pub(super) flights: Mutex<HashMap<String, Weak<Flight>>>,
}

impl Fetching {
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        documents: Arc<dyn Documents>,
        own_host: &str,
        schemes: &Schemes,
    ) -> Self {
        let built_in = KnownDocuments::built_in(own_host, schemes);
        Self { fetcher, documents, built_in, flights: Mutex::default() }
    }

    pub(super) fn flight(&self, key: &str) -> Arc<Flight> {
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

/// The metadata that is used for a client.
#[derive(Clone)]
pub(super) enum Found {
    /// The document: configured, or fetched recently.
    Document(Metadata),
    /// The snapshot of an earlier document, because a newer one could not be fetched.
    Snapshot(Metadata),
}

/// One fetch that several requests wait for.
pub(super) type Flight = OnceCell<Result<Found, ClientError>>;
