//! Runs one of the fuzz targets, which the variable `FUZZ_TARGET` names. One program has all of them, so
//! that the dependencies are linked once.

#![no_main]

use std::{env, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tests::fuzzing::{Target, targets};

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let all: Vec<&Target> = targets().chain(notes::fuzzing::TARGETS).collect();
    match all.iter().find(|(other, _)| *other == name) {
        Some((_, run)) => *run,
        None => {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            panic!("FUZZ_TARGET must be one of: {}", names.join(", "))
        }
    }
});

fuzz_target!(|data: &[u8]| RUN(data));
