//! `sign-in-web`: the product as it runs for others, for clients and browsers from outside: several
//! instances on a PostgreSQL, people who sign in with GitHub, and a GitHub of our own.
//!
//! Says on its first line, in JSON, on which ports it listens and where that GitHub is. Ends when its
//! standard input does.

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;
use tests::{
    cluster::{Database, Setup},
    github::GitHub,
};
use tokio::io::AsyncReadExt as _;

#[derive(Parser)]
struct Arguments {
    /// How many instances to start.
    #[arg(long, default_value_t = 2)]
    instances: usize,
    /// Where clients find them: the address of the proxy in front.
    #[arg(long)]
    public_url: String,
    /// Who may come in, as in `ALLOWED_GITHUB_LOGINS`.
    #[arg(long)]
    allowed: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let github = GitHub::start().await;
    let mut setup = Setup::new(Database::Postgres)
        .instances(arguments.instances)
        .real_time()
        .with("PUBLIC_URL", arguments.public_url)
        .with_github(&github);
    if let Some(allowed) = arguments.allowed {
        setup = setup.with("ALLOWED_GITHUB_LOGINS", allowed);
    }
    let cluster = setup.start().await;

    #[expect(clippy::print_stdout, reason = "this is how a program of tests is reached")]
    {
        println!("{}", json!({ "ports": cluster.ports(), "github": github.origin() }));
    }
    let mut ignored = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut ignored)
        .await
        .context("could not wait for the end of standard input")?;
    cluster.stop().await;
    Ok(())
}
