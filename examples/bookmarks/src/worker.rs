//! The worker of the product: runs jobs and schedules until it is stopped. See `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(bookmarks::product())
}
