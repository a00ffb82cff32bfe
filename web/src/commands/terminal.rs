//! Messages to the person at the terminal.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Writes a message that is not the result of a command to stderr. Errors are ignored: there is
/// nowhere to report them.
pub(super) fn say(text: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{text}"));
}
