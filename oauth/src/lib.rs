//! The OAuth 2.1 authorization server, without HTTP.
//!
//! The modules, in the order of the authorization flow:
//!
//! | step | modules |
//! |---|---|
//! | client identification and registration | [`client`], [`register`], [`cimd`] |
//! | authorization request | [`authorize`] |
//! | user consent | [`consent`] |
//! | identity providers, login and access policy | [`login`] |
//! | codes, grants and tokens | [`code`], [`grant`], [`refresh`], [`access_token`], [`signing_keys`], [`dpop`] |
//! | token requests without a user at a browser | [`service_client`], [`client_credentials`], [`id_jag`] |
//! | revocation and clean-up | [`account`], [`revoke`], [`revoked`], [`sweep`] |
//!
//! [`redirect_uri`], [`pkce`], [`scope`], [`resource`], [`metadata_url`] and [`display_name`] are
//! validation rules without IO. [`token_format`] defines the format of codes, refresh tokens and
//! client credentials. [`audit`] writes the audit log. [`pending`] and [`limits`] are the stores
//! that instances share, and [`data_keys`] encrypts the secrets that are stored for users. [`calls`]
//! and [`security`] are what users see of their apps and of the audit log.

pub mod access;
pub mod access_token;
pub mod account;
pub mod audit;
pub mod authorize;
mod cached;
pub mod calls;
pub mod cimd;
pub mod client;
pub mod client_credentials;
pub mod code;
pub mod consent;
pub mod data_keys;
mod direct_issue;
pub mod display_name;
pub mod dpop;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod grant;
pub mod id_jag;
mod ids;
mod jwt;
mod key_cache;
mod lifetimes;
pub mod limits;
pub mod listing;
pub mod login;
pub mod metadata_url;
pub mod pending;
pub mod pkce;
mod reason;
mod record;
pub mod redirect_uri;
pub mod redis;
pub mod refresh;
pub mod register;
mod replay;
pub mod resource;
pub mod revoke;
pub mod revoked;
pub mod scope;
pub mod security;
pub mod server;
pub mod service_client;
pub mod signing_keys;
mod strict_json;
pub mod sweep;
pub mod token_format;
pub mod used_ids;

pub use self::server::{Dependents, EndedAccess, Parts, Removed, Server, Settings, Stores};
