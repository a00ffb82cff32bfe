//! Properties that hold for any input: the fuzz targets of notes. `fuzz` searches for an input that
//! violates one, and `tests/it/notes/corpus.rs` runs the inputs that are kept in `fuzz/corpus`.

use mcp::fuzzing::Target;

use crate::{store, transfer};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    ("front_matter", transfer::fuzzing::front_matter),
    ("import_any", transfer::fuzzing::any),
    ("import_json", transfer::fuzzing::json),
    ("import_markdown", transfer::fuzzing::markdown),
    ("note_cursor", store::fuzzing::note_cursor),
    ("search_query", store::fuzzing::search_query),
];
