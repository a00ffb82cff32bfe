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
//! | what the client gets | [`access_token`], [`signing_keys`] |
//!
//! [`redirect_uri`], [`pkce`], [`scope`], [`resource`], [`metadata_url`], [`special_use`] and
//! [`display_name`] are rules without any IO. [`pending`] and [`limits`] are the stores that
//! instances share.

pub mod access_token;
pub mod audit;
pub mod display_name;
pub mod grant;
pub mod metadata_url;
pub mod pkce;
pub mod redirect_uri;
pub mod resource;
pub mod revoked;
pub mod scope;
pub mod signing_keys;
pub mod special_use;
pub mod token_format;
