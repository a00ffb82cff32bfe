//! `bench-users` creates the users of `bench/run`: it prints an access token of each. Each user has 200 notes.
//! It is configured by the environment like the product.

#![expect(clippy::print_stdout, reason = "the tokens are what it is for")]

use std::{iter, sync::Arc};

use anyhow::{Context as _, anyhow};
use app::{App, config::Config};
use mcp::{Stores, UserId};
use notes::{
    scopes::{READ, WRITE},
    store::{self, Body, Draft, Tags, Title},
};
use oauth::access_token::NewToken;
use platform::clock::SystemClock;

/// The number of notes of each user.
const NOTES: usize = 200;

/// The users: first the one of bench/peers, which has only one.
pub(crate) fn ids(count: usize) -> impl Iterator<Item = UserId> {
    let others = (1..count).map(|number| UserId::new(format!("dev:bench-{number}")));
    iter::once(UserId::new("dev:bench")).chain(others)
}

/// The note that is created.
pub(crate) fn draft() -> Draft {
    Draft {
        title: Title::parse("A note of the benchmark").expect("short enough"),
        body: Body::parse("The quick brown fox jumps over the lazy dog.").expect("short enough"),
        tags: Tags::default(),
    }
}

pub(crate) async fn main(count: usize) -> anyhow::Result<()> {
    let config = Config::from_env(&notes::product())?;
    let bus = Stores::in_memory(config.session_ttl).bus;
    let app = App::connect(&config, Arc::new(SystemClock), bus).await?;
    for user in ids(count) {
        for _ in 0..NOTES {
            let created = store::create(app.state(), &user, draft()).await;
            created.map_err(|error| anyhow!("a note cannot be created: {error:?}"))?;
        }
        let token = app.oauth().tokens().mint(NewToken {
            user,
            client: "bench".to_owned(),
            scopes: [READ, WRITE].map(ToOwned::to_owned).into(),
            session_id: "bench".to_owned(),
            signed_in_at: None,
            ttl: None,
            dpop_key: None,
        });
        println!("{}", token.await.context("a token cannot be minted")?);
    }
    app.close().await;
    Ok(())
}
