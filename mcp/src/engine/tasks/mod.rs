//! Calls that run as jobs: created by the instance that receives the call, run by a worker, and
//! delivered to the client by any instance.
//!
//! | client | delivery | module |
//! |---|---|---|
//! | supports tasks (either era) | a task handle, which the client polls | [`methods`] |
//! | has a session | the response on the call's stream, written by the worker | [`legacy`] |
//! | neither | the HTTP response, which waits for the job | [`wait`] |
//!
//! Messages that are sent again after a failure are delivered once: a request has one response, and
//! messages with a mark are deduplicated by the store.

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
