//! The simulation itself (`simulation`): schedules are repeated exactly, and seeds that once found a fault
//! pass.

use std::collections::BTreeSet;

/// Seeds that have found faults in the engine, the stores or the runner of jobs.
const FOUND: [u64; 10] = [
    107,
    489,
    1_097,
    3_214,
    12_642,
    24_105,
    25_386,
    306_188,
    5_000_000_106_794,
    20_788_000_078_822,
];

#[test]
fn a_schedule_is_repeated_exactly() {
    for seed in 0..200 {
        let [one, other] = [(); 2].map(|()| simulation::run(seed, &BTreeSet::new(), true));
        assert!(!one.trace.is_empty());
        assert_eq!(one.trace_hash(), other.trace_hash(), "seed {seed}");
    }
}

#[test]
fn schedules_that_found_a_fault_pass() {
    for seed in FOUND.into_iter().chain(0..500) {
        let outcome = simulation::run(seed, &BTreeSet::new(), false);
        let violations: Vec<_> = outcome.violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "simulate --seed {seed}: {violations:#?}");
    }
}
