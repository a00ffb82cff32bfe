//! turbomcp with its own HTTP transport, without authentication. It answers with JSON, and serves both eras at once.

use turbomcp::{
    http::{HttpConfig, serve_http},
    prelude::*,
};

#[derive(Clone)]
struct Peer;

#[server(name = "echo", version = "0.1.0")]
impl Peer {
    /// Returns its argument.
    #[tool(description = "Returns its argument")]
    async fn echo(&self, text: String) -> String {
        text
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = HttpConfig::new();
    Ok(serve_http(peers::address()?, Peer.into_server().build(), config).await?)
}
