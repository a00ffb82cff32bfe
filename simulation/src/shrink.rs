//! Shortens a failing schedule.

use std::collections::BTreeSet;

use super::{Property, plan::Plan, run};

/// Finds parts of a schedule without which it still violates the same property. `None`: the schedule
/// violates none.
pub fn shrink(seed: u64) -> Option<(Property, BTreeSet<u64>)> {
    let violated = |without: &BTreeSet<u64>| {
        run(seed, without, false).violations.first().map(|violation| violation.property)
    };
    let property = violated(&BTreeSet::new())?;
    let mut without = BTreeSet::new();
    let mut size = Plan::new(seed, &without).parts().len().div_ceil(2);
    // Larger groups of parts first. The last round is repeated until no single part can be left out.
    loop {
        let parts = Plan::new(seed, &without).parts();
        let mut has_shrunk = false;
        for group in parts.chunks(size) {
            let fewer: BTreeSet<u64> = without.iter().chain(group).copied().collect();
            if fewer.len() > without.len() && violated(&fewer) == Some(property) {
                without = fewer;
                has_shrunk = true;
            }
        }
        match (size, has_shrunk) {
            (1, false) => return Some((property, without)),
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
}
