//! Runs what is not a request: jobs, and what has to happen at certain times.
//!
//! | to … | look at |
//! |---|---|
//! | see what happens when, and why then | [`schedules::ALL`] |
//! | follow a job from its claim to its end | `claiming`, `attempt`, `completions` |
//! | know whether a worker is well | [`Pulse`], [`serve_health`] |
//!
//! Any number of workers share one queue. None of them holds anything that another one would miss:
//! a worker that dies leaves rows whose lease ends, and its jobs go on elsewhere from their last
//! checkpoint. What a worker writes about a job is void once another one has it.
//!
//! [`Worker::run`] is a whole worker. It runs in a process of its own, or beside a web instance in
//! the embedded mode; several fit into one process.

mod announcing;
mod attempt;
mod attempt_log;
mod claiming;
mod commands;
mod completions;
mod health;
mod leases;
mod progress;
mod runner;
mod running;
pub mod schedules;
mod schema;
mod settings;
mod shared;
mod totals_writer;
mod worker;

use std::process::ExitCode;

pub use self::{
    health::{Pulse, serve_health},
    runner::Runner,
    schema::await_schema,
    settings::{POLL, STALL_LIMIT, Settings},
    worker::{Stalled, Worker},
};

/// The program: reads the command line and the environment, and does what they say. `main` of a program
/// has nothing else to call.
pub fn main() -> ExitCode {
    service::ending::main(commands::run())
}
