//! turbomcp with one trivial tool, without authentication.

use turbomcp::{
    http::{HttpConfig, ServeHttp},
    prelude::*,
};

#[derive(Clone)]
struct Peer;

#[server(name = "peer", version = "0.1.0")]
impl Peer {
    #[tool(description = "Returns its argument")]
    async fn echo(&self, text: String) -> McpResult<String> {
        Ok(text)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Ok(Peer.into_server().run_http(peers::address()?, HttpConfig::new()).await?)
}
