//! The way back from GitHub: N60 to N69.

use serde_json::json;
use tests::{
    browser::Form,
    fake_endpoint::Manner,
    github::{ORG, Question},
};

use super::{Stage, sent_back, shown};

#[tokio::test]
async fn a_strangers_browser_ends_nothing() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let asked = client_app.asks();
    let callback = browser.to_callback(&asked).await;
    shown("N60", &stage.browser().get(&callback).await, 403);
    let stranger = stage.browser();
    stranger.to_callback(&client_app.asks()).await;
    shown("N61", &stranger.at(stage.other()).get(&callback).await, 403);
    assert_eq!(stage.github.asked(Question::Exchange), 0, "N60");

    asked.code(&browser.at(stage.other()).get(&callback).await);
    shown("N62 replayed", &browser.get(&callback).await, 400);
}

/// Redirects to a callback that no identity provider sends, made of one that a provider has sent.
pub(super) fn wrong_callbacks(callback: &str) -> [(&'static str, String); 7] {
    let (path, _) = callback.split_once('?').expect("it has a query");
    let key = &tests::browser::answer(callback)["state"];
    [
        ("N62 unknown", format!("{path}?code=x&state=unknown")),
        ("N63 none", format!("{path}?code=x")),
        ("N63 empty", format!("{path}?code=x&state=")),
        ("N64 two states", format!("{callback}&state={key}")),
        ("N64 two codes", format!("{callback}&code=x")),
        ("N64 both", format!("{callback}&error=access_denied")),
        ("N64 neither", format!("{path}?state={key}")),
    ]
}

#[tokio::test]
async fn what_github_never_sends_is_refused() {
    let stage = Stage::new().await;
    let browser = stage.browser();
    let asked = stage.client_app().await.asks();
    let callback = browser.to_callback(&asked).await;
    for (case, address) in wrong_callbacks(&callback) {
        shown(case, &browser.get(&address).await, 400);
    }
    stage.pass(601);
    shown("N62 expired", &browser.get(&callback).await, 400);
}

#[tokio::test]
async fn what_a_browser_makes_up_is_no_failure_of_the_server() {
    let stage = Stage::new().await;
    let to_account = async || {
        let browser = stage.browser();
        let page = browser.submit(&Form::sign_in(None), "").await;
        let callback = browser.at_github(page.header("location")).await;
        (browser, callback)
    };
    let key = |callback: &str| tests::browser::answer(callback)["state"].clone();
    for made_up in ["code=none", "error=server_error", "error=no%00word", "error=a&error_uri=b"] {
        let (browser, callback) = to_account().await;
        let (path, _) = callback.split_once('?').expect("it has a query");
        let address = format!("{path}?{made_up}&state={}", key(&callback));
        shown(made_up, &browser.get(&address).await, 400);
    }
    for malformed in ["code=%00".to_owned(), format!("code={}", "x".repeat(257))] {
        let (browser, callback) = to_account().await;
        let (path, _) = callback.split_once('?').expect("it has a query");
        let before = stage.github.asked(Question::Exchange);
        let address = format!("{path}?{malformed}&state={}", key(&callback));
        shown("malformed", &browser.get(&address).await, 400);
        assert_eq!(stage.github.asked(Question::Exchange), before, "GitHub is not bothered");
        assert_eq!(browser.get(&callback).await.status, 303, "and the sign-in goes on");
    }
    // What GitHub itself says is another matter.
    stage.github.answers(Question::User, Manner::Json(json!({ "login": "octocat" })));
    let (browser, callback) = to_account().await;
    shown("an account without a number", &browser.get(&callback).await, 502);
}

#[tokio::test]
async fn n65_no_at_github_is_no() {
    let stage = Stage::new().await;
    let browser = stage.browser();
    let asked = stage.client_app().await.asks();
    let callback = browser.to_callback(&asked).await;
    let (path, _) = callback.split_once('?').expect("it has a query");
    let key = tests::browser::answer(&callback)["state"].clone();
    let address =
        format!("{path}?error=access_denied&error_description=words+of+others&state={key}");
    let page = browser.get(&address).await;
    let issuer = stage.one().origin();
    sent_back("N65", &page, issuer, "access_denied", Some(&asked.state));
    assert!(!page.header("location").contains("words"), "N65");
}

#[tokio::test]
async fn a_github_that_is_away_or_wrong_gives_no_code() {
    let stage = Stage::new().await;
    let issuer = stage.one().origin();
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let away = "temporarily_unavailable";
    let elsewhere = format!("{}/elsewhere", stage.github.origin());
    let user = |value| Manner::Json(json!({ "id": value, "login": "octocat" }));
    for (case, question, manner, error) in [
        (
            "N66",
            Question::Exchange,
            Manner::Json(json!({ "error": "bad_verification_code" })),
            "server_error",
        ),
        ("N67 500", Question::Exchange, Manner::Status(500), away),
        ("N67 not JSON", Question::Exchange, Manner::NotJson, away),
        ("N67 huge", Question::Exchange, Manner::Huge, away),
        ("N67 redirect", Question::Exchange, Manner::Redirect(elsewhere.clone()), away),
        ("N67 hangs up", Question::Exchange, Manner::HangUp, away),
        ("N67 never", Question::Exchange, Manner::Never, away),
        ("N67 500", Question::User, Manner::Status(500), away),
        ("N67 not JSON", Question::User, Manner::NotJson, away),
        ("N67 huge", Question::User, Manner::Huge, away),
        ("N67 redirect", Question::User, Manner::Redirect(elsewhere), away),
        ("N69c none", Question::User, Manner::Json(json!({ "login": "octocat" })), "server_error"),
        ("N69c text", Question::User, user(json!("583231")), "server_error"),
        ("N69c zero", Question::User, user(json!(0)), "server_error"),
        ("N69c negative", Question::User, user(json!(-1)), "server_error"),
    ] {
        let asked = client_app.asks();
        stage.github.answers(question, manner);
        let page = browser.sign_in(&asked).await;
        sent_back(case, &page, issuer, error, Some(&asked.state));
        stage.github.answers(question, Manner::Well);
    }
    // And when it is back, so is the person.
    client_app.connect(&browser).await;
}

/// A page says no, and its link tells the client.
async fn refused(case: &str, stage: &Stage) {
    let asked = stage.client_app().await.asks();
    let page = stage.browser().sign_in(&asked).await;
    shown(case, &page, 403);
    let html = page.text().replace("&#38;", "&").replace("&amp;", "&");
    assert!(html.contains("error=access_denied"), "{case}: {html}");
}

async fn admitted(stage: &Stage) {
    stage.client_app().await.connect(&stage.browser()).await;
}

#[tokio::test]
async fn n68_users_who_are_not_listed_are_refused() {
    let stage = Stage::with(&[("ALLOWED_GITHUB_LOGINS", " Octocat , id:42 ")]).await;
    admitted(&stage).await;
    stage.github.sign_in_as(7, "mallory");
    refused("N68 login", &stage).await;
    stage.github.sign_in_as(42, "anybody");
    admitted(&stage).await;
    // The login is on the list, but its first owner was another account.
    stage.github.sign_in_as(666, "octocat");
    refused("N69", &stage).await;
    assert_eq!(stage.audited("login_recycled").await, 1, "N69");
    stage.github.sign_in_as(583_231, "renamed");
    admitted(&stage).await;
}

#[tokio::test]
async fn n68_users_outside_the_organization_are_refused() {
    let stage = Stage::with(&[
        ("ALLOWED_GITHUB_ORG", ORG),
        ("DATA_KEYS", "a key of thirty-two bytes or more"),
    ])
    .await;
    stage.github.membership("active");
    admitted(&stage).await;
    stage.github.membership("pending");
    refused("N68 pending", &stage).await;
    for status in [403, 404] {
        stage.github.answers(Question::Membership, Manner::Status(status));
        refused("N68 status", &stage).await;
    }
    let elsewhere = format!("{}/elsewhere", stage.github.origin());
    for (case, manner) in [("N68 500", Manner::Status(500)), ("N69b", Manner::Redirect(elsewhere))]
    {
        stage.github.answers(Question::Membership, manner);
        let asked = stage.client_app().await.asks();
        let page = stage.browser().sign_in(&asked).await;
        let issuer = stage.one().origin();
        sent_back(case, &page, issuer, "temporarily_unavailable", Some(&asked.state));
    }
}
