//! What a service is given from outside: the clock, the bus, and the stores that instances share.

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock,
    oauth::{
        cimd::{self, Documents, Resolver, SystemResolver},
        limits::{self, Limiter},
        pending::{self, PendingStore},
    },
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
    /// What turns the hosts of such documents into addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Certificates in PEM to trust for such documents instead of those of the system.
    pub roots: Option<Arc<[u8]>>,
}

impl Dependencies {
    /// Stores in this process, and the network as it is.
    pub fn in_process(clock: Arc<dyn Clock>, bus: Arc<dyn mcp::Bus>) -> Self {
        Self {
            pending: Arc::new(pending::InProcess::new(Arc::clone(&clock))),
            limiter: Arc::new(limits::InProcess::new(Arc::clone(&clock))),
            documents: Arc::new(cimd::InProcess::new(Arc::clone(&clock))),
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
