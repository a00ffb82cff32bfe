//! `soak` runs mixed traffic against two instances and two workers for a long time, and fails when anything
//! grows: [`tests::soak`]. Prints a sample after each round, and the growth of everything at the end.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use tests::soak;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The duration in minutes. Keys in Redis are judged only if it is 36 or more.
    #[arg(long, default_value_t = 40)]
    minutes: u64,
    /// Bytes that each call of `items_create` leaks, to prove that the run finds a leak.
    #[arg(long, default_value_t = 0)]
    leak: usize,
}

#[expect(clippy::print_stdout, reason = "this is its result")]
pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let time = Duration::from_secs(arguments.minutes * 60);
    let report = soak::run(time, arguments.leak, |line| println!("{line}")).await;
    println!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
