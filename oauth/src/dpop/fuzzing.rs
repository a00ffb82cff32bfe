//! What the fuzz targets call ([`crate::fuzzing`]).

use super::proof::Proof;
pub(crate) use super::target::is_target;

/// Returns whether the form of a proof is valid, except for its signature.
pub(crate) fn accepts_form(text: &str) -> bool {
    Proof::read(text).is_ok()
}
