//! HTTP without endpoints: what all endpoints of this crate are built on.

pub(crate) mod body;
pub(crate) mod cookies;
pub(crate) mod cors;
pub(crate) mod error;
pub(crate) mod observe;
pub(crate) mod origin;
pub(crate) mod server;
pub(crate) mod visitor;
