//! The dependencies of an app: the clock, the bus, and the stores that instances share.

use std::{fmt, sync::Arc};

use mcp::{ContentKeys, store::redis::Connection};
use oauth::{
    Stores,
    cimd::{Resolver, SystemResolver},
};
use platform::clock::Clock;

use crate::{config::Config, metrics};

/// Everything that an [`App`](crate::App) does not create itself. Instances with clones of one
/// value share its stores.
#[derive(Clone)]
pub struct Dependencies {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Publishes changes to other instances.
    pub bus: Arc<dyn mcp::Bus>,
    /// The stores of the authorization server.
    pub oauth: Stores,
    /// The connection to Redis, if there is one.
    pub redis: Option<Connection>,
    /// Resolves the host names of documents whose URL comes from a request.
    pub resolver: Arc<dyn Resolver>,
    /// Root certificates in PEM that are trusted when such documents are fetched. `None`: those of
    /// the system.
    pub roots: Option<Arc<[u8]>>,
}

impl Dependencies {
    /// Creates the stores that the configuration selects: in Redis, over one connection, or in this
    /// process. The first value of the result is for the engine.
    pub fn configured(
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<(mcp::Stores, Self), mcp::StoreError> {
        let Some(redis) = &config.redis else {
            let stores = mcp::Stores::in_memory(config.session_ttl);
            let dependencies = Self::in_process(clock, Arc::clone(&stores.bus));
            return Ok((stores, dependencies));
        };
        let connection = Connection::new(redis.url.expose(), &redis.prefix)?
            .with_observer(metrics::record_round_trip);
        let keys = config.content_keys();
        let stores = mcp::Stores::in_redis(&connection, config.session_ttl, keys.clone())?;
        let dependencies = Self::in_redis(clock, Arc::clone(&stores.bus), &connection, keys);
        Ok((stores, dependencies))
    }

    /// Returns stores in Redis, with the resolver of the system. `keys`: see
    /// [`Config::content_keys`].
    pub fn in_redis(
        clock: Arc<dyn Clock>,
        bus: Arc<dyn mcp::Bus>,
        connection: &Connection,
        keys: ContentKeys,
    ) -> Self {
        Self {
            oauth: Stores::in_redis(connection, &clock, keys),
            redis: Some(connection.clone()),
            ..Self::in_process(clock, bus)
        }
    }

    /// Returns stores in this process, with the resolver of the system.
    pub fn in_process(clock: Arc<dyn Clock>, bus: Arc<dyn mcp::Bus>) -> Self {
        Self {
            oauth: Stores::in_process(&clock),
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
