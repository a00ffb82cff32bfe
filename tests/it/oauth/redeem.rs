//! Codes at `/token`: N70 to N89.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tests::{
    browser::{ClientApp, Code, encode, owned, post, post_request, with},
    client::Page,
    in_time,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Stage, shown, text, told};

#[tokio::test]
async fn a_client_with_nothing_but_the_address_gets_in() {
    let stage = Stage::new().await;
    let tokens = stage.client_app().await.connect(&stage.browser()).await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], "items:read items:write");
    assert_eq!(tokens["expires_in"], 1800);
    let token = text(&tokens, "access_token");
    stage.is_good(&token).await;
    let listed = stage.other().modern(token).tool("items_list", json!({})).await;
    assert_eq!(listed.output()["items"], json!([]));
}

/// The code still works, on the other instance.
async fn not_burned(case: &str, stage: &Stage, code: &Code) {
    let page = code.redeem(stage.other()).await;
    assert_eq!(page.status, 200, "{case}: {}", page.text());
}

#[tokio::test]
async fn a_wrong_request_leaves_the_code_as_it_is() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let long: &'static str = "a".repeat(129).leak();
    for (case, field, value, error) in [
        ("N33", "resource", Some("https://other.example/mcp"), "invalid_target"),
        ("N70", "code_verifier", None, "invalid_request"),
        ("N73 short", "code_verifier", Some("too-short"), "invalid_request"),
        ("N73 long", "code_verifier", Some(long), "invalid_request"),
        (
            "N73 space",
            "code_verifier",
            Some("aaaaaaaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "invalid_request",
        ),
        (
            "N73 percent",
            "code_verifier",
            Some("aaaaaaaaaaaaaaaaaaaaa%aaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "invalid_request",
        ),
        (
            "N73 not ASCII",
            "code_verifier",
            Some("aaaaaaaaaaaaaaaaaaaaaéaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "invalid_request",
        ),
        (
            "N71",
            "code_verifier",
            Some("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "invalid_grant",
        ),
        ("N80", "redirect_uri", Some("http://127.0.0.1:33418/other"), "invalid_grant"),
        ("N82 none", "grant_type", None, "invalid_request"),
        ("N82 password", "grant_type", Some("password"), "unsupported_grant_type"),
        ("N82 client", "grant_type", Some("client_credentials"), "unsupported_grant_type"),
        ("N82 implicit", "grant_type", Some("implicit"), "unsupported_grant_type"),
        (
            "N82 exchange",
            "grant_type",
            Some("urn:ietf:params:oauth:grant-type:token-exchange"),
            "unsupported_grant_type",
        ),
        (
            "N82 device",
            "grant_type",
            Some("urn:ietf:params:oauth:grant-type:device_code"),
            "unsupported_grant_type",
        ),
    ] {
        let code = client_app.code(&browser).await;
        let page = post(stage.one(), "/token", &with(&code.form(), field, value)).await;
        told(case, &page, 400, error);
        not_burned(case, &stage, &code).await;
    }

    // The challenge has travelled through the browser: it is no verifier.
    let code = client_app.code(&browser).await;
    let mut form = with(&code.form(), "code_verifier", None);
    form.push(("code_verifier".to_owned(), tests::browser::challenge(&code.verifier)));
    told("N73", &post(stage.one(), "/token", &form).await, 400, "invalid_grant");
    not_burned("N73", &stage, &code).await;

    let code = client_app.code(&browser).await;
    let mut form = with(&code.form(), "client_id", None);
    form.push(("client_id".to_owned(), stage.client_app().await.id));
    told("N75", &post(stage.one(), "/token", &form).await, 400, "invalid_grant");
    not_burned("N75", &stage, &code).await;
}

#[tokio::test]
async fn n72_the_third_wrong_verifier_ends_the_code() {
    let stage = Stage::new().await;
    let code = stage.client_app().await.code(&stage.browser()).await;
    let wrong =
        with(&code.form(), "code_verifier", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    for web in [stage.one(), stage.other(), stage.one()] {
        told("N72", &post(web, "/token", &wrong).await, 400, "invalid_grant");
    }
    told("N72", &code.redeem(stage.other()).await, 400, "invalid_grant");
}

#[tokio::test]
async fn n76_a_code_is_good_for_a_minute() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let in_time = client_app.code(&browser).await;
    stage.pass(59);
    assert_eq!(in_time.redeem(stage.other()).await.status, 200);
    let late = client_app.code(&browser).await;
    stage.pass(61);
    told("N76", &late.redeem(stage.other()).await, 400, "invalid_grant");
}

#[tokio::test]
async fn n77_a_replay_ends_the_grant() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let code = client_app.code(&browser).await;
    let tokens = code.redeem(stage.one()).await.json();
    let access = text(&tokens, "access_token");

    // Somebody who submits twice is no thief.
    told("N77 at once", &code.redeem(stage.other()).await, 400, "invalid_grant");
    stage.is_good(&access).await;
    stage.pass(11);
    // N78: whoever lacks the verifier, or is another client, ends nothing.
    let wrong =
        with(&code.form(), "code_verifier", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    told("N78", &post(stage.one(), "/token", &wrong).await, 400, "invalid_grant");
    let mut other = with(&code.form(), "client_id", None);
    other.push(("client_id".to_owned(), stage.client_app().await.id));
    told("N78", &post(stage.one(), "/token", &other).await, 400, "invalid_grant");
    stage.is_good(&access).await;

    told("N77", &code.redeem(stage.other()).await, 400, "invalid_grant");
    stage.is_refused(&access).await;
    assert_eq!(stage.audited("code_replayed").await, 1, "N77");
    let refreshed = client_app.refresh(stage.one(), &text(&tokens, "refresh_token")).await;
    told("N77", &refreshed, 400, "invalid_grant");
}

#[tokio::test]
async fn what_is_no_token_request_is_refused() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    let code = client_app.code(&stage.browser()).await;
    let body = encode(&code.form());
    let web = stage.one();

    for (case, value) in [
        ("N79 checksum", "mac_0000000000000000000000000000000000000000000000000"),
        ("N79 nothing", "x"),
        ("N79 NUL", "mac_\0"),
    ] {
        let page = post(web, "/token", &with(&code.form(), "code", value)).await;
        told(case, &page, 400, "invalid_grant");
    }
    for (case, kind) in [
        ("N83 JSON", "application/json"),
        ("N83 multipart", "multipart/form-data; boundary=x"),
        ("N83 text", "text/plain; x=application/x-www-form-urlencoded"),
        ("N83 charset", "application/x-www-form-urlencoded; charset=utf-16"),
    ] {
        let request = web
            .request(reqwest::Method::POST, "/token")
            .header("content-type", kind)
            .body(body.clone());
        told(case, &Page::read(request).await, 400, "invalid_request");
    }
    let request = web.request(reqwest::Method::POST, "/token").body(body.clone());
    told("N83 none", &Page::read(request).await, 400, "invalid_request");

    for field in ["code", "client_id", "grant_type", "code_verifier"] {
        let twice = format!("{body}&{field}=x");
        let page = Page::read(post_request(web, "/token").body(twice)).await;
        told(&format!("N84 {field}"), &page, 400, "invalid_request");
    }
    let address = format!("/token?{body}");
    for sent in [String::new(), body.clone()] {
        let page = Page::read(post_request(web, &address).body(sent)).await;
        told("N85", &page, 400, "invalid_request");
    }
    let unknown = with(&code.form(), "client_id", "mcl_unknown");
    told("N87", &post(web, "/token", &unknown).await, 401, "invalid_client");

    let page = web.get("/token").await;
    assert_eq!(page.status, 405, "N88");
    let large = format!("{body}&x={}", "x".repeat(16 * 1024));
    let page = Page::read(post_request(web, "/token").body(large)).await;
    assert_eq!(page.status, 413, "N89");
    let many: Vec<_> = (0..1_000).map(|number| format!("x{number}=1")).collect();
    let many = format!("{body}&{}", many.join("&"));
    let page = Page::read(post_request(web, "/token").body(many)).await;
    assert_eq!(page.status, 413, "N89");

    not_burned("all of it", &stage, &code).await;
}

#[tokio::test]
async fn n82_a_client_without_refresh_tokens_cannot_refresh() {
    let stage = Stage::new().await;
    let metadata = json!({
        "redirect_uris": [tests::browser::REDIRECT_URI],
        "grant_types": ["authorization_code"],
    });
    let client_app = ClientApp::register_with(stage.one(), metadata).await;
    let tokens = client_app.connect(&stage.browser()).await;
    assert_eq!(tokens.get("refresh_token"), None);
    let page = client_app.refresh(stage.one(), "mrt_anything").await;
    told("N82", &page, 400, "unauthorized_client");
}

#[tokio::test]
async fn n86_a_client_with_a_secret_proves_it() {
    let stage = Stage::new().await;
    let metadata = json!({
        "redirect_uris": [tests::browser::REDIRECT_URI],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let client_app = ClientApp::register_with(stage.one(), metadata).await;
    let secret = client_app.secret.clone().expect("it asked for one");
    let code = client_app.code(&stage.browser()).await;
    let (web, bare) = (stage.one(), with(&code.form(), "client_id", None));
    let basic =
        |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));

    for (case, header) in [
        ("wrong secret", basic(&client_app.id, "wrong")),
        ("no secret", basic(&client_app.id, "")),
        ("malformed", "Basic !!!".to_owned()),
        ("another client", basic(&stage.client_app().await.id, &secret)),
    ] {
        let request = post_request(web, "/token").header("authorization", header);
        let page = Page::read(request.body(encode(&bare))).await;
        told(&format!("N86 {case}"), &page, 401, "invalid_client");
        let challenge = page.header("www-authenticate");
        assert!(challenge.starts_with("Basic"), "N86 {case}: {challenge}");
    }
    let page = post(web, "/token", &code.form()).await;
    told("N86 no secret at all", &page, 401, "invalid_client");
    let mut both = code.form();
    both.push(("client_secret".to_owned(), secret.clone()));
    let request =
        post_request(web, "/token").header("authorization", basic(&client_app.id, &secret));
    let page = Page::read(request.body(encode(&both))).await;
    told("N86 both", &page, 400, "invalid_request");

    let request = post_request(web, "/token")
        .header("authorization", basic(&client_app.id, &secret))
        .header("authorization", basic(&client_app.id, &secret));
    let page = Page::read(request.body(encode(&bare))).await;
    told("N86 twice", &page, 400, "invalid_request");

    let public = stage.client_app().await.code(&stage.browser()).await;
    let mut form = public.form();
    form.push(("client_secret".to_owned(), secret.clone()));
    let page = post(web, "/token", &form).await;
    told("N86 public client with a secret", &page, 401, "invalid_client");

    // The header of something else beside it is no credential, and no reason to refuse.
    let request = post_request(web, "/token")
        .header("authorization", "Bearer of-an-earlier-sign-in")
        .header("authorization", basic(&client_app.id, &secret));
    let page = Page::read(request.body(encode(&bare))).await;
    assert_eq!(page.status, 200, "{}", page.text());

    // The id in the header, the secret in the body.
    let token = text(&page.json(), "refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", &token)];
    let both = [&form[..], &[("client_secret", &secret)]].concat();
    let request = post_request(web, "/token").header("authorization", basic(&client_app.id, ""));
    let page = Page::read(request.body(encode(&both))).await;
    assert_eq!(page.status, 200, "{}", page.text());
}

#[tokio::test]
async fn n86_a_public_client_is_known_by_its_id_whatever_its_library_adds() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let named = basic(&format!("{}:", client_app.id));
    let send = async |path: &str, header: &str, form: &[(String, String)]| {
        let request = post_request(stage.other(), path).header("authorization", header);
        Page::read(request.body(encode(form))).await
    };
    for header in [
        "Bearer of-an-earlier-sign-in",
        "bearer",
        "DPoP x",
        "Negotiate YQ==",
        "not-a-scheme",
        &named,
    ] {
        let code = client_app.code(&browser).await;
        let page = send("/token", header, &code.form()).await;
        assert_eq!(page.status, 200, "N86 {header}: {}", page.text());
        let token = text(&page.json(), "refresh_token");
        let page = send("/token", header, &client_app.refreshing(&token)).await;
        assert_eq!(page.status, 200, "N86 {header}: {}", page.text());
        let token = text(&page.json(), "refresh_token");
        let revocation = owned(&[("client_id", &client_app.id), ("token", &token)]);
        let page = send("/revoke", header, &revocation).await;
        assert_eq!(page.status, 200, "N86 {header}: {}", page.text());
        told(header, &client_app.refresh(stage.one(), &token).await, 400, "invalid_grant");
    }
    // Only the header names it.
    let code = client_app.code(&browser).await;
    let page = send("/token", &named, &with(&code.form(), "client_id", None)).await;
    assert_eq!(page.status, 200, "N86: {}", page.text());

    let form = client_app.code(&browser).await.form();
    for header in ["Basic", "Basic !", "Basic undefined", &basic(&client_app.id), &basic("other:")]
    {
        for path in ["/token", "/revoke"] {
            let page = send(path, header, &form).await;
            told(&format!("N86 {path} {header}"), &page, 401, "invalid_client");
            assert!(page.header("www-authenticate").starts_with("Basic"), "N86 {header}");
        }
    }
    // Where no Basic header was tried, none is asked for.
    let unknown = with(&form, "client_id", "mcl_unknown");
    let page = send("/token", "Bearer x", &unknown).await;
    told("N87", &page, 401, "invalid_client");
    assert_eq!(page.header("www-authenticate"), "", "N87");
}

#[tokio::test]
async fn a_code_cannot_be_had_by_looking() {
    let stage = Stage::new().await;
    let page = stage.browser().get("/oauth/github/callback").await;
    shown("N63", &page, 400);
}

#[tokio::test]
async fn n74_a_code_without_a_challenge_cannot_exist() {
    let stage = Stage::new().await;
    let code = stage.client_app().await.code(&stage.browser()).await;
    let db = stage.cluster.app().db();
    for change in ["code_challenge = NULL", "code_challenge = ''"] {
        let statement = format!("UPDATE oauth_codes SET {change}");
        let refused = db.execute_unprepared(&statement).await;
        assert!(refused.is_err(), "N74: {change}");
    }
    not_burned("N74", &stage, &code).await;
}

#[tokio::test]
async fn n89_a_body_that_does_not_arrive_is_not_waited_for() {
    let stage = Stage::new().await;
    let address = stage.one().origin().strip_prefix("http://").expect("it is plain HTTP");
    let mut socket = TcpStream::connect(address).await.expect("the instance listens");
    let head = format!(
        "POST /token HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\ngrant_type"
    );
    socket.write_all(head.as_bytes()).await.expect("the instance reads");
    let mut answer = String::new();
    let read = in_time("the instance loses its patience", socket.read_to_string(&mut answer));
    read.await.expect("the answer is text");
    assert!(answer.starts_with("HTTP/1.1 408"), "N89: {answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "N89: {answer}");
}

#[tokio::test]
async fn n136_trouble_with_the_database_does_not_use_up_a_code() {
    let stage = Stage::new().await;
    let code = stage.client_app().await.code(&stage.browser()).await;
    for table in ["oauth_codes", "oauth_grants", "oauth_refresh_tokens"] {
        stage.hide(table).await;
        let page = code.redeem(stage.one()).await;
        told(table, &page, 503, "temporarily_unavailable");
        assert_ne!(page.header("retry-after"), "", "{table}");
        stage.bring_back(table).await;
    }
    not_burned("N136", &stage, &code).await;
}
