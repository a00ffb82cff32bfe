//! Sixteen at once, on two instances, again and again: one wins. And eight instances that come to be
//! at once, on an empty table of keys: they agree.

use std::collections::BTreeSet;

use entity::oauth_signing_keys::{Entity as Keys, State};
use futures_util::future::join_all;
use sea_orm::EntityTrait as _;
use tests::{
    browser::Browser,
    client::Page,
    cluster::{Database, Setup},
};

use super::{Stage, text};

const RACERS: usize = 16;
const ROUNDS: usize = 50;

/// Instances that start at the same moment.
const BOOTING: usize = 8;

/// Everybody does the same at once, half of them on each instance.
async fn all_at_once<F: Future<Output = Page>>(
    stage: &Stage,
    mut act: impl FnMut(Browser) -> F,
    browser: &Browser,
) -> Vec<Page> {
    let racers = (0..RACERS).map(|number| {
        let web = if number % 2 == 0 { stage.one() } else { stage.other() };
        act(browser.at(web))
    });
    join_all(racers).await
}

fn with_status(pages: &[Page], status: u16) -> Vec<&Page> {
    pages.iter().filter(|it| it.status == status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn n81_one_of_many_redeems_a_code() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    for round in 0..ROUNDS {
        let code = client_app.code(&browser).await;
        let racers = (0..RACERS).map(|number| {
            let web = if number % 2 == 0 { stage.one() } else { stage.other() };
            code.redeem(web)
        });
        let pages = join_all(racers).await;
        let won = with_status(&pages, 200);
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(with_status(&pages, 400).len(), RACERS - 1, "round {round}");
        stage.is_good(&text(&won[0].json(), "access_token")).await;
        stage.pass(61); // a new minute, with new shares
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n90_many_who_refresh_get_one_successor() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    let mut token = text(&client_app.connect(&stage.browser()).await, "refresh_token");
    for round in 0..ROUNDS {
        let racers = (0..RACERS).map(|number| {
            let web = if number % 2 == 0 { stage.one() } else { stage.other() };
            client_app.refresh(web, &token)
        });
        let pages = join_all(racers).await;
        let refused: Vec<String> =
            pages.iter().filter(|it| it.status != 200).map(Page::text).collect();
        assert!(refused.is_empty(), "round {round}: {refused:#?}");
        let successors: BTreeSet<String> =
            pages.iter().map(|page| text(&page.json(), "refresh_token")).collect();
        assert_eq!(successors.len(), 1, "round {round}");
        assert!(!successors.contains(&token), "round {round}");
        token = successors.into_iter().next().expect("there is one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n62_one_of_many_comes_back_from_github() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    for round in 0..ROUNDS {
        let asked = client_app.asks();
        let callback = browser.to_callback(&asked).await;
        let arrive = |browser: Browser| {
            let callback = &callback;
            async move { browser.get(callback).await }
        };
        let pages = all_at_once(&stage, arrive, &browser).await;
        let won = with_status(&pages, 303);
        assert_eq!(won.len(), 1, "round {round}");
        asked.code(won[0]);
        assert_eq!(with_status(&pages, 400).len(), RACERS - 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n55_one_of_many_clicks_counts() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    for round in 0..ROUNDS {
        let form = browser.to_consent(&client_app.asks()).await;
        let click = |browser: Browser| {
            let form = &form;
            async move { browser.submit(form, "approve").await }
        };
        let pages = all_at_once(&stage, click, &browser).await;
        let won = with_status(&pages, 303);
        assert_eq!(won.len(), 1, "round {round}");
        assert!(won[0].header("location").starts_with(stage.github.origin()));
        assert_eq!(with_status(&pages, 400).len(), RACERS - 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_on_an_empty_table_of_keys_agree_on_one() {
    let mut cluster = Setup::new(Database::Postgres).start().await;
    for round in 0..ROUNDS {
        Keys::delete_many().exec(cluster.app().db()).await.unwrap();
        let mut fresh = Vec::new();
        for _ in 0..BOOTING {
            fresh.push(cluster.join(&[]).await);
        }
        let asking = fresh.iter().map(|&index| cluster.web(index).get("/.well-known/jwks.json"));
        let documents: BTreeSet<String> =
            join_all(asking).await.iter().map(|page| page.json().to_string()).collect();
        assert_eq!(documents.len(), 1, "round {round}: {documents:#?}");
        let rows = Keys::find().all(cluster.app().db()).await.unwrap();
        let states: Vec<State> = rows.iter().map(|it| it.state).collect();
        assert_eq!(states, [State::Active], "round {round}");
        for &index in &fresh {
            cluster.shut_down(index);
        }
        for index in fresh {
            cluster.leave(index).await;
        }
    }
}
