//! Every step of a sign-in may meet another instance: what is half done waits in Redis.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tests::{
    browser::{Browser, ClientApp},
    client::Page,
    cluster::{Cluster, Database, Setup},
    eventually,
    github::GitHub,
    relay::Relay,
};

use super::text;

const RACERS: usize = 15;
const ROUNDS: usize = 10;

async fn three_instances() -> (Cluster, GitHub) {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Postgres).instances(3).with_github(&github).on_redis().await;
    (setup.start().await, github)
}

/// The same person with the same cookies, once at each instance, again and again.
fn everywhere(cluster: &Cluster, browser: &Browser) -> impl Iterator<Item = Browser> {
    (0..RACERS).map(|number| browser.at(cluster.web(number % 3)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_sign_in_meets_another_instance() {
    let (cluster, _github) = three_instances().await;
    let client_app = ClientApp::register(cluster.web(0)).await;
    let browser = Browser::new(&cluster);
    let mut codes = BTreeSet::new();
    for first in 0..3 {
        let at = |step: usize| browser.at(cluster.web((first + step) % 3));
        let asked = client_app.asks();
        let begun = at(0).get(&asked.path()).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let page = at(1).get(begun.header("location")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let github = at(2).approve(&tests::browser::form(&page)).await;
        let callback = browser.at_github(&github).await;
        let code = asked.code(&at(0).get(&callback).await);
        assert!(codes.insert(code), "every sign-in has a code of its own");
        let again = at(1).get(&callback).await;
        assert_eq!(again.status, 400, "no step counts twice, wherever it is tried");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_agree_or_come_back_at_three_instances_one_counts() {
    let (cluster, _github) = three_instances().await;
    let client_app = ClientApp::register(cluster.web(0)).await;
    let browser = Browser::new(&cluster);
    let winner = |pages: Vec<Page>| {
        let (won, lost): (Vec<_>, Vec<_>) = pages.into_iter().partition(|it| it.status == 303);
        assert!(lost.iter().all(|it| it.status == 400), "the others are told that it is over");
        let [won] = <[Page; 1]>::try_from(won).expect("one of them counts");
        won
    };
    for _ in 0..ROUNDS {
        let asked = client_app.asks();
        let form = browser.to_consent(&asked).await;
        let form = &form;
        let clicks = everywhere(&cluster, &browser)
            .map(|it| async move { it.submit(form, "approve").await });
        let agreed = winner(join_all(clicks).await);
        let callback = browser.at_github(agreed.header("location")).await;
        let callback = &callback;
        let returns =
            everywhere(&cluster, &browser).map(|it| async move { it.get(callback).await });
        asked.code(&winner(join_all(returns).await));
    }
    let tokens = client_app.connect(&browser.at(cluster.web(2))).await;
    assert!(!text(&tokens, "access_token").is_empty());
}

/// A page for a person: not now, and what to do.
fn not_now(step: &str, page: &Page) {
    assert_eq!(page.status, 503, "{step}: {}", page.text());
    assert!(!page.header("retry-after").is_empty(), "{step}");
    assert!(page.header("content-type").starts_with("text/html"), "{step}");
    assert!(page.text().contains("Wait a few seconds"), "{step}: {}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_sign_ins_wait_where_they_are_and_everything_else_goes_on() {
    let (relay, github) = (Relay::to(tests::redis::shared().await).await, GitHub::start().await);
    let setup = Setup::new(Database::Sqlite).with_github(&github).on_redis_at(relay.url());
    let cluster = setup.start().await;
    let web = cluster.web(0);
    let (client_app, browser) = (ClientApp::register(web).await, Browser::new(&cluster));
    let token = text(&client_app.connect(&browser).await, "refresh_token");
    let (agreeing, returning, asked) = (client_app.asks(), client_app.asks(), client_app.asks());
    let begun = browser.get(&agreeing.path()).await;
    let consent = begun.header("location");
    let form = tests::browser::form(&browser.get(consent).await);
    let callback = browser.to_callback(&returning).await;

    relay.cut().await;
    not_now("authorize", &browser.get(&asked.path()).await);
    not_now("look at the page of consent", &browser.get(consent).await);
    not_now("consent", &browser.submit(&form, "approve").await);
    not_now("callback", &browser.get(&callback).await);
    let refreshed = client_app.refresh(web, &token).await;
    assert_eq!(refreshed.status, 200, "tokens are exchanged: {}", refreshed.text());
    let ada = web.modern(text(&refreshed.json(), "access_token"));
    assert_eq!(ada.tool("items_list", serde_json::json!({})).await.status, 200, "calls go on");

    relay.mend();
    eventually("Redis is back", async || {
        (browser.get(&asked.path()).await.status == 303).then_some(())
    })
    .await;
    let github = browser.approve(&form).await;
    agreeing.code(&browser.get(&browser.at_github(&github).await).await);
    returning.code(&browser.get(&callback).await);
}
