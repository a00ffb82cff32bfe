//! What still works, and what is rejected with a clear error, when a dependency is unavailable.

use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp},
    client::{Page, Web},
    fixtures::at_gate,
    github::{self, GitHub},
    processes::{Fleet, Kind, Plan},
};

use super::{REVISION, ended};

fn tea() -> Value {
    json!({ "title": "Tea", "body": "Two minutes." })
}

/// Sends a form to an OAuth endpoint.
async fn post_form(web: &Web, path: &str, body: String) -> Page {
    let request = web
        .request(reqwest::Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    Page::read(request).await
}

/// A client that has registered itself.
async fn registered(web: &Web) -> String {
    let request = web
        .request(reqwest::Method::POST, "/register")
        .header("content-type", "application/json")
        .body(json!({ "redirect_uris": ["http://127.0.0.1/callback"] }).to_string());
    let page = Page::read(request).await;
    assert_eq!(page.status, 201, "{}", page.text());
    page.json()["client_id"].as_str().unwrap().to_owned()
}

fn refresh(client: &str) -> String {
    let token = "notes_rt_00000000000000000000000000000000000000000000";
    format!("grant_type=refresh_token&client_id={client}&refresh_token={token}")
}

#[tokio::test]
async fn without_redis_modern_calls_go_on_and_sessions_are_told_to_wait() {
    let mut fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let client = registered(fleet.web(0)).await;
    fleet.redis().kill().await;

    let modern = fleet.web(1).modern(&token);
    modern.tool("items_create", tea()).await.output();
    assert_eq!(modern.tool("items_list", json!({})).await.output()["items"][0]["title"], "Tea");
    modern.call("tools/list", json!({})).await.result();
    for index in 0..fleet.len() {
        let ping = ada.body("ping", Value::Null);
        let page = ada.at(fleet.web(index)).send_on_purpose(&ping).await;
        assert_eq!(page.status, 503, "{}", page.text());
        assert!(!page.header("retry-after").is_empty(), "it says when to come back");
        assert_eq!(page.json()["id"], ping["id"]);
    }
    let web = fleet.web(2);
    let exchanged = post_form(web, "/token", refresh(&client)).await;
    assert!(exchanged.status.is_client_error(), "{}: {}", exchanged.status, exchanged.text());
    let revoked = post_form(web, "/revoke", format!("client_id={client}&token=none")).await;
    assert!(revoked.status.is_success(), "{}: {}", revoked.status, revoked.text());
    assert_eq!(web.get("/healthz").await.status, 200, "the instance can still serve");

    fleet.redis().start_again().await;
    // The data in Redis is lost: the client is told to start a new session.
    tests::eventually("Redis is used again", async || {
        let ping = ada.body("ping", Value::Null);
        (ada.send_on_purpose(&ping).await.status == 404).then_some(())
    })
    .await;
    let ada = fleet.web(2).legacy(&token, REVISION).await;
    assert_eq!(ada.at(fleet.web(0)).call("ping", Value::Null).await.result(), &json!({}));
}

#[tokio::test]
async fn when_redis_lost_its_data_clients_begin_anew_and_everything_works() {
    let mut fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let mut listening = ada.listen().await;
    listening.next().await;
    fleet.redis().forget_everything().await;

    for index in 0..fleet.len() {
        let ping = ada.body("ping", Value::Null);
        let page = ada.at(fleet.web(index)).send_on_purpose(&ping).await;
        assert_eq!(page.status, 404, "which makes a client initialise again: {}", page.text());
    }
    let ada = fleet.web(1).legacy(&token, REVISION).await;
    let mut listening = ada.at(fleet.web(2)).listen().await;
    ada.at(fleet.web(0)).tool("test_trigger_tool_change", json!({})).await;
    while listening.next_message().await.message.unwrap()["method"]
        != "notifications/tools/list_changed"
    {}
    fleet.web(0).modern(&token).tool("items_create", tea()).await.output();
}

#[tokio::test]
async fn no_event_is_lost_when_the_connections_to_redis_are_cut() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    let call =
        tokio::spawn(async move { ada.persist("tools/call", at_gate("test_gate", "a", 6)).await });
    for turn in 1..=6 {
        gate.reached(turn).await;
        fleet.redis().cut_connections().await;
        gate.step();
    }
    assert_eq!(super::told(&call.await.unwrap()), ["1", "2", "3", "4", "5", "6", "passed 6 times"]);
}

#[tokio::test]
async fn without_the_database_lists_and_streams_go_on_and_the_rest_says_so() {
    let fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(1).modern(&token);
    modern.tool("items_create", tea()).await.output();
    let mut listening = ada.at(fleet.web(0)).listen().await;
    listening.next().await;
    let client = registered(fleet.web(0)).await;
    fleet.database().cut();

    modern.call("tools/list", json!({})).await.result();
    ada.call("tools/list", json!({})).await.result();
    ada.tool("test_trigger_tool_change", json!({})).await;
    while listening.next_message().await.message.unwrap()["method"]
        != "notifications/tools/list_changed"
    {}
    for failed in
        [modern.tool("items_list", json!({})).await, ada.tool("items_list", json!({})).await]
    {
        let text = failed.tool_error();
        assert!(text.contains("try again"), "what to do about it: {text}");
    }
    let web = fleet.web(0);
    let exchanged = post_form(web, "/token", refresh(&client)).await;
    assert_eq!(exchanged.status, 503, "never `invalid_grant`: {}", exchanged.text());
    tests::eventually("readiness becomes false", async || {
        (web.get("/healthz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(web.get("/livez").await.status, 200);

    fleet.database().mend();
    tests::eventually("the database is used again", async || {
        (web.get("/healthz").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ada.tool("items_list", json!({})).await.output()["items"][0]["title"], "Tea");
}

#[tokio::test]
async fn without_github_those_who_are_signed_in_go_on_and_others_are_told() {
    let github = GitHub::start().await;
    github.membership("active");
    let plan = Plan::new(Kind::Fixtures).instances(2).with_github(&github);
    let plan = plan.with("ALLOWED_GITHUB_ORG", github::ORG);
    let fleet = plan.with("DATA_KEYS", "a key of thirty-two bytes or more").start().await;
    let browser = Browser::of(fleet.origin(), fleet.web(0));
    let app = ClientApp::register(fleet.web(0)).await;
    let tokens = app.connect(&browser).await;
    let begun = app.asks();
    let callback = browser.to_callback(&begun).await;
    drop(github);

    // Users stay signed in: the last answer of GitHub is still valid.
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let refreshed = app.refresh(fleet.web(1), refresh).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    for (index, tokens) in [tokens, refreshed.json()].iter().enumerate() {
        let ada = fleet.web(index).modern(tokens["access_token"].as_str().unwrap());
        ada.tool("items_create", tea()).await.output();
        assert_eq!(fleet.web(index).get("/healthz").await.status, 200);
    }
    // A sign-in at the callback fails now, and the client is told to try again.
    let page = browser.at(fleet.web(1)).get(&callback).await;
    assert_eq!(page.status, 303, "{}", page.text());
    let told = tests::browser::answer(page.header("location"));
    assert_eq!(told["error"], "temporarily_unavailable", "{told:?}");
    assert_eq!(told["state"], begun.state);
}

#[tokio::test]
async fn without_redis_jobs_run_and_sign_ins_wait() {
    let github = GitHub::start().await;
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(1).with_github(&github);
    let mut fleet = plan.start().await;
    let token = fleet.token("ada").await;
    let browser = Browser::of(fleet.origin(), fleet.web(0));
    let app = ClientApp::register(fleet.web(0)).await;
    fleet.redis().kill().await;

    let begun = browser.get(&app.asks().path()).await;
    assert_eq!(begun.status, 503, "{}", begun.text());
    assert!(!begun.header("retry-after").is_empty(), "it says when to come back");
    // The worker is not notified: it polls.
    let ada = fleet.web(0).modern(token).with_tasks();
    let made = ada.tool("slow_compute", json!({ "label": "tea" })).await;
    let done = ended(&ada.at(fleet.web(1)), &made.result()["taskId"]).await;
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("tea"), "{done}");

    fleet.redis().start_again().await;
    tests::eventually("people can sign in again", async || {
        (browser.get(&app.asks().path()).await.status == 303).then_some(())
    })
    .await;
}
