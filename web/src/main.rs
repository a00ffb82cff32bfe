//! `notes-mcp`: an MCP server for notes. Without arguments it serves; see `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    web::main()
}
