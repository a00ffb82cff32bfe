//! The command line of the worker.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use app::{
    App, Dependencies, Product,
    config::{Config, Mode},
    metrics,
};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use mcp::Engine;
use platform::{
    causes,
    clock::SystemClock,
    ending,
    terminal::{EXIT_USAGE, say},
};
use tokio_util::sync::CancellationToken;

use crate::{
    health::serve_health,
    schedules::{self, Schedule},
    schema::await_schema,
    settings::{STALL_LIMIT, Settings},
    worker::Worker,
};

/// Runs jobs and schedules
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
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
    /// Run one schedule now and exit, for a platform that has its own scheduler
    Once {
        /// The name of the schedule, as `schedules` shows it
        #[arg(value_name = "NAME")]
        schedule: String,
    },
    /// List the schedules
    Schedules,
}

/// Returns the command line, with the name and version of the product.
fn command(product: &Product) -> clap::Command {
    let brand = product.brand();
    Arguments::command().name(brand.worker_program).version(brand.version)
}

fn schedule(product: &Product, name: &str) -> Result<Schedule, clap::Error> {
    schedules::find(product, name).ok_or_else(|| {
        let names: Vec<_> = schedules::all(product).iter().map(|schedule| schedule.name).collect();
        let message =
            format!("there is no schedule '{name}': the schedules are {}", names.join(", "));
        command(product).error(ErrorKind::InvalidValue, message)
    })
}

/// Reads the command line and the environment, and executes the command.
pub(crate) async fn run(product: Product) -> ExitCode {
    let (command, once_only) = match parse(&product) {
        Ok(parsed) => parsed,
        Err(message) => {
            let shown = message.print();
            return if message.use_stderr() || shown.is_err() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS // --help, --version
            };
        }
    };
    if let Some(Command::Schedules) = command {
        let list = List(schedules::all(&product));
        return ended(write!(io::stdout(), "{list}").context("could not print the list"));
    }
    let config = match Config::from_env(&product) {
        Ok(config) => config,
        Err(problems) => {
            say(problems);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let telemetry = match config.start_telemetry(product.brand().worker_program) {
        Ok(telemetry) => telemetry,
        Err(error) => return ended(Err(error)),
    };
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            ending::stop_signal().await;
            shutdown.cancel();
        }
    });
    let limit = config.shutdown_timeout;
    let working = async {
        let result = match once_only {
            Some(schedule) => once(&config, &schedule, &shutdown).await,
            None => work(&config, &shutdown).await,
        };
        telemetry.end().await;
        result
    };
    ended(ending::within(limit, &shutdown, working).await)
}

/// Parses the command line, and finds the schedule of the command `once`.
fn parse(product: &Product) -> Result<(Option<Command>, Option<Schedule>), clap::Error> {
    let matches = command(product).try_get_matches()?;
    let Arguments { command } = Arguments::from_arg_matches(&matches)?;
    let once_only = match &command {
        Some(Command::Once { schedule: name }) => Some(schedule(product, name)?),
        _ => None,
    };
    Ok((command, once_only))
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {}", causes::one_line(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

async fn work(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<()> {
    metrics::start(&config.product);
    tokio::spawn(metrics::run_upkeep_loop());
    let Some(connected) = shutdown.run_until_cancelled(connect(config)).await else {
        return Ok(());
    };
    let (app, engine) = connected?;
    let port = config.worker.port;
    let listener = tokio::net::TcpListener::bind((config.http.host, port))
        .await
        .with_context(|| format!("could not listen on port {port} (WORKER_PORT)"))?;
    let settings = Settings { stall_limit: Some(STALL_LIMIT), ..Settings::of(config) };
    let name = settings.name.clone();
    let worker = Worker::new(app.clone(), Arc::new(engine), settings);
    let (probed, pulse) = (app.clone(), worker.pulse());
    tokio::spawn(serve_health(listener, pulse, probed, shutdown.clone()));
    let Some(schema) = shutdown.run_until_cancelled(await_schema(&app)).await else {
        return Ok(());
    };
    schema?;
    tracing::info!(port, worker = name, "Running jobs; serving probes on port {port}");
    let result = worker.run_with_schedules(shutdown.clone()).await;
    app.close().await;
    result
}

async fn once(
    config: &Config,
    schedule: &Schedule,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let (app, engine) = connect(config).await?;
    let name = schedule.name;
    let count = schedules::run_now(schedule, &app, &engine, shutdown)
        .await
        .with_context(|| format!("schedule `{name}` failed"))?;
    say(format_args!("{name}: {count}"));
    app.close().await;
    Ok(())
}

async fn connect(config: &Config) -> anyhow::Result<(App, Engine)> {
    let (stores, given) = Dependencies::configured(config, Arc::new(SystemClock))?;
    let app = App::connect_with(config, given).await?;
    if config.mode == Mode::Embedded {
        let schema = app.db().schema_connection().await.context("could not connect")?;
        let migrated = app.product().schema().migrate(&schema).await;
        migrated.context("could not migrate the database")?;
    }
    let engine = Engine::new(app.catalog(), stores, app::mcp_settings(&app));
    Ok((app, engine))
}

/// The list of schedules.
struct List(Vec<Schedule>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Schedule { name, when, what, why, .. } in &self.0 {
            writeln!(f, "{name:18} {when:18} {what}\n{:37} ({why})", "")?;
        }
        Ok(())
    }
}
