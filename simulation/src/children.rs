//! Child jobs in the simulated queue: a job that waits for its children is queued again when all of them
//! have ended.

use std::collections::BTreeMap;

use mcp::job::{JobId, JobOutcome, NewJob};

use super::{
    properties::Property,
    row::{Row, Rows},
    world::World,
};

/// The children of a job.
fn children<'a>(rows: &'a Rows, parent: &'a JobId) -> impl Iterator<Item = &'a Row> {
    rows.values().filter(move |row| row.parent() == Some(parent))
}

/// The children of a job that have not ended.
pub(super) fn unfinished(rows: &Rows, parent: &JobId) -> Vec<JobId> {
    let unfinished = children(rows, parent).filter(|row| !row.status.is_final());
    unfinished.map(|row| row.new.id.clone()).collect()
}

/// Adds the children that a job waits for from now on, one for each key. If all of them have ended, the
/// job is queued instead.
pub(super) fn begin(rows: &mut Rows, parent: &JobId, wanted: &BTreeMap<String, NewJob>, now: u64) {
    for (key, child) in wanted {
        let exists = children(rows, parent).any(|row| row.parent_key.as_ref() == Some(key));
        if !exists {
            let row = Row::new(child.clone(), Some(key.clone()), now);
            rows.insert(child.id.clone(), row);
        }
    }
    if let Some(row) = rows.get_mut(parent) {
        row.wait(now);
    }
    ended(rows, parent, now);
}

/// A child has ended. The last one queues the parent.
pub(super) fn ended(rows: &mut Rows, parent: &JobId, now: u64) {
    if !unfinished(rows, parent).is_empty() {
        return;
    }
    if let Some(row) = rows.get_mut(parent).filter(|row| row.waits) {
        row.queue(now, now);
    }
}

/// The outcomes of the children that have ended, by key.
pub(super) fn outcomes(rows: &Rows, parent: &JobId) -> BTreeMap<String, JobOutcome> {
    let ended = children(rows, parent).filter(|row| row.status.is_final());
    let outcomes = ended.filter_map(|row| {
        let cancelled = || JobOutcome::failed("This child job was cancelled.");
        Some((row.parent_key.clone()?, row.outcome.clone().unwrap_or_else(cancelled)))
    });
    outcomes.collect()
}

/// Checks that no child of a job that has ended is left.
pub(super) fn check(world: &World, rows: &Rows, parent: &JobId) {
    let left = unfinished(rows, parent);
    if !left.is_empty() {
        let what = format!("job {parent} has ended before its children {left:?}");
        world.violated(Property::ChildrenEndFirst, what);
    }
}
