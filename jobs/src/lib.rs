//! Jobs: tool calls that run in a worker, stored in the database.
//!
//! The row of a job is its only state. The client's interface is [`mcp::job::Jobs`], which
//! [`store()`] implements; a worker calls the functions of this crate:
//!
//! ```text
//!            enqueue                 claim                    finish
//!    client ─────────▶ queued ────────────────▶ running ─────────────────▶ completed, failed
//!                        ▲                      │  │  │
//!                        ├── release, retry ◀───┘  │  └──▶ input_required ── answer ──▶ queued
//!                        └── reclaim ◀───────────┘  └──▶ waiting ── last child ──▶ queued
//! ```
//!
//! **Fencing.** A claim increments the job's attempt number, and every later write names the number
//! of the worker's claim. The writes of a worker that was paused for longer than its lease change
//! nothing.
//!
//! **A single statement decides each race.** Where two rows have to change together (a child and
//! the parent that waits for it), one transaction locks the parent first.
//!
//! **A job acts with the access of the token that started it.** When that access ends, the job ends
//! ([`end_denied`]).
//!
//! Signals are hints, published after the commit. A process that misses one finds the same change
//! when it polls.

mod answer;
mod attempt;
mod cancel;
mod claim;
mod convert;
mod counts;
mod denied;
mod enqueue;
mod finish;
mod limits;
mod notify;
mod queue;
mod quota;
mod read;
mod reclaim;
mod row;
pub mod schedule_runs;
mod stats;
mod store;
pub mod sweep;
pub mod tools;
mod totals;

pub use self::{
    attempt::{
        CheckpointError, RENEWALS_PER_LEASE, checkpoint, checkpoint_of, record_progress, renew,
    },
    claim::{Claim, Claimed, Turn, claim},
    denied::{DeniedJobs, end_denied},
    enqueue::{enqueue, enqueue_in},
    finish::{End, Finished, finish},
    limits::{
        LEASE, MAX_CHECKPOINT, MAX_CLAIMS, MAX_RESULT, QUESTION_TIMEOUT, RESULT_TTL,
        RESULT_TTL_BOUNDS,
    },
    notify::{Unnotified, mark_notified, unnotified},
    queue::{Access, Parts, Queue},
    quota::{JobQuota, JobUsage, usage},
    reclaim::reclaim,
    row::Lease,
    stats::{Stats, stats},
    store::store,
    totals::{Total, What, totals, write_totals},
};
