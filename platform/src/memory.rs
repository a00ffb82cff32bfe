//! Returns freed memory to the operating system while the process is idle.
//!
//! The allocator keeps memory for the thread that allocated it, and learns that other threads have freed it
//! only when that thread allocates again. A worker thread of the runtime that has no work keeps, therefore,
//! the memory of its last burst of requests. So all worker threads collect regularly.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinSet, time::sleep};

/// The pause between two collections.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long a worker thread waits for the others. A thread that is busy for longer allocates, and does not
/// need this.
const MAX_WAIT: Duration = Duration::from_millis(1);

/// Collects in all worker threads of the runtime, for ever.
pub(crate) async fn collect_regularly() {
    loop {
        sleep(INTERVAL).await;
        on_worker_threads(allocator::collect).await;
    }
}

/// Calls a function once in each worker thread of the runtime that is idle now.
///
/// The runtime cannot be told which thread runs a task. So each thread that has called the function blocks
/// until all have, or until [`MAX_WAIT`] is over; the idle ones take the other tasks.
async fn on_worker_threads(function: fn()) {
    let workers = Handle::current().metrics().num_workers();
    let meeting = Arc::new(Meeting::default());
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let meeting = Arc::clone(&meeting);
        tasks.spawn(async move {
            function();
            meeting.wait_for(workers);
        });
    }
    tasks.join_all().await;
}

/// A barrier with a timeout.
#[derive(Default)]
struct Meeting {
    /// The number of threads that have arrived, or [`usize::MAX`] after the timeout.
    arrived: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    /// Blocks until `expected` threads have arrived, or until one of them has waited for [`MAX_WAIT`].
    fn wait_for(&self, expected: usize) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        *arrived = arrived.saturating_add(1);
        let is_missing = |arrived: &mut usize| *arrived < expected;
        let waited = self.changed.wait_timeout_while(arrived, MAX_WAIT, is_missing);
        let (mut arrived, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            *arrived = usize::MAX;
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::LazyLock, thread::ThreadId};

    use super::*;

    static THREADS: LazyLock<Mutex<HashSet<ThreadId>>> = LazyLock::new(Mutex::default);

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_worker_thread_is_reached() {
        let reached = || {
            THREADS.lock().unwrap().insert(std::thread::current().id());
        };
        // On a busy machine, a thread may wake up too late for a round.
        while THREADS.lock().unwrap().len() < 4 {
            on_worker_threads(reached).await;
        }
    }

    #[test]
    fn a_meeting_ends_without_those_who_do_not_come() {
        let meeting = Meeting::default();
        meeting.wait_for(2);
        meeting.wait_for(2);
        assert_eq!(*meeting.arrived.lock().unwrap(), usize::MAX);
    }
}
