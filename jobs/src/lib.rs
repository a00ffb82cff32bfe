//! Jobs: tool calls that run in a worker, stored in the database.
//!
//! The row of a job is its only state. The client's interface is [`mcp::job::Jobs`], which
//! [`store()`] implements; that of a worker is [`WorkQueue`], which [`work_queue()`] implements:
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
//! **Content of users is encrypted** in the row, with the keys of [`Parts::content_keys`].
//!
//! Signals are hints, published after the commit. A process that misses one finds the same change
//! when it polls.

mod answer;
mod attempt;
mod cancel;
mod claim;
mod clock_check;
mod content;
mod convert;
mod counts;
mod denied;
mod encoding;
mod enqueue;
mod failed;
mod finish;
mod limits;
mod lost;
mod notify;
mod queue;
mod quota;
mod read;
mod reclaim;
mod row;
pub mod schedule_runs;
mod silent;
mod stats;
mod store;
pub mod sweep;
pub mod tools;
mod totals;
mod work_queue;

pub use self::{
    attempt::{CheckpointError, checkpoint, checkpoint_of, record_progress, renew},
    claim::claim,
    denied::{DeniedJobs, end_denied},
    enqueue::{enqueue, enqueue_in},
    finish::finish,
    limits::{
        LEASE, MAX_CHECKPOINT, MAX_CLAIMS, MAX_RESULT, QUESTION_TIMEOUT, RESULT_TTL,
        RESULT_TTL_BOUNDS,
    },
    notify::{mark_notified, unnotified},
    queue::{Access, Parts, Queue},
    quota::{JobQuota, JobUsage, usage},
    reclaim::reclaim,
    stats::{Stats, stats},
    store::store,
    totals::{Total, What, totals, write_totals},
    work_queue::{into_failure, work_queue},
};
pub use runner::{
    Claim, Claimed, End, Finished, Lease, RENEWALS_PER_LEASE, SilentWorker, Turn, Unnotified,
    WorkQueue,
};
