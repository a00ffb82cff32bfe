//! What an operator asks about Redis: whether this program may use it, and who fills it.

mod rights;
pub mod usage;

pub use self::rights::{check_rights, commands};
