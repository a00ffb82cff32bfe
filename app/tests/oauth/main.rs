//! The flow of a client through `oauth`, from its first request to the tokens, without the HTTP
//! server: against a fake GitHub and fake hosts of client metadata documents.

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
