//! Refresh tokens at `/token`: N90 to N98.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use entity::oauth_refresh_tokens;
use mcp::UserId;
use oauth::{account, audit::RequestInfo};
use sea_orm::EntityTrait as _;
use serde_json::json;
use tests::{
    browser::{ClientApp, post, with},
    fake_endpoint::Manner,
    github::Question,
};

use super::{Stage, text, told};

async fn connected(stage: &Stage) -> (ClientApp, String, String) {
    let client_app = stage.client_app().await;
    let tokens = client_app.connect(&stage.browser()).await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    (client_app, access, refresh)
}

/// Exchanges a token and gives the next one.
async fn next(stage: &Stage, client_app: &ClientApp, token: &str) -> String {
    let page = client_app.refresh(stage.other(), token).await;
    assert_eq!(page.status, 200, "{}", page.text());
    stage.is_good(&text(&page.json(), "access_token")).await;
    text(&page.json(), "refresh_token")
}

#[tokio::test]
async fn n91_a_lost_answer_is_given_again() {
    let stage = Stage::new().await;
    let (client_app, _, first) = connected(&stage).await;
    let second = next(&stage, &client_app, &first).await;
    assert_ne!(first, second);
    stage.pass(119);
    assert_eq!(next(&stage, &client_app, &first).await, second);
    next(&stage, &client_app, &second).await;
}

#[tokio::test]
async fn n92_a_lost_successor_is_replaced_once_a_day() {
    let stage = Stage::new().await;
    let (client_app, access, first) = connected(&stage).await;
    next(&stage, &client_app, &first).await;
    stage.pass(600);
    let replaced = next(&stage, &client_app, &first).await;
    assert_eq!(stage.audited("refresh_recovered").await, 1, "N92");
    let last = next(&stage, &client_app, &replaced).await;
    stage.pass(600);
    told("N92", &client_app.refresh(stage.one(), &replaced).await, 400, "invalid_grant");
    told("N92", &client_app.refresh(stage.one(), &last).await, 400, "invalid_grant");
    stage.is_refused(&access).await;
}

#[tokio::test]
async fn n93_an_old_token_ends_its_grant_and_n96_no_other() {
    let stage = Stage::new().await;
    let (client_app, _, first) = connected(&stage).await;
    // The same person and the same program on another machine.
    let elsewhere = text(&client_app.connect(&stage.browser()).await, "refresh_token");
    let second = next(&stage, &client_app, &first).await;
    let page = client_app.refresh(stage.one(), &second).await.json();
    let (access, third) = (text(&page, "access_token"), text(&page, "refresh_token"));
    stage.pass(121);
    told("N93", &client_app.refresh(stage.other(), &first).await, 400, "invalid_grant");
    told("N93", &client_app.refresh(stage.other(), &third).await, 400, "invalid_grant");
    stage.is_refused(&access).await;
    next(&stage, &client_app, &elsewhere).await;
}

#[tokio::test]
async fn n94_what_was_given_back_has_no_grace() {
    let stage = Stage::new().await;
    let (client_app, access, first) = connected(&stage).await;
    let second = next(&stage, &client_app, &first).await;
    assert_eq!(client_app.revoke(stage.one(), &second).await.status, 200);
    for token in [&first, &second] {
        told("N94", &client_app.refresh(stage.other(), token).await, 400, "invalid_grant");
    }
    stage.is_refused(&access).await;
}

#[tokio::test]
async fn n97_whoever_left_is_shut_out_at_the_next_refresh() {
    const GATE: [(&str, &str); 2] = [
        ("ALLOWED_GITHUB_ORG", tests::github::ORG),
        ("DATA_KEYS", "a key of thirty-two bytes or more"),
    ];
    let stage = Stage::with(&GATE).await;
    stage.github.membership("active");
    let (client_app, _, mut token) = connected(&stage).await;
    let asked = stage.github.asked(Question::Membership);
    token = next(&stage, &client_app, &token).await;
    assert_eq!(stage.github.asked(Question::Membership), asked, "not within 15 minutes");

    // GitHub is away: the last answer holds for a day.
    stage.github.answers(Question::Membership, Manner::Status(500));
    stage.pass(16 * 60);
    token = next(&stage, &client_app, &token).await;
    assert!(stage.github.asked(Question::Membership) > asked);
    stage.pass(25 * 60 * 60);
    let page = client_app.refresh(stage.one(), &token).await;
    told("N97 away", &page, 503, "temporarily_unavailable");
    assert_ne!(page.header("retry-after"), "");

    stage.github.membership("active");
    stage.pass(16 * 60);
    let page = client_app.refresh(stage.one(), &token).await.json();
    token = text(&page, "refresh_token");
    let access = text(&page, "access_token");
    stage.github.answers(Question::Membership, Manner::Status(404));
    stage.pass(16 * 60);
    told("N97 left", &client_app.refresh(stage.other(), &token).await, 400, "invalid_grant");
    stage.is_refused(&access).await;
}

#[tokio::test]
async fn n97_whoever_is_taken_off_the_list_or_blocked_is_shut_out() {
    let mut stage = Stage::with(&[("ALLOWED_GITHUB_LOGINS", "octocat, hubot")]).await;
    let (client_app, access, token) = connected(&stage).await;
    // A deploy with another list.
    let later = stage.cluster.join(&[("ALLOWED_GITHUB_LOGINS", "hubot")]).await;
    stage.pass(16 * 60);
    let page = client_app.refresh(stage.cluster.web(later), &token).await;
    told("N97 off the list", &page, 400, "invalid_grant");
    stage.is_refused(&access).await;
    told("N97", &client_app.refresh(stage.one(), &token).await, 400, "invalid_grant");
    assert_eq!(stage.audited("gate_closed").await, 1, "N97");

    let stage = Stage::new().await;
    let (client_app, access, token) = connected(&stage).await;
    let person = UserId::new("github:583231");
    let operator = RequestInfo::none();
    account::block(stage.cluster.app().oauth(), &person, &operator).await.unwrap();
    told("N97 blocked", &client_app.refresh(stage.other(), &token).await, 400, "invalid_grant");
    stage.is_refused(&access).await;
    let asked = client_app.asks();
    let page = stage.browser().sign_in(&asked).await;
    assert_eq!(page.status, 403, "N97 blocked: {}", page.text());
    account::unblock(stage.cluster.app().oauth(), &person, &operator).await.unwrap();
    told("N97 let in again", &client_app.refresh(stage.one(), &token).await, 400, "invalid_grant");
    client_app.connect(&stage.browser()).await;
}

#[tokio::test]
async fn n98e_what_is_in_the_database_is_no_token() {
    let stage = Stage::new().await;
    let (client_app, _, first) = connected(&stage).await;
    let second = next(&stage, &client_app, &first).await;
    let rows = oauth_refresh_tokens::Entity::find().all(stage.cluster.app().db()).await;
    for row in rows.expect("the table can be read") {
        let seal = row.successor_sealed.unwrap_or_default();
        let kept = [&seal[..], row.token_hash.as_bytes()];
        for bytes in kept.into_iter().filter(|it| !it.is_empty()) {
            let stolen = URL_SAFE_NO_PAD.encode(bytes);
            assert!(!stolen.contains(&second) && !stolen.contains(&first), "N98e");
            for token in [stolen.clone(), format!("mrt_{stolen}")] {
                told("N98e", &client_app.refresh(stage.one(), &token).await, 400, "invalid_grant");
            }
        }
    }
    next(&stage, &client_app, &second).await;
}

#[tokio::test]
async fn n98_a_refresh_does_not_widen_anything() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    let asked = client_app.asks().with("scope", "items:read");
    let code = client_app.received(&asked, &stage.browser().sign_in(&asked).await);
    let token = text(&code.redeem(stage.one()).await.json(), "refresh_token");
    let form = client_app.refreshing(&token);
    for (case, field, value, error) in [
        ("N98 scope", "scope", "items:read items:write", "invalid_scope"),
        ("N98 wider", "scope", "items:write admin", "invalid_scope"),
        ("N98 malformed", "scope", "\"items:read\"", "invalid_scope"),
        ("N98 resource", "resource", "https://other.example/mcp", "invalid_target"),
    ] {
        let page = post(stage.one(), "/token", &with(&form, field, value)).await;
        told(case, &page, 400, error);
    }
    let other = stage.client_app().await;
    told("N98b", &other.refresh(stage.one(), &token).await, 400, "invalid_grant");
    // Nothing of that has rotated or revoked anything.
    let mut token = next(&stage, &client_app, &token).await;

    // What does not exist is ignored, and the answer says what was granted.
    for scope in ["admin", "openid items:read", "", "offline_access"] {
        let page =
            post(stage.one(), "/token", &with(&client_app.refreshing(&token), "scope", scope))
                .await;
        assert_eq!(page.json()["scope"], json!("items:read"), "N98 {scope}: {}", page.text());
        token = text(&page.json(), "refresh_token");
    }
}

#[tokio::test]
async fn n98c_a_grant_ends_by_itself() {
    let stage = Stage::new().await;
    let (client_app, _, idle) = connected(&stage).await;
    stage.pass(30 * 24 * 60 * 60 + 1);
    told("N98c idle", &client_app.refresh(stage.one(), &idle).await, 400, "invalid_grant");

    let (client_app, _, mut token) = connected(&stage).await;
    for _ in 0..4 {
        stage.pass(20 * 24 * 60 * 60);
        token = next(&stage, &client_app, &token).await;
    }
    stage.pass(11 * 24 * 60 * 60);
    told("N98c absolute", &client_app.refresh(stage.one(), &token).await, 400, "invalid_grant");
}

#[tokio::test]
async fn n98d_a_narrow_token_does_not_narrow_the_grant() {
    let stage = Stage::new().await;
    let (client_app, _, token) = connected(&stage).await;
    let narrow = with(&client_app.refreshing(&token), "scope", "items:read");
    let page = post(stage.one(), "/token", &narrow).await;
    assert_eq!(page.json()["scope"], json!("items:read"), "{}", page.text());
    let token = text(&page.json(), "refresh_token");
    let page = client_app.refresh(stage.one(), &token).await;
    assert_eq!(page.json()["scope"], json!("items:read items:write"));
}

#[tokio::test]
async fn n95_trouble_with_the_database_does_not_use_up_a_token() {
    let stage = Stage::new().await;
    let (client_app, access, token) = connected(&stage).await;
    for table in ["oauth_grants", "oauth_refresh_tokens"] {
        stage.hide(table).await;
        let page = client_app.refresh(stage.one(), &token).await;
        told("N95", &page, 503, "temporarily_unavailable");
        assert_ne!(page.header("retry-after"), "", "N95");
        let page = client_app.revoke(stage.other(), &token).await;
        told("N107", &page, 503, "temporarily_unavailable");
        stage.bring_back(table).await;
    }
    stage.is_good(&access).await;
    next(&stage, &client_app, &token).await;
    assert_eq!(stage.audited("refresh_replayed").await, 0, "N95");
}
