//! Pages for browsers.
//!
//! | opened by | page |
//! |---|---|
//! | a redirect from a client | [`authorize`], [`consent`], [`sign_in`] |
//! | the user | [`home`], [`account`], [`signed_in`], [`mod@reference`] |

pub(crate) mod account;
pub(crate) mod authorize;
pub(crate) mod consent;
mod error_page;
mod fields;
mod frame;
mod headers;
pub(crate) mod home;
pub(crate) mod not_found;
pub(crate) mod paged;
pub(crate) mod reference;
mod respond;
pub(crate) mod sign_in;
pub(crate) mod signed_in;
mod visit;
mod words;
