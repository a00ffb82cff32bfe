//! What a row is: one module per table, an id newtype for each kind of id, and finders that begin
//! with the owner. No rules live here; what may be done with a row is decided in `service`.

pub mod ids;
pub mod notes;
pub mod oauth_signing_keys;
pub mod users;

pub use ids::{Kid, NoteId};
