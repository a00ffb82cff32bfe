//! The check of CI: compares the numbers of some paths with those in `bench/instructions.json`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::{
    Count, as_f64, background, count,
    servers::{Setup, Start},
};

/// The paths that are compared, and whether their server has Redis.
const PATHS: [(bool, &[&str]); 2] = [
    (false, &["modern list", "session list", "modern create", "token refresh", "progress stream"]),
    (true, &["progress stream, Redis"]),
];

/// The change that is noticed, as a part of the kept number.
const TOLERANCE: f64 = 0.03;

/// The same, with other versions of libc or valgrind than those of the kept number.
const TOLERANCE_OF_OTHER_VERSIONS: f64 = 0.1;

/// The number of functions that are kept for each path.
const FUNCTIONS: usize = 40;

/// The number of functions that a failure names.
const NAMED: usize = 5;

#[derive(Serialize, Deserialize)]
struct File {
    /// Numbers are comparable within [`TOLERANCE`] only where these are equal.
    machine: Machine,
    paths: BTreeMap<String, Kept>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Machine {
    architecture: String,
    c_library: String,
    valgrind: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Per call.
    instructions: u64,
    allocations: u64,
    /// The functions with the most instructions of their own.
    functions: Vec<(String, u64)>,
}

pub(super) async fn run(
    file: &Path,
    accept: bool,
    setup: &Setup,
    calls: usize,
) -> anyhow::Result<()> {
    let machine = Machine {
        architecture: std::env::consts::ARCH.to_owned(),
        c_library: first_line("ldd", "--version")?,
        valgrind: first_line("valgrind", "--version")?,
    };
    let kept = if accept { None } else { Some(read(file)?) };
    let tolerance = match &kept {
        Some(kept) => match tolerance(&kept.machine, &machine) {
            Some(tolerance) => tolerance,
            None => return Ok(()),
        },
        None => TOLERANCE,
    };

    let mut new = File { machine, paths: BTreeMap::new() };
    let mut above = Vec::new();
    for (redis, names) in PATHS {
        let start = Start::Product { redis };
        let paths = start.paths();
        let mut server = start.start(setup).await?;
        let background = background(&mut server)?;
        for &name in names {
            let path = paths.iter().find(|path| path.name == name).context("no such path")?;
            let (count, ..) = count(&mut server, path, setup, calls, background).await?;
            match &kept {
                Some(kept) => {
                    let kept =
                        kept.paths.get(name).with_context(|| format!("{name} is not kept"))?;
                    if is_above(name, kept, &count, tolerance) {
                        above.push(name);
                    }
                }
                None => println!("{name}: {} instructions", count.instructions),
            }
            let mut functions = count.functions;
            functions.truncate(FUNCTIONS);
            let Count { instructions, allocations, .. } = count;
            new.paths.insert(name.to_owned(), Kept { instructions, allocations, functions });
        }
    }
    if accept {
        fs::write(file, serde_json::to_string_pretty(&new)? + "\n")?;
    }
    if !above.is_empty() {
        bail!("more instructions than {} allows: {}", file.display(), above.join(", "));
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<File> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Returns the change that is noticed. `None`: another architecture, whose numbers say nothing.
fn tolerance(kept: &Machine, this: &Machine) -> Option<f64> {
    if kept == this {
        return Some(TOLERANCE);
    }
    let is_comparable = kept.architecture == this.architecture;
    let outcome = if is_comparable { "Compared only roughly, within 10 %" } else { "Not compared" };
    println!(
        "{outcome}: the numbers were counted on {} with {} and {}; this is {} with {} and {}.",
        kept.architecture,
        kept.c_library,
        kept.valgrind,
        this.architecture,
        this.c_library,
        this.valgrind,
    );
    is_comparable.then_some(TOLERANCE_OF_OTHER_VERSIONS)
}

/// Prints the comparison of a path. Returns whether it needs too many instructions.
fn is_above(name: &str, kept: &Kept, count: &Count, tolerance: f64) -> bool {
    let change = as_f64(count.instructions) / as_f64(kept.instructions) - 1.0;
    println!(
        "{name}: {} instructions, {:+.2} % ({}); {} allocations ({})",
        count.instructions,
        change * 100.0,
        kept.instructions,
        count.allocations,
        kept.allocations,
    );
    if change < -tolerance {
        println!("  Lower the number: bench/instructions --accept");
    }
    if change <= tolerance {
        return false;
    }
    // A function that is not kept had at most as many as the last one that is.
    let least = kept.functions.last().map_or(0, |(_, cost)| *cost);
    let before: BTreeMap<_, _> = kept.functions.iter().cloned().collect();
    let mut grown: Vec<_> = count
        .functions
        .iter()
        .map(|(name, now)| {
            let before = before.get(name).copied().unwrap_or(least);
            (now.saturating_sub(before), before, now, name)
        })
        .collect();
    grown.sort_unstable();
    for (by, before, now, name) in grown.into_iter().rev().take(NAMED) {
        println!("  +{by} ({before} to {now}) in {name}");
    }
    true
}

fn first_line(program: &str, option: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(option).output();
    let output = output.with_context(|| format!("{program} is missing"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
