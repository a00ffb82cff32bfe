//! `sign-in-web` runs the product as a deployment does, for external clients and browsers: several
//! instances and a worker on a PostgreSQL, and sign-in with a fake GitHub.
//!
//! The first line of its output is JSON with the ports. It ends when standard input is closed. With
//! `--settings-only` it starts no instance, and prints the settings with which a test has to start them.

use anyhow::Context as _;
use clap::Args;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tests::{
    cluster::{Cluster, Database, Setup},
    github::GitHub,
    openid::OpenId,
    postgres, redis,
};
use tokio::io::AsyncReadExt as _;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many instances to start.
    #[arg(long, default_value_t = 2)]
    instances: usize,
    /// Where clients find them: the address of the proxy in front.
    #[arg(long)]
    public_url: String,
    /// Leaves the instances to the test.
    #[arg(long)]
    settings_only: bool,
    /// Who may come in, as in `ALLOWED_GITHUB_LOGINS`.
    #[arg(long)]
    allowed: Option<String>,
    /// Adds two fake OpenID Connect providers; one of them does not let the user in.
    #[arg(long)]
    several: bool,
}

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let github = GitHub::start().await;
    if arguments.settings_only {
        let mut settings = json!({
            "PUBLIC_URL": arguments.public_url,
            "DATABASE_URL": postgres::fresh_database(&notes::product()).await,
            "REDIS_URL": redis::shared().await,
            "REDIS_PREFIX": redis::fresh_prefix(),
        });
        for (variable, value) in github.settings() {
            settings[variable] = value.into();
        }
        say(&json!({ "settings": settings }));
        return until_told_to_end().await;
    }

    let mut setup = Setup::new(Database::Postgres)
        .product(notes::product)
        .instances(arguments.instances)
        .workers(1)
        .real_time()
        .with("PUBLIC_URL", arguments.public_url)
        .with_github(&github);
    if let Some(allowed) = arguments.allowed {
        setup = setup.with("ALLOWED_GITHUB_LOGINS", allowed);
    }
    // Held until the end: they stop when they are dropped.
    let mut providers = Vec::new();
    if arguments.several {
        providers = vec![OpenId::start().await, OpenId::named("OTHER").await];
        for provider in &providers {
            setup = setup.with_openid(provider);
        }
        setup = setup
            .with("OIDC_ACME_LABEL", "Example Corp")
            .with("OIDC_OTHER_ALLOWED_DOMAINS", "example.org");
    }
    let cluster = setup.start().await;
    slow_down_imports(&cluster).await?;
    say(&json!({ "ports": cluster.ports() }));
    until_told_to_end().await?;
    cluster.stop().await;
    drop(providers);
    Ok(())
}

/// Makes each batch of an import take at least 0.3 s, so that a test sees its progress, and can cancel
/// it, however fast the machine is.
async fn slow_down_imports(cluster: &Cluster) -> anyhow::Result<()> {
    let trigger = "
        CREATE FUNCTION slow_down_import() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT count(*) FROM inserted) > 100 THEN
                PERFORM pg_sleep(0.3);
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER slow_down_import AFTER INSERT ON notes
            REFERENCING NEW TABLE AS inserted
            FOR EACH STATEMENT EXECUTE FUNCTION slow_down_import();";
    cluster.app().db().execute_unprepared(trigger).await.context("could not slow down imports")?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is how a program of tests is reached")]
fn say(line: &Value) {
    println!("{line}");
}

async fn until_told_to_end() -> anyhow::Result<()> {
    let mut ignored = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut ignored)
        .await
        .context("could not wait for the end of standard input")?;
    Ok(())
}
