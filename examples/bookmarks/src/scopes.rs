//! The scopes of access tokens.

use app::Scope;

/// Allows reading bookmarks.
pub(crate) const READ: &str = "bookmarks:read";

/// Allows adding, changing and deleting bookmarks.
pub(crate) const WRITE: &str = "bookmarks:write";

/// All scopes.
pub(crate) const ALL: &[Scope] = &[
    Scope::reads(READ, "Read your bookmarks"),
    Scope::writes(WRITE, "Add, change and delete your bookmarks"),
];
