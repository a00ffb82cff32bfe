//! `with-postgres COMMAND …` runs a command beside a private PostgreSQL server that ends with it.

use std::process::{Command, ExitCode};

use tests::postgres::{Server, URL_VARIABLE};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or_else(|| anyhow::anyhow!("with-postgres COMMAND …"))?;
    let server = Server::start().await;
    let status = Command::new(program).args(arguments).env(URL_VARIABLE, server.url()).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
