//! The terminal from which a program was started.

use std::{
    fmt,
    io::{self, Write as _},
};

/// The exit status if the arguments or the environment are invalid, so that retrying does not help:
/// `EX_USAGE` of sysexits.h.
pub const EXIT_USAGE: u8 = 64;

/// Prints a message that is not the result of the command, to standard error. A failure to print is
/// ignored: there is no other place to report it.
pub fn say(text: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{text}"));
}
