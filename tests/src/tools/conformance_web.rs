//! `conformance-web` runs instances of the fixtures, with the engine and web code of the product, for the
//! official conformance suite.
//!
//! The first line of its output is JSON with the ports, an access token, and the environment of a
//! `fixtures-worker`. It ends when standard input is closed.

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tests::{
    cluster::{Database, Setup},
    fixtures,
};
use tokio::io::AsyncReadExt as _;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many instances to start.
    #[arg(long, default_value_t = 1)]
    instances: usize,
    /// Where the suite will find them: the address of the proxy in front.
    #[arg(long)]
    public_url: String,
    /// How many workers there will be. With stores that only this process can reach, they are in it.
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let mut cluster = Setup::new(Database::Postgres)
        .product(fixtures::protocol_product)
        .instances(arguments.instances)
        .real_time()
        .with("PUBLIC_URL", arguments.public_url)
        .start()
        .await;
    let token = cluster.token("conformance").await;
    let environment = cluster.environment();
    if environment.is_none() {
        for _ in 0..arguments.workers {
            cluster.start_worker().await;
        }
    }
    let hello = json!({ "ports": cluster.ports(), "token": token, "worker": environment });
    #[expect(clippy::print_stdout, reason = "this is how a program of tests is reached")]
    {
        println!("{hello}");
    }
    let mut ignored = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut ignored)
        .await
        .context("could not wait for the end of standard input")?;
    cluster.stop().await;
    Ok(())
}
