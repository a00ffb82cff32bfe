//! The web server of the product. Without arguments it serves; see `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    web::main(bookmarks::product())
}
