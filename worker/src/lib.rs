//! Background work: jobs and schedules.
//!
//! | to … | read |
//! |---|---|
//! | see what runs when, and why | [`schedules::all`] |
//! | follow a job from its claim to its end | the crate `runner` |
//! | know whether a worker is healthy | [`Pulse`], [`serve_health`] |
//!
//! Any number of workers share one queue. No worker holds state that another one needs: if its process
//! ends, other workers notice it or wait until the leases of its jobs have expired, and continue the
//! jobs from their last checkpoints. Once another worker has claimed a job, writes of the previous one
//! have no effect.
//!
//! [`Worker::run`] runs a worker: in a separate process or, in embedded mode, beside a web instance;
//! several can run in one process.

mod access;
mod commands;
mod health;
mod measured;
pub mod schedules;
mod schema;
mod settings;
mod totals_writer;
mod worker;

use std::process::ExitCode;

use app::Product;

pub use runner::Runner;

pub use self::{
    health::{Pulse, serve_health},
    schema::await_schema,
    settings::{POLL, STALL_LIMIT, Settings},
    worker::{Stalled, Worker},
};

/// Runs the worker program of a product: reads the command line and the environment, and executes
/// the command. The `main` function of a program only calls this.
pub fn main(product: Product) -> ExitCode {
    platform::ending::main(commands::run(product))
}
