//! Pages for people with a browser.

pub(crate) mod account;
pub(crate) mod authorize;
pub(crate) mod consent;
pub(crate) mod home;
pub(crate) mod page;
pub(crate) mod reference;
pub(crate) mod sign_in;
