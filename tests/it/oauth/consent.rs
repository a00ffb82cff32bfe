//! `/consent`: N50 to N59.

use tests::{
    browser::{Form, answer},
    github::Question,
};

use super::{Stage, sent_back, shown};

fn with(form: &Form, name: &str, value: &str) -> Form {
    let mut form = form.clone();
    form.fields.retain(|(it, _)| it != name);
    form.fields.push((name.to_owned(), value.to_owned()));
    form
}

#[tokio::test]
async fn n50_a_person_is_asked_every_time_and_before_github() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    client_app.connect(&browser).await;
    let asked = stage.github.asked(Question::Authorize);
    browser.to_consent(&client_app.asks()).await;
    assert_eq!(stage.github.asked(Question::Authorize), asked, "N50");
    let names = browser.cookies();
    assert!(!names.iter().any(|it| it.starts_with("ghs_")), "N50 {names:?}");
}

#[tokio::test]
async fn a_strange_form_changes_nothing() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let form = browser.to_consent(&client_app.asks()).await;
    let another = browser.to_consent(&client_app.asks()).await;
    let foreign = another.fields.iter().find(|(name, _)| name == "csrf").expect("the form has it");
    let mut without = form.clone();
    without.fields.retain(|(name, _)| name != "csrf");
    for (case, form) in [
        ("N51 without", without),
        ("N51 empty", with(&form, "csrf", "")),
        ("N51 another's", with(&form, "csrf", &foreign.1)),
    ] {
        shown(case, &browser.submit(&form, "approve").await, 403);
    }
    // N52: another browser, even one that is in the middle of a sign-in of its own.
    let stranger = stage.browser();
    shown("N52", &stranger.submit(&form, "approve").await, 403);
    stranger.to_consent(&client_app.asks()).await;
    shown("N52", &stranger.at(stage.other()).submit(&form, "deny").await, 403);

    for (case, name, value) in [
        ("N59 cross-site", "sec-fetch-site", "cross-site"),
        ("N59 same-site", "sec-fetch-site", "same-site"),
        ("N59 null", "origin", "null"),
        ("N59 foreign", "origin", "https://evil.example"),
    ] {
        let request = browser.form_request(&form, "approve").header(name, value);
        shown(case, &browser.read(request).await, 403);
    }
    let request = browser.form_request(&form, "approve");
    shown("N59 neither", &browser.read(request).await, 403);

    for txn in ["", "unknown"] {
        let form = with(&form, "txn", txn);
        shown("N53", &browser.submit(&form, "approve").await, 400);
    }
    // None of that has hurt the owner.
    browser.approve(&form).await;
    shown("N53 again", &browser.submit(&form, "approve").await, 400);
}

#[tokio::test]
async fn n53_a_sign_in_waits_ten_minutes() {
    let stage = Stage::new().await;
    let browser = stage.browser();
    let form = browser.to_consent(&stage.client_app().await.asks()).await;
    stage.pass(601);
    shown("N53", &browser.submit(&form, "approve").await, 400);
}

#[tokio::test]
async fn n54_nothing_is_read_from_the_form_but_the_decision() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let asked = client_app.asks().with("scope", "items:read");
    let mut form = browser.to_consent(&asked).await;
    for (name, value) in [
        ("redirect_uri", "https://evil.example/cb"),
        ("scope", "items:read items:write"),
        ("client_id", "mcl_other"),
        ("code_challenge", "x"),
    ] {
        form = with(&form, name, value);
    }
    let address = browser.approve(&form).await;
    let callback = browser.at_github(&address).await;
    let page = browser.get(&callback).await;
    let code = client_app.received(&asked, &page);
    let page = code.redeem(stage.other()).await;
    assert_eq!(page.json()["scope"], "items:read", "N54 {}", page.text());
}

#[tokio::test]
async fn n56_looking_again_destroys_nothing() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let (first, second) = (client_app.asks(), client_app.asks());
    let begun = browser.get(&first.path()).await;
    let address = begun.header("location").to_owned();
    let form = tests::browser::form(&browser.get(&address).await);
    for _ in 0..2 {
        let again = browser.at(stage.other()).get(&address).await;
        assert_eq!(tests::browser::form(&again), form, "N56");
    }
    let other = browser.to_consent(&second).await;

    // In reverse order, and through the other instance.
    for (asked, form) in [(second, other), (first, form)] {
        let address = browser.at(stage.other()).approve(&form).await;
        let callback = browser.at_github(&address).await;
        asked.code(&browser.get(&callback).await);
    }
}

#[tokio::test]
async fn n59c_no_is_no() {
    let stage = Stage::new().await;
    let browser = stage.browser();
    let asked = stage.client_app().await.asks();
    let form = browser.to_consent(&asked).await;
    let page = browser.submit(&form, "deny").await;
    let issuer = stage.one().origin();
    sent_back("N59c", &page, issuer, "access_denied", Some(&asked.state));
    shown("N59c", &browser.submit(&form, "approve").await, 400);
    assert_eq!(stage.github.asked(Question::Authorize), 0);
}

#[tokio::test]
async fn the_hop_to_github_is_protected_by_pkce_and_state() {
    let stage = Stage::new().await;
    let browser = stage.browser();
    let form = browser.to_consent(&stage.client_app().await.asks()).await;
    let address = browser.approve(&form).await;
    let query = answer(&address);
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["prompt"], "select_account");
    assert_eq!(query.get("scope"), None, "nothing is asked of GitHub without a gate");
    assert!(query["state"].len() >= 43);
}
