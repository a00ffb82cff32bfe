//! The environment variables of the product.

use app::{Reader, config::Variable};

use crate::store::quota::Amount;

/// The variables, in the order of `.env.example`.
pub(crate) const VARIABLES: &[Variable] = &[NOTES_PER_PERSON, MEGABYTES_PER_PERSON];

/// The maximum number of notes per user.
const NOTES_PER_PERSON: Variable = Variable {
    name: "NOTES_PER_PERSON",
    meaning: "The maximum number of notes per user, up to 10000000. A user who exceeds a lowered \
              limit can still read, export and delete notes. The account page shows both limits.",
    default: "50000",
};

/// The maximum size of all notes of a user.
const MEGABYTES_PER_PERSON: Variable = Variable {
    name: "MEGABYTES_PER_PERSON",
    meaning: "The maximum size of the titles, tags and texts of all notes of a user, in \
              megabytes, up to 1000000. In the database, with their index, they take about three \
              times as much.",
    default: "500",
};

/// Reads the quota of notes for each user.
pub(crate) fn quota(reader: &mut Reader<'_>) -> Amount {
    let notes = reader.number(NOTES_PER_PERSON, 1, 10_000_000);
    let megabytes = reader.number(MEGABYTES_PER_PERSON, 1, 1_000_000);
    Amount::new(notes.unwrap_or(50_000), megabytes.unwrap_or(500))
}
