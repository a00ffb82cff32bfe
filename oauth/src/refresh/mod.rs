//! Refresh tokens: each is exchanged for its successor (rotation), and a replayed one revokes its
//! grant.
//!
//! A response can be lost, and several processes can share one token, so a token that is presented
//! twice has not always been stolen. An exchange is one transaction under a lock on the grant's
//! row, and one of four cases ([`case::decide`]):
//!
//! | case | when | what happens |
//! |---|---|---|
//! | A, rotation | the newest token | it gets a successor |
//! | B, grace | exchanged within [`GRACE`] | returns the same newest token again, with a new access token |
//! | C, recovery | exchanged longer ago, but within [`RECOVERY_WINDOW`], and no later token of the grant was ever exchanged | a new successor replaces the lost one; at most once per [`RECOVERY_WINDOW`] |
//! | D, replay | anything else | this grant is revoked; other grants of the user are not |
//!
//! Case B needs the newest token in plain text, which is not stored. So each successor is stored
//! encrypted with a key derived from its predecessor: only a client that presents the predecessor
//! can obtain it, and the database alone does not reveal it. Instances need no shared secret for
//! this.
//!
//! **Case C deviates from the letter** of RFC 9700, which would treat it as a replay: losing a
//! response for longer than [`GRACE`] is far more common than theft (a laptop that is closed at the
//! wrong moment), and an attacker gains nothing by it: afterwards one of the two tokens is dead, so
//! the next exchange by the other party still ends the grant.
//!
//! **A grant that is bound to a key** ([`crate::dpop`]) additionally needs a proof of this key in the
//! cases A to C; without one, the request is refused and changes nothing. There is one exception: if the
//! token was issued before the grant was bound, two parties have it, and this grant is revoked as in
//! case D. Otherwise an attacker could bind a copied bearer token to another key, and the refusal of the
//! real client would be the only trace of it.
//!
//! The access policy is rechecked before the exchange, outside of any lock.

mod access_policy;
mod case;
mod error;
mod exchange;
mod successor;
#[cfg(test)]
mod tests;
mod tokens;

pub use self::{
    access_policy::{POLICY_RECHECK_AFTER, POLICY_RESULT_VALID_FOR},
    case::{GRACE, RECOVERY_WINDOW},
    error::RefreshError,
    exchange::{Rotation, rotate},
};
