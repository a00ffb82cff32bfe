//! The way of a client through `oauth`, from its first request to the code, without HTTP of
//! our own: against a GitHub and against hosts of metadata documents that the tests run themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod authorize;
mod closed;
mod consent;
mod documents;
mod github;
mod host;
mod register;
mod sign_in;
mod tokens;
mod world;
