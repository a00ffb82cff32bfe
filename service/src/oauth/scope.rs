//! What a token may do.

/// Read notes.
pub const NOTES_READ: &str = "notes:read";

/// Create, change and delete notes.
pub const NOTES_WRITE: &str = "notes:write";

/// Every scope there is, in the order in which a consent page shows them.
pub const ALL: &[&str] = &[NOTES_READ, NOTES_WRITE];

/// What a scope allows, in words for the person who grants it.
pub fn describe(scope: &str) -> Option<&'static str> {
    match scope {
        NOTES_READ => Some("Read your notes"),
        NOTES_WRITE => Some("Create, change and delete your notes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_can_be_explained() {
        assert!(ALL.iter().all(|it| describe(it).is_some()));
    }
}
