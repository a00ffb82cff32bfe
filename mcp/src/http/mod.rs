//! The HTTP edge of an MCP server, independent of a web framework: on the types of the crate `http`.

mod bearer;
mod origin;

pub use self::{
    bearer::{Challenge, TokenProblem, bearer, insufficient_scope},
    origin::{ForeignRequest, NotAnOrigin, OriginPolicy},
};
