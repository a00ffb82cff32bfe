//! tower-mcp with one trivial tool, without authentication.

use peers::EchoInput;
use tower_mcp::{CallToolResult, McpRouter, ToolBuilder, transport::http::HttpTransport};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let echo = ToolBuilder::new("echo")
        .description("Returns its argument")
        .handler(|input: EchoInput| async move { Ok(CallToolResult::text(input.text)) })
        .build();
    let router = McpRouter::new().server_info("peer", "0.1.0").tool(echo);
    peers::serve(HttpTransport::new(router).into_router_at("/mcp")).await
}
