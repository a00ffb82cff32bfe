//! tower-mcp with its own HTTP transport, without authentication. It answers with JSON, and serves both eras at once.

use peers::EchoInput;
use tower_mcp::{BoxError, CallToolResult, HttpTransport, McpRouter, ToolBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let echo = ToolBuilder::new("echo")
        .description("Returns its argument")
        .handler(|input: EchoInput| async move { Ok(CallToolResult::text(input.text)) })
        .build();
    let router = McpRouter::new().server_info("echo", "0.1.0").tool(echo);
    let transport = HttpTransport::new(router);
    Ok(peers::serve(transport.into_router_at("/mcp")).await?)
}
