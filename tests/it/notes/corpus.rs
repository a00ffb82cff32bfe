//! Inputs that the fuzz targets of notes have found.

use tests::fuzzing;

#[test]
fn the_kept_inputs_violate_no_property() {
    fuzzing::replay(notes::fuzzing::TARGETS);
}
