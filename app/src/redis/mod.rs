//! Diagnostics of Redis for operators: the permissions of this program, and the use of memory.

mod rights;
pub mod usage;

pub use self::rights::{check_rights, commands};
