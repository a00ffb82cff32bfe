//! The command line of the web program, for operators and developers.

mod audit;
mod check;
mod connect;
mod keys;
mod lists;
mod migrate;
mod people;
mod program;
mod serve;
mod service;
mod store;
mod token;

use std::process::ExitCode;

use app::{Product, config::Config};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use platform::{
    causes,
    terminal::{EXIT_USAGE, say},
};

#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Everything else is configured by environment variables, all optional for development:
.env.example explains each.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until Ctrl-C or SIGTERM (the default)
    Serve,
    /// Check configuration, database, Redis and identity provider without serving
    Check,
    /// Show how much of Redis each user occupies, for when it is full
    Store,
    /// Manage the database schema; without a subcommand, bring it up to date
    Migrate {
        #[command(subcommand)]
        command: Option<migrate::Command>,
    },
    /// Print an access token
    Token(token::Options),
    /// Manage the keys that sign access tokens
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show the audit log, newest first
    Audit(audit::Options),
    /// List clients, create clients of services, and revoke the access of clients
    #[command(subcommand)]
    Clients(people::Clients),
    /// List users, and block or unblock them
    #[command(subcommand)]
    Users(people::Users),
}

/// A dependency is unavailable, so retrying may help: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;

/// Reads the command line and the environment, and executes the command.
pub(crate) async fn run(product: Product) -> ExitCode {
    let arguments = match parse(&product) {
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
    let config = match Config::from_env(&product) {
        Ok(config) => config,
        Err(problems) => {
            say(problems);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let done = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => Box::pin(serve::run(config)).await,
        Command::Check => Box::pin(check::run(config)).await,
        Command::Store => store::run(config).await,
        Command::Migrate { command } => {
            migrate::run(config, command.unwrap_or(migrate::Command::Up)).await
        }
        Command::Token(options) => token::run(config, options).await,
        Command::Keys(command) => keys::run(config, command).await,
        Command::Audit(options) => audit::run(config, options).await,
        Command::Clients(command) => people::run_clients(config, command).await,
        Command::Users(command) => people::run_users(config, command).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {}", causes::one_line(error.as_ref())));
            if error.is::<check::Unreachable>() {
                ExitCode::from(EXIT_UNAVAILABLE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Parses the command line, with the name and version of the product.
fn parse(product: &Product) -> Result<Arguments, clap::Error> {
    let brand = product.brand();
    let command = Arguments::command().name(brand.program).version(brand.version);
    let command =
        command.mut_subcommand("token", |token| token::with_scopes(token, product.scopes()));
    let command = command.about(format!("An MCP server for {}", brand.things));
    Arguments::from_arg_matches(&command.try_get_matches()?)
}
