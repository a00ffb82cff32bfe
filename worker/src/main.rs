//! `notes-mcp-worker`: runs what is not a request, until it is told to end. See `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main()
}
