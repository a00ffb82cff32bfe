//! The web server: HTTP endpoints that call `app` or the MCP engine.
//!
//! [`run`] runs an instance. An instance holds no state that another instance needs: it has only open
//! sockets and caches in memory. Start reading at `routes`, the list of all paths.
//!
//! Layers, each of which imports only those before it: `http` (without endpoints), `instance`,
//! `oauth`, `api`, `pages` and `mcp`, `routes`, `lifecycle`, `commands`.

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

use app::Product;

pub use self::{api::metrics::serve as serve_metrics, lifecycle::run};

/// Runs the web program of a product: reads the command line and the environment, and executes the
/// command. The `main` function of a program only calls this.
pub fn main(product: Product) -> ExitCode {
    platform::ending::main(commands::run(product))
}
