//! Access tokens and `/revoke`: N105 to N112, also while a stream is open (N112b) and for instances
//! that did not hear of it (N112c).

use mcp::UserId;
use oauth::{account, audit::RequestInfo, client::ClientId, grant::Reason, revoke};
use reqwest::Method;
use serde_json::json;
use tests::{browser::form, client::Stream, schema::Revision};
use tests::{
    browser::{owned, post},
    client::Page,
};

use super::{Stage, text, told};

#[tokio::test]
async fn n105_n106_a_token_is_given_back_by_its_client() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let first = text(&client_app.connect(&browser).await, "access_token");
    let second = client_app.connect(&browser).await;
    let refresh = text(&second, "refresh_token");
    let stranger = stage.client_app().await;
    for token in [&first, &refresh] {
        let page = stranger.revoke(stage.one(), token).await;
        told("N105", &page, 400, "unauthorized_client");
    }
    stage.is_good(&first).await;

    for token in ["unknown", "mrt_unknown", "a.b.c"] {
        assert_eq!(client_app.revoke(stage.one(), token).await.status, 200, "N106 {token}");
    }
    let page = post(stage.one(), "/revoke", &owned(&[("client_id", &client_app.id)])).await;
    told("N106", &page, 400, "invalid_request");
    let form = owned(&[
        ("client_id", &client_app.id),
        ("token", &first),
        ("token_type_hint", "refresh_token"),
    ]);
    assert_eq!(post(stage.other(), "/revoke", &form).await.status, 200, "N106");
    stage.is_refused(&first).await;
    // N112: the same program elsewhere goes on.
    stage.is_good(&text(&second, "access_token")).await;
    assert_eq!(client_app.refresh(stage.one(), &refresh).await.status, 200, "N112");
}

#[tokio::test]
async fn n108_n109_a_token_is_presented_in_one_way() {
    let stage = Stage::new().await;
    let token = text(&stage.client_app().await.connect(&stage.browser()).await, "access_token");
    let web = stage.other();
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let send = |path: String, headers: Vec<(&'static str, String)>| {
        let mut request = web
            .request(Method::POST, &path)
            .header("content-type", "application/json")
            .header("accept", tests::client::ACCEPT)
            .body(ping.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Page::read(request)
    };
    let bearer = format!("Bearer {token}");

    let page = send("/mcp".to_owned(), vec![]).await;
    assert_eq!(page.status, 401, "N108");
    let challenge = page.header("www-authenticate");
    assert!(!challenge.contains("error="), "N108 {challenge}");
    assert!(challenge.contains("resource_metadata=") && challenge.contains("scope="), "N108");
    for method in [Method::GET, Method::POST, Method::DELETE] {
        assert_eq!(Page::read(web.request(method, "/mcp")).await.status, 401, "P08");
    }

    let page = send("/mcp".to_owned(), vec![("authorization", bearer.replace("Bearer", "bearer"))]);
    assert_ne!(page.await.status, 401, "N109");
    let both = [("authorization", bearer.clone()), ("authorization", bearer.clone())];
    for (case, path, headers) in [
        ("Basic", "/mcp".to_owned(), vec![("authorization", format!("Basic {token}"))]),
        ("twice", "/mcp".to_owned(), both.to_vec()),
        ("two tokens", "/mcp".to_owned(), vec![("authorization", format!("{bearer} {token}"))]),
        ("query", format!("/mcp?access_token={token}"), vec![]),
    ] {
        let status = send(path, headers).await.status;
        assert!(status == 401 || status == 400, "N109 {case}: {status}");
    }
}

#[tokio::test]
async fn n110_more_is_asked_for_together_with_what_is_there() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    let asked = client_app.asks().with("scope", "items:read");
    let code = client_app.received(&asked, &stage.browser().sign_in(&asked).await);
    let token = text(&code.redeem(stage.one()).await.json(), "access_token");
    let web = stage.other();
    let item = json!({ "title": "a", "body": "b" });
    let page = web.modern(&token).tool("items_create", item).await;
    assert_eq!(page.status, 403, "N110: {:#}", page.message);
    let challenge = page.header("www-authenticate");
    for part in [r#"error="insufficient_scope""#, r#"scope="items:read items:write""#] {
        assert!(challenge.contains(part), "N110: {challenge}");
    }
    // What cannot be understood is not let through.
    let broken = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"items_create""#;
    let page = Page::read(web.post(&token, broken)).await;
    assert_eq!(page.status, 400, "N110: {}", page.text());
    let items = stage.one().modern(&token).tool("items_list", json!({})).await;
    assert_eq!(items.output()["items"], json!([]), "N110");
}

#[tokio::test]
async fn n111_nothing_else_opens_the_door() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let code = client_app.code(&browser).await;
    let refresh = text(&client_app.connect(&browser).await, "refresh_token");
    for other in [code.code.as_str(), &refresh, "gho_0", &client_app.id] {
        assert!(!stage.takes(stage.one(), other).await, "N111");
    }
    let tokens = client_app.connect(&browser).await;
    let access = text(&tokens, "access_token");
    stage.is_good(&access).await;
    // N101: a few seconds of leeway for clocks, and no more.
    stage.pass(30 * 60 + 6);
    assert!(!stage.takes(stage.one(), &access).await, "N101");
}

/// Streams of both eras that the holder of a token has open on the other instance.
async fn streams(stage: &Stage, token: &str) -> [Stream; 2] {
    let modern = stage.other().modern(token);
    let (modern, _) = modern.listen(json!({ "toolsListChanged": true })).await;
    let legacy = stage.other().legacy(token, Revision::November2025).await.listen().await;
    [modern, legacy]
}

/// Both end, and by then the token is worth nothing anywhere.
async fn end(case: &str, stage: &Stage, token: &str, streams: [Stream; 2]) {
    for mut stream in streams {
        // Reading to the end fails when there is none.
        stream.rest().await;
    }
    stage.is_refused(token).await;
    assert!(!stage.takes(stage.other(), token).await, "{case}");
}

#[tokio::test]
async fn n112b_streams_end_wherever_the_access_is_taken_back() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let app = stage.cluster.app();
    let operator = RequestInfo::none();
    for case in ["/revoke", "/account", "an app, by an operator", "a person, by an operator"] {
        let token = text(&client_app.connect(&browser).await, "access_token");
        let streams = streams(&stage, &token).await;
        match case {
            "/revoke" => assert_eq!(client_app.revoke(stage.one(), &token).await.status, 200),
            "/account" => {
                let mut disconnect = form(&browser.account().await);
                disconnect.fields.push(("action".to_owned(), "disconnect".to_owned()));
                assert_eq!(browser.submit(&disconnect, "").await.status, 303);
            }
            "an app, by an operator" => {
                let client = ClientId(client_app.id.clone());
                revoke::client(app.oauth(), &client, Reason::Operator, &operator).await.unwrap();
            }
            _ => {
                let person = UserId::new("github:583231");
                account::block(app.oauth(), &person, &operator).await.unwrap();
            }
        }
        end(&format!("N112b {case}"), &stage, &token, streams).await;
    }
}

#[tokio::test]
async fn n112c_an_instance_that_comes_later_refuses_at_once() {
    let mut stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let revoked = text(&client_app.connect(&browser).await, "access_token");
    let good = text(&client_app.connect(&browser).await, "access_token");
    assert_eq!(client_app.revoke(stage.one(), &revoked).await.status, 200);
    let later = stage.cluster.join(&[]).await;
    let web = stage.cluster.web(later);
    assert!(!stage.takes(web, &revoked).await, "N112c");
    assert!(stage.takes(web, &good).await, "N112c");
}
