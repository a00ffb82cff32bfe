//! What a command tells the person at the terminal beside its result.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Tells the person at the terminal something that is not the result: on stderr. There is nobody to
/// tell when that fails.
pub(super) fn say(text: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{text}"));
}
