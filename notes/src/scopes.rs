//! The scopes of access tokens.

use app::Scope;

/// Allows reading notes.
pub const READ: &str = "notes:read";

/// Allows creating, changing and deleting notes.
pub const WRITE: &str = "notes:write";

/// All scopes.
pub(crate) const ALL: &[Scope] = &[
    Scope::reads(READ, "Read your notes"),
    Scope::writes(WRITE, "Create, change and delete your notes"),
];
