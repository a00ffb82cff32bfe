//! `test-tools`: the programs that `scripts/test`, other test suites and the benchmarks start, as
//! subcommands of one binary, because each binary would link everything again.

// An optimized build looks deeper into nested futures than the compiler's default limit.
#![recursion_limit = "256"]

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;

mod bench_bare;
mod bench_database;
mod bench_engine;
mod bench_instructions;
mod bench_job_depth;
mod bench_jobs;
mod bench_search;
mod bench_streams;
mod bench_users;
mod bench_web;
mod chaos;
mod conformance_fleet;
mod conformance_web;
mod fixtures_web;
mod fixtures_worker;
mod probe;
mod serving;
mod sign_in_web;
mod soak;
mod with_servers;

#[derive(Parser)]
enum Tool {
    BenchBare { users: usize },
    BenchDatabase,
    BenchEngine(bench_engine::Arguments),
    BenchInstructions(bench_instructions::Arguments),
    BenchJobDepth,
    BenchJobs,
    BenchSearch,
    BenchStreams,
    BenchStreamsClient(bench_streams::ClientArguments),
    BenchUsers { count: usize },
    BenchWeb,
    Chaos,
    ConformanceFleet(conformance_fleet::Arguments),
    ConformanceWeb(conformance_web::Arguments),
    FixturesWeb,
    FixturesWorker(fixtures_worker::Arguments),
    Probe(Box<probe::Arguments>),
    SignInWeb(sign_in_web::Arguments),
    Soak(soak::Arguments),
    WithServers(with_servers::Arguments),
}

/// Starts the runtime as the programs of a product do.
fn main() -> ExitCode {
    platform::ending::main(async {
        run(Tool::parse()).await.unwrap_or_else(|error| {
            drop(writeln!(io::stderr(), "Error: {error:?}"));
            ExitCode::FAILURE
        })
    })
}

async fn run(tool: Tool) -> anyhow::Result<ExitCode> {
    match tool {
        Tool::BenchBare { users } => bench_bare::main(users).await?,
        Tool::BenchDatabase => bench_database::main().await?,
        Tool::BenchEngine(arguments) => bench_engine::main(arguments).await?,
        Tool::BenchInstructions(arguments) => bench_instructions::main(arguments).await?,
        Tool::BenchJobDepth => bench_job_depth::main().await?,
        Tool::BenchJobs => bench_jobs::main().await?,
        Tool::BenchSearch => bench_search::main().await?,
        Tool::BenchStreams => bench_streams::main().await?,
        Tool::BenchStreamsClient(arguments) => bench_streams::client(arguments).await?,
        Tool::BenchUsers { count } => bench_users::main(count).await?,
        Tool::BenchWeb => bench_web::main().await?,
        Tool::Chaos => return chaos::main().await,
        Tool::ConformanceFleet(arguments) => conformance_fleet::main(arguments).await?,
        Tool::ConformanceWeb(arguments) => conformance_web::main(arguments).await?,
        Tool::FixturesWeb => fixtures_web::main().await?,
        Tool::FixturesWorker(arguments) => fixtures_worker::main(arguments).await?,
        Tool::Probe(arguments) => return probe::main(&arguments).await,
        Tool::SignInWeb(arguments) => sign_in_web::main(arguments).await?,
        Tool::Soak(arguments) => return soak::main(arguments).await,
        Tool::WithServers(arguments) => return with_servers::main(arguments).await,
    }
    Ok(ExitCode::SUCCESS)
}
