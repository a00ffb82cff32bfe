//! `notes-mcp-worker`: runs what is not a request, until it is told to end. See `--help`.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mcp::Engine;
use service::{
    Dependencies, Service,
    clock::SystemClock,
    config::{Config, Mode},
    metrics, telemetry,
};
use tokio_util::sync::CancellationToken;
use worker::{
    Settings, Worker,
    schedules::{self, Schedule},
};

/// The environment is wrong, so that trying again is no use: `EX_USAGE` of sysexits.
const EXIT_USAGE: u8 = 64;

/// The worker of notes-mcp: jobs and schedules.
#[derive(Debug, Parser)]
#[command(name = "notes-mcp-worker", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Everything else is configured by environment variables: .env.example explains each.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Work until Ctrl-C or SIGTERM (the default)
    Run,
    /// Run one schedule now, and end: for a platform that has a clock of its own
    Once {
        /// The name of the schedule, as `schedules` shows it
        #[arg(value_name = "NAME", value_parser = schedule)]
        schedule: &'static Schedule,
    },
    /// List what happens when
    Schedules,
}

fn schedule(name: &str) -> Result<&'static Schedule, String> {
    schedules::find(name).ok_or_else(|| {
        let names: Vec<_> = schedules::ALL.iter().map(|it| it.name).collect();
        format!("there are {}", names.join(", "))
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            let shown = message.print();
            return if message.use_stderr() || shown.is_err() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS // --help, --version
            };
        }
    };
    if let Some(Command::Schedules) = arguments.command {
        return ended(write!(io::stdout(), "{List}").context("could not print the list"));
    }
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(problems) => {
            say(problems);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let telemetry = match telemetry::start(&config, "notes-mcp-worker") {
        Ok(telemetry) => telemetry,
        Err(error) => return ended(Err(error)),
    };
    let result = match arguments.command {
        Some(Command::Once { schedule }) => once(config, schedule).await,
        _ => run(config).await,
    };
    telemetry.end().await;
    ended(result)
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells the person at the terminal something that is not the result: on stderr. There is nobody to
/// tell when that fails.
fn say(text: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{text}"));
}

async fn run(config: Config) -> anyhow::Result<()> {
    metrics::start();
    tokio::spawn(metrics::keep_tidy());
    let (service, engine) = connect(&config).await?;
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            signal().await;
            shutdown.cancel();
        }
    });
    let port = config.worker_port;
    let listener = tokio::net::TcpListener::bind((config.host, port))
        .await
        .with_context(|| format!("could not listen on port {port}; WORKER_PORT says which"))?;
    let settings = Settings::of(&config);
    tracing::info!(port, worker = settings.name, "Working; probes are answered on port {port}");
    let worker = Worker::new(service.clone(), Arc::new(engine), settings);
    let (probed, pulse) = (service.clone(), worker.pulse());
    tokio::spawn(worker::serve_health(listener, pulse, probed, shutdown.clone()));
    worker.run_with_schedules(shutdown).await?;
    service.close().await;
    Ok(())
}

async fn once(config: Config, schedule: &Schedule) -> anyhow::Result<()> {
    let (service, engine) = connect(&config).await?;
    let name = schedule.name;
    let count = schedule
        .run(&service, &engine, &CancellationToken::new())
        .await
        .with_context(|| format!("`{name}` has failed"))?;
    say(format_args!("{name}: {count}"));
    service.close().await;
    Ok(())
}

async fn connect(config: &Config) -> anyhow::Result<(Service, Engine)> {
    let (stores, given) = Dependencies::configured(config, Arc::new(SystemClock))?;
    let service = Service::connect_with(config, given).await?;
    if config.mode == Mode::Embedded {
        migration::migrate(service.db()).await.context("could not migrate the database")?;
    }
    let catalog = service::catalog(service.clone());
    let engine = Engine::new(catalog, stores, service::mcp_settings(&service));
    Ok((service, engine))
}

/// The schedules, for people.
struct List;

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Schedule { name, when, what, why, .. } in schedules::ALL {
            writeln!(f, "{name:18} {when:18} {what}\n{:37} ({why})", "")?;
        }
        Ok(())
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    tokio::signal::ctrl_c().await.expect("Ctrl-C can be handled");
}
