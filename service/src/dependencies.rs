//! What a service is given from outside: the clock, the bus, and the stores that instances share.

use std::{fmt, sync::Arc};

use mcp::store::redis::Connection;
use platform::clock::Clock;

use crate::{
    config::Config,
    metrics,
    oauth::{
        cimd::{self, Documents, Resolver, SystemResolver},
        limits::{self, Limiter},
        pending::{self, PendingStore},
    },
    redis,
};

/// Everything that a [`Service`](crate::Service) does not make itself. Instances that are given
/// clones of one share its stores.
#[derive(Clone)]
pub struct Dependencies {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where changes are told.
    pub bus: Arc<dyn mcp::Bus>,
    /// Where half-done sign-ins wait.
    pub pending: Arc<dyn PendingStore>,
    /// What counts how often somebody does something.
    pub limiter: Arc<dyn Limiter>,
    /// Where documents of clients are kept.
    pub documents: Arc<dyn Documents>,
    /// The connection to Redis, if there is one.
    pub redis: Option<Connection>,
    /// What turns the hosts of such documents into addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Certificates in PEM to trust for such documents instead of those of the system.
    pub roots: Option<Arc<[u8]>>,
}

impl Dependencies {
    /// What the configuration asks for: everything that instances share in Redis, over one
    /// connection, or all of it in this process. The first part is for the engine.
    pub fn configured(
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<(mcp::Stores, Self), mcp::StoreError> {
        let Some(redis) = &config.redis else {
            let stores = metrics::stores(mcp::Stores::in_memory(config.session_ttl), false);
            let given = Self::in_process(clock, Arc::clone(&stores.bus));
            return Ok((stores, given));
        };
        let connection = Connection::new(redis.url.expose(), &redis.prefix)?;
        let stores = mcp::Stores::in_redis(&connection, config.session_ttl)?;
        let stores = metrics::stores(stores, true);
        let given = Self::in_redis(clock, Arc::clone(&stores.bus), &connection);
        Ok((stores, given))
    }

    /// Stores in Redis, and the network as it is.
    pub fn in_redis(
        clock: Arc<dyn Clock>,
        bus: Arc<dyn mcp::Bus>,
        connection: &Connection,
    ) -> Self {
        Self {
            pending: Arc::new(redis::Pending::new(connection.clone(), Arc::clone(&clock))),
            limiter: Arc::new(redis::Limits::new(connection.clone(), Arc::clone(&clock))),
            documents: Arc::new(redis::KeptDocuments::new(connection.clone(), Arc::clone(&clock))),
            redis: Some(connection.clone()),
            ..Self::in_process(clock, bus)
        }
    }

    /// Stores in this process, and the network as it is.
    pub fn in_process(clock: Arc<dyn Clock>, bus: Arc<dyn mcp::Bus>) -> Self {
        Self {
            pending: Arc::new(pending::InProcess::new(Arc::clone(&clock))),
            limiter: Arc::new(limits::InProcess::new(Arc::clone(&clock))),
            documents: Arc::new(cimd::InProcess::new(Arc::clone(&clock))),
            redis: None,
            resolver: Arc::new(SystemResolver),
            roots: None,
            clock,
            bus,
        }
    }
}

impl fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dependencies")
    }
}
