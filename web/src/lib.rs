//! HTTP: a request comes in, a verb of `service` or of the MCP engine is called, an answer goes
//! out.
//!
//! [`run`] is a whole instance. It keeps nothing that another instance would miss: what it holds
//! in memory is open sockets and caches. Start reading at `routes`, the list of every path.

mod api;
mod http;
mod instance;
mod mcp;
mod oauth;
mod pages;
mod routes;
mod run;

pub use self::{api::metrics::serve as serve_metrics, run::run};
