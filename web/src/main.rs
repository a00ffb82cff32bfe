//! `notes-mcp`: an MCP server for notes. Without arguments it serves; see `--help`.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    platform::ending::main(commands::run())
}
