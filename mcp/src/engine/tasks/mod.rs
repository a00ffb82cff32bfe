//! Calls that are jobs: made by the instance that receives the call, run by a worker, told to the
//! client wherever it is.
//!
//! | what the client can do | what it gets | where |
//! |---|---|---|
//! | tasks, of either era | a handle at once, and then what it asks for | [`methods`] |
//! | sessions | the answer on the call's stream, which the worker writes to itself | [`legacy`] |
//! | neither | the answer on the call's response, which waits for the job | [`wait`] |
//!
//! What may have to be told twice, because somebody died in between, is heard once: a request is
//! answered once, and marked messages come once and in order.

mod attempt;
pub(super) mod followed;
pub(super) mod legacy;
mod messages;
pub(super) mod methods;
pub(super) mod params;
mod start;
pub(super) mod stream;
pub(super) mod wait;
pub(super) mod wire;

pub(super) use self::{
    attempt::run,
    messages::{detached, outcome},
    start::{JobTool, NotStarted},
};
