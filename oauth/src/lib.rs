//! OAuth rules without HTTP.
//!
//! The flow, in the order in which a client walks it:
//!
//! | step | module |
//! |---|---|
//! | who the client is | [`client`], [`register`], [`cimd`] |
//! | what it asks for | [`authorize`] |
//! | what the person says | [`consent`] |
//! | who the person is, and whether they may come in | [`github`], [`gate`], [`sign_in`] |
//! | what the client gets | [`code`], [`grant`], [`refresh`], [`access_token`], [`signing_keys`] |
//! | how it ends | [`account`], [`revoke`], [`revoked`], [`sweep`] |
//!
//! [`redirect_uri`], [`pkce`], [`scope`], [`resource`], [`metadata_url`] and
//! [`display_name`] are rules without any IO, and [`token_format`] is what secrets look like.
//! [`audit`] writes down what happened. [`pending`] and [`limits`] are the stores that
//! instances share, [`data_keys`] seals what is kept for a person.

pub mod access;
pub mod access_token;
pub mod account;
pub mod allow_list;
pub mod audit;
pub mod authorize;
pub mod cimd;
pub mod client;
pub mod code;
pub mod consent;
pub mod data_keys;
pub mod display_name;
pub mod gate;
pub mod github;
pub mod grant;
mod ids;
mod kept_token;
mod lifetimes;
pub mod limits;
pub mod listing;
pub mod metadata_url;
pub mod pending;
pub mod pkce;
mod reason;
mod record;
pub mod redirect_uri;
pub mod redis;
pub mod refresh;
pub mod register;
pub mod resource;
pub mod revoke;
pub mod revoked;
pub mod scope;
pub mod server;
pub mod sign_in;
mod sign_in_outcome;
mod sign_in_with;
pub mod signing_keys;
mod strict_json;
pub mod sweep;
pub mod token_format;
pub mod users;

pub use self::server::{Dependents, EndedAccess, Parts, Removed, Server, Settings, Stores};
