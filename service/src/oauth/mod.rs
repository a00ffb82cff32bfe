//! OAuth rules without HTTP: what a token may do, which keys sign, and what an access token is.

pub mod access_token;
pub mod scope;
pub mod signing_keys;
