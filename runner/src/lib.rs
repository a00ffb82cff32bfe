//! Runs jobs from a queue: claims as many as there are free slots, renews their leases, stores their
//! progress and results, and notifies their clients.
//!
//! | to … | read |
//! |---|---|
//! | see what a queue must guarantee | [`WorkQueue`] |
//! | follow a job from its claim to its end | `claiming`, `attempt`, `completions` |
//! | see how a lost lease is detected | `leases` |
//! | see how the end of another worker is detected | `lost_workers` |
//!
//! Any number of runners share one queue. None holds state that another one needs: if its process
//! ends, other runners notice it or wait until the leases of its jobs have expired, and continue the
//! jobs from their last checkpoints. Once another runner has claimed a job, writes of the previous one
//! have no effect.
//!
//! The queue is a trait, so that the simulation runs this code over a simulated one.

mod attempt;
mod attempt_log;
mod claiming;
mod completions;
mod engine;
mod leases;
mod lost_workers;
mod notifying;
mod observer;
mod progress;
mod queue;
mod running;
mod settings;
mod shared;
mod work;

pub use self::{
    engine::Runner,
    notifying::notify_some,
    observer::{ClaimFound, Observer},
    queue::{
        ANNOUNCED_PREFIX, CheckpointError, Claim, Claimed, End, Finished, Lease, QueueError,
        RENEWAL_INTERVAL, RENEWALS_PER_LEASE, SilentWorker, Turn, Unnotified, WorkQueue,
    },
    settings::Settings,
    work::{Parts, Work},
};
