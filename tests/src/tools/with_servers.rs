//! `with-servers COMMAND …` runs a command with servers that all its tests share: a private PostgreSQL,
//! a private Redis if one is installed, and a folder for the SQLite template. They end with the
//! command.

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::Context as _;
use clap::Args;
use tests::{postgres, redis, sqlite};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (program, rest) = arguments.command.split_first().context("clap requires a command")?;
    let mut command = Command::new(program);
    let folder = tempfile::tempdir()?;
    let postgres = postgres::Server::start().await;
    command.args(rest).env(postgres::URL_VARIABLE, postgres.url());
    command.env(sqlite::FOLDER_VARIABLE, folder.path());
    let redis = if redis::is_installed() { Some(redis::Server::start().await) } else { None };
    if let Some(redis) = &redis {
        command.env(redis::URL_VARIABLE, redis.url());
    }
    let status = command.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
