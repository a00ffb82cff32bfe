//! The HTTP edge of an MCP server, independent of a web framework: on the types of the crate `http`.
//!
//! [`Endpoint`] is a complete endpoint. The other items are its parts, for servers that add their
//! own checks between them.

mod bearer;
mod body;
mod endpoint;
mod origin;
mod response;

pub use self::{
    bearer::{Challenge, Scheme, TokenProblem, bearer, dpop, insufficient_scope},
    body::ResponseBody,
    endpoint::{Access, Endpoint, TokenError, TokenVerifier},
    origin::{ForeignRequest, NotAnOrigin, OriginPolicy},
    response::response,
};
