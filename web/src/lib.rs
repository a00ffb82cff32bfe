//! HTTP: a request comes in, a verb of `service` or of the MCP engine is called, an answer goes
//! out.
//!
//! [`run`] is a whole instance. It keeps nothing that another instance would miss: what it holds
//! in memory is open sockets and caches. Start reading at `routes`, the list of every path.

mod api;
mod commands;
mod http;
mod instance;
mod lifecycle;
mod mcp;
mod oauth;
mod pages;
mod routes;

use std::process::ExitCode;

pub use self::{api::metrics::serve as serve_metrics, lifecycle::run};

/// The program: reads the command line and the environment, and does what they say. `main` of a program
/// has nothing else to call.
pub fn main() -> ExitCode {
    service::ending::main(commands::run())
}
