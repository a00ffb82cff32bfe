//! `notes-mcp`: an MCP server for notes. Without arguments it serves; see `--help`.

mod commands;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    commands::run().await
}
