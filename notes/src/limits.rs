//! The rate limits of notes, besides those of the base.

use app::{Bucket, per_minute};

/// All rate limits.
pub(crate) const ALL: &[Bucket] = &[IMPORT];

/// Imports of documents from a URL, per user.
pub(crate) const IMPORT: Bucket = per_minute("import", 10);
