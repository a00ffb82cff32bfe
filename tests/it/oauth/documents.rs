//! Client ID Metadata Documents from outside: N123 to N130, P05 and P09. The documents are on a host
//! with TLS that the tests run; every case has a host name of its own, and with it a share of its own.

use std::{collections::BTreeSet, time::Instant};

use futures_util::future::join_all;
use oauth::{
    cimd::{self, Rechecked},
    client::ClientId,
};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Idle,
    browser::{Asked, ClientApp, Code, REDIRECT_URI, visitor},
    client::{Page, Web},
    documents::{CLIENT, PUBLIC, Reply, document},
};
use tokio_util::sync::CancellationToken;

use super::{Stage, shown, text, told};

/// The client whose id is this address.
fn client(url: &str) -> ClientApp {
    ClientApp::known(url)
}

async fn ask(web: &Web, asked: &Asked) -> Page {
    let request = web.request(Method::GET, &asked.path());
    Page::read(request.header("x-forwarded-for", visitor())).await
}

/// It is on its way to the page that asks for consent.
fn welcome(case: &str, page: &Page) {
    assert_eq!(page.status, 303, "{case}: {}", page.text());
    assert!(page.header("location").starts_with("/consent"), "{case}");
}

/// A document of the client with one member changed, or taken away if it is null.
fn changed(member: &'static str, value: Value) -> Reply {
    let mut document = document(CLIENT);
    match value {
        Value::Null => drop(document.as_object_mut().expect("it is one").remove(member)),
        value => document[member] = value,
    }
    Reply::Json(document)
}

#[tokio::test]
async fn n123_a_wrong_address_is_never_looked_up() {
    let (stage, host) = Stage::with_documents().await;
    let port = stage.one().origin().rsplit(':').next().expect("it has a port").to_owned();
    for url in [
        "http://app.example.com/client",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/a/../c",
        "https://app.example.com/%2e%2e/c",
        "https://app.example.com/c#x",
        "https://me@app.example.com/c",
        "https://app.example.com:8443/c",
        "https://127.0.0.1/c",
        "https://[::1]/c",
        "https://2130706433/c",
        "https://0177.0.0.1/c",
        "https://localhost/c",
        &format!("https://127.0.0.1:{port}/c"),
        &format!("https://app.example.com/{}", "a".repeat(500)),
        "HTTPS://app.example.com/client",
    ] {
        shown(&format!("N123 {url}"), &ask(stage.one(), &client(url).asks()).await, 400);
    }
    assert_eq!((host.lookups(), host.connections()), (0, 0), "N123");
}

#[tokio::test]
async fn n124_an_address_inside_is_never_connected_to() {
    let (stage, host) = Stage::with_documents().await;
    let inside: [&[&str]; 17] = [
        &["10.0.0.1"],
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["100.64.0.1"],
        &["192.168.0.1"],
        &["0.0.0.0"],
        &["224.0.0.1"],
        &["::1"],
        &["fc00::1"],
        &["fe80::1"],
        &["::ffff:10.0.0.1"],
        &["64:ff9b::a00:1"],
        &["2002:a00:1::"],
        &["2001:0:a00:1::"],
        &[PUBLIC, "10.0.0.1"],
        &["fd00::1", PUBLIC],
        &[],
    ];
    for (number, addresses) in inside.into_iter().enumerate() {
        let name = format!("n{number}.example.com");
        host.resolves(&name, &[addresses]);
        let page = ask(stage.other(), &client(&format!("https://{name}/client")).asks()).await;
        shown(&format!("N124 {addresses:?}"), &page, 400);
    }
    assert_eq!((host.lookups(), host.connections()), (17, 0), "N124");
}

#[tokio::test]
async fn n125_the_checked_address_is_the_one_that_is_connected_to() {
    let (stage, host) = Stage::with_documents().await;
    host.resolves("app.example.com", &[&[PUBLIC], &["127.0.0.1"]]);
    welcome("N125", &ask(stage.one(), &client(CLIENT).asks()).await);
    assert_eq!((host.lookups(), host.connections()), (1, 1), "N125: one question, one answer");
    let again = client("https://app.example.com/again").asks();
    shown("N125", &ask(stage.one(), &again).await, 400);
    assert_eq!((host.lookups(), host.connections()), (2, 1), "N125");
}

#[tokio::test]
async fn n126_a_bad_answer_is_refused_within_its_bounds() {
    type Answers = Box<dyn Fn(&str) -> Reply + Send + Sync>;
    let (stage, host) = Stage::with_documents().await;
    let json = "content-type: application/json\r\n";
    let packed = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let elsewhere = "location: https://other.example.com/client\r\n";
    let good = |url: &str| document(url).to_string();
    let cases: Vec<(&str, Answers)> = vec![
        ("301", Box::new(move |_| Reply::With(301, elsewhere, String::new()))),
        ("302", Box::new(move |_| Reply::With(302, "location: /\r\n", String::new()))),
        ("307", Box::new(move |_| Reply::With(307, elsewhere, String::new()))),
        ("204", Box::new(move |_| Reply::With(204, json, String::new()))),
        ("404", Box::new(move |url| Reply::With(404, json, good(url)))),
        ("500", Box::new(move |url| Reply::With(500, json, good(url)))),
        ("5,121 bytes", Box::new(move |url| Reply::With(200, json, format!("{:5121}", good(url))))),
        ("without end", Box::new(|_| Reply::Endless)),
        ("gzip", Box::new(move |_| Reply::With(200, packed, "\u{1f}\u{8}".to_owned()))),
        ("HTML", Box::new(move |url| Reply::With(200, "content-type: text/html\r\n", good(url)))),
        ("no type", Box::new(move |url| Reply::With(200, "", good(url)))),
        ("stalls", Box::new(|_| Reply::Silence)),
    ];
    for (number, (case, answers)) in cases.into_iter().enumerate() {
        host.answers(answers);
        let url = format!("https://n{number}.example.com/client");
        let began = Instant::now();
        let page = ask(stage.one(), &client(&url).asks()).await;
        shown(&format!("N126 {case}"), &page, 400);
        assert!(began.elapsed() < tests::PATIENCE, "N126 {case}: it is bounded");
        assert_eq!(host.requests(), number + 1, "N126 {case}: no redirect, no second try");
    }
    // The certificate is not good for this name.
    let page = ask(stage.one(), &client("https://app.example.org/client").asks()).await;
    shown("N126 TLS", &page, 400);
}

#[tokio::test]
async fn n127_n128_a_document_has_to_be_right() {
    let cases = [
        ("N127 not JSON", Reply::With(200, "content-type: application/json\r\n", "{".to_owned())),
        ("N127 array", Reply::Json(json!([document(CLIENT)]))),
        ("N127 case", changed("client_id", json!("https://app.example.com/Client"))),
        ("N127 slash", changed("client_id", json!("https://app.example.com/client/"))),
        ("N127 query", changed("client_id", json!("https://app.example.com/client?"))),
        ("N127 none", changed("client_id", Value::Null)),
        ("N127 secret", changed("client_secret", json!("x"))),
        ("N127 target", changed("redirect_uris", json!(["http://127.0.0.1:33418/other"]))),
        ("N127 no target", changed("redirect_uris", json!([]))),
        ("N128", changed("token_endpoint_auth_method", json!("client_secret_basic"))),
        ("N128", changed("token_endpoint_auth_method", json!("client_secret_post"))),
        ("N128", changed("token_endpoint_auth_method", json!("private_key_jwt"))),
    ];
    let (stage, host) = Stage::with_documents().await;
    let asked = client(CLIENT).asks();
    for (case, reply) in cases {
        host.serves(reply.clone());
        shown(case, &ask(stage.one(), &asked).await, 400);
        // A share of ten is used up; the next minute brings another.
        stage.pass(61);
    }
    let mut prefers = document(CLIENT);
    prefers["token_endpoint_auth_method"] = json!("private_key_jwt");
    prefers["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt", "none"]);
    host.serves(Reply::Json(prefers));
    welcome("N128", &ask(stage.one(), &asked).await);
}

#[tokio::test]
async fn a_member_of_a_document_that_is_null_or_unknown_is_absent() {
    let (stage, host) = Stage::with_documents().await;
    let mut nulls = document(CLIENT);
    for member in ["client_name", "client_secret", "client_secret_expires_at", "jwks", "logo_uri"] {
        nulls[member] = Value::Null;
    }
    for member in ["grant_types", "response_types", "token_endpoint_auth_method", "contacts"] {
        nulls[member] = Value::Null;
    }
    nulls["scope"] = json!("openid items:read");
    host.serves(Reply::Json(nulls));
    let client_app = client(CLIENT);
    // It has one target, so it need not name it.
    let asked = client_app.asks().without("redirect_uri").without("scope");
    let code = asked.code(&stage.browser().sign_in(&asked).await);
    let page = Code { code, verifier: asked.verifier, client_app }.redeem(stage.other()).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.json()["scope"], "items:read");
}

#[tokio::test]
async fn n129_a_failure_is_not_kept() {
    let (stage, host) = Stage::with_documents().await;
    let asked = client(CLIENT).asks();
    host.serves(Reply::With(500, "", String::new()));
    shown("N129", &ask(stage.one(), &asked).await, 400);
    host.serves(Reply::Json(document(CLIENT)));
    welcome("N129", &ask(stage.other(), &asked).await);
}

#[tokio::test]
async fn n130_p05_what_was_agreed_to_outlives_the_document() {
    let (stage, host) = Stage::with_documents().await;
    let (browser, client_app) = (stage.browser(), client(CLIENT));
    let code = client_app.code(&browser).await;
    // The target is gone, and then the whole host: the tokens go by what the person has seen.
    host.serves(changed("redirect_uris", json!(["http://127.0.0.1:33418/other"])));
    stage.pass(5);
    let page = code.redeem(stage.other()).await;
    assert_eq!(page.status, 200, "N130: {}", page.text());
    host.serves(Reply::With(404, "", String::new()));
    stage.pass(60 * 60);
    let page = client_app.refresh(stage.one(), &text(&page.json(), "refresh_token")).await;
    assert_eq!(page.status, 200, "P05: {}", page.text());
    stage.is_good(&text(&page.json(), "access_token")).await;
    shown("P05", &ask(stage.one(), &client_app.asks()).await, 400);

    // The next person sees what the document says now.
    host.serves(changed("client_name", json!("Another Name")));
    stage.pass(61);
    let begun = browser.get(&client_app.asks().path()).await;
    let page = browser.get(begun.header("location")).await;
    assert!(page.text().contains("Another Name"), "N130");
    stage.pass(24 * 60 * 60);
    host.serves(changed("redirect_uris", json!(["http://127.0.0.1:33418/other"])));
    shown("N130", &ask(stage.one(), &client_app.asks()).await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn n130b_two_hundred_at_once_are_one_fetch() {
    let (stage, host) = Stage::with_documents().await;
    let client_app = client(CLIENT);
    let asking = (0..200).map(|number| {
        let (web, asked) = ([stage.one(), stage.other()][number % 2], client_app.asks());
        async move { ask(web, &asked).await }
    });
    for page in join_all(asking).await {
        welcome("N130b", &page);
    }
    assert!(host.requests() <= 2, "N130b: {}", host.requests());
}

#[tokio::test]
async fn n130c_one_host_is_not_asked_more_than_ten_times_a_minute() {
    let (stage, host) = Stage::with_documents().await;
    let mut statuses = BTreeSet::new();
    for number in 0..100 {
        let asked = client(&format!("{CLIENT}/{number}")).asks();
        let page = ask([stage.one(), stage.other()][number % 2], &asked).await;
        statuses.insert(page.status.as_u16());
        if page.status == 429 {
            shown("N130c", &page, 429);
            assert_ne!(page.header("retry-after"), "", "N130c");
        }
    }
    assert_eq!(host.requests(), 10, "N130c");
    assert_eq!(statuses, BTreeSet::from([303, 429]), "N130c: whoever names the documents did it");
}

#[tokio::test]
async fn made_up_ids_of_a_host_do_not_keep_its_client_from_being_found() {
    let (stage, host) = Stage::with_documents().await;
    let client_app = client(CLIENT);
    welcome("first", &ask(stage.one(), &client_app.asks()).await);
    stage.pass(24 * 60 * 60 + 1); // what is kept of the document has ended
    let before = host.requests();
    for number in 0..30 {
        let made_up = client(&format!("{CLIENT}/{number}")).asks();
        ask([stage.one(), stage.other()][number % 2], &made_up).await;
    }
    assert_eq!(host.requests() - before, 10, "ids that nobody knows share a budget");
    host.serves(changed("client_name", json!("Another Name")));
    let (browser, asked) = (stage.browser(), client_app.asks());
    let begun = browser.get(&asked.path()).await;
    welcome("a known client", &begun);
    let page = browser.get(begun.header("location")).await;
    assert!(page.text().contains("Another Name"), "its document is fetched all the same");
}

#[tokio::test]
async fn a_known_client_goes_by_its_snapshot_while_its_document_cannot_be_fetched() {
    let away = [
        Reply::With(500, "", String::new()),
        Reply::With(429, "Retry-After: 60", String::new()),
        Reply::With(302, "Location: https://elsewhere.example.com/", String::new()),
        Reply::With(200, "Content-Type: text/html", "<p>Are you human?</p>".to_owned()),
        Reply::Silence,
    ];
    for (number, reply) in away.into_iter().enumerate() {
        let case = format!("{number} {reply:?}");
        let (stage, host) = Stage::with_documents().await;
        let client_app = client(CLIENT);
        welcome(&case, &ask(stage.one(), &client_app.asks()).await);
        host.serves(reply);
        stage.pass(24 * 60 * 60 + 1);
        let before = host.requests();
        for turn in 0..20 {
            let web = [stage.one(), stage.other()][turn % 2];
            welcome(&case, &ask(web, &client_app.asks()).await);
        }
        assert!(host.requests() - before <= 2, "{case}: nobody waits for the site each time");
        stage.pass(6 * 24 * 60 * 60 + 60);
        assert_eq!(
            ask(stage.other(), &client_app.asks()).await.status,
            400,
            "{case}: not for ever"
        );
    }
}

#[tokio::test]
async fn a_snapshot_does_not_stand_in_for_a_document_that_is_gone_or_wrong() {
    for reply in [
        Reply::With(404, "", String::new()),
        Reply::With(410, "", String::new()),
        changed("client_id", json!("https://other.example.com/client")),
    ] {
        let (stage, host) = Stage::with_documents().await;
        let client_app = client(CLIENT);
        welcome("first", &ask(stage.one(), &client_app.asks()).await);
        let case = format!("{reply:?}");
        host.serves(reply);
        stage.pass(24 * 60 * 60 + 1);
        shown(&case, &ask(stage.other(), &client_app.asks()).await, 400);
    }
}

#[tokio::test]
async fn a_page_tells_a_site_out_of_reach_from_a_bad_document() {
    let (stage, host) = Stage::with_documents().await;
    host.resolves("nowhere.example.com", &[&[]]);
    host.resolves("inside.example.com", &[&["10.0.0.1"]]);
    for (url, step) in [
        ("https://nowhere.example.com/client", "no public address for this name"),
        ("https://inside.example.com/client", "no public address for this name"),
        ("https://app.example.org/client", "certificate or encryption"),
    ] {
        let page = ask(stage.one(), &client(url).asks()).await;
        shown(url, &page, 400);
        let text = page.text();
        for words in ["This server could not reach the app", step, "CLIENT_METADATA_DOCUMENTS=off"]
        {
            assert!(text.contains(words), "{url}: {words}: {text}");
        }
    }
    host.serves(Reply::With(404, "content-type: text/html\r\n", String::new()));
    let page = ask(stage.one(), &client(CLIENT).asks()).await;
    shown("gone", &page, 400);
    let text = page.text();
    assert!(
        !text.contains("could not reach") && text.contains("does not exist any more"),
        "{text}"
    );
}

#[tokio::test]
async fn where_documents_are_off_clients_register() {
    let known = json!({
        "client_id": "https://known.example.com/client", "client_name": "Known ClientApp",
        "redirect_uris": [REDIRECT_URI],
    });
    let stage = Stage::with(&[
        ("CLIENT_METADATA_DOCUMENTS", "off"),
        ("CLIENT_DOCUMENTS", &known.to_string()),
    ])
    .await;
    let server = stage.one().get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(server.get("client_id_metadata_document_supported"), None);
    assert!(server["registration_endpoint"].is_string());

    let page = ask(stage.one(), &client(CLIENT).asks()).await;
    shown("off", &page, 400);
    assert!(page.text().contains("This app has to register here"), "{}", page.text());
    stage.client_app().await.connect(&stage.browser()).await;
    // A document that the operator has given is no reason to go anywhere.
    client("https://known.example.com/client").connect(&stage.browser()).await;
}

#[tokio::test]
async fn p09_a_client_that_would_rather_prove_itself_gets_in() {
    let (stage, host) = Stage::with_documents().await;
    let mut prefers = document(CLIENT);
    prefers["token_endpoint_auth_method"] = json!("private_key_jwt");
    prefers["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt", "none"]);
    prefers["jwks_uri"] = json!("https://app.example.com/keys");
    host.serves(Reply::Json(prefers));
    let client_app = client(CLIENT);
    let ours = format!("{}/mcp?client=chat", stage.one().origin());
    let asked = client_app.asks().with("resource", &ours);
    let code = Code {
        code: asked.code(&stage.browser().sign_in(&asked).await),
        verifier: asked.verifier,
        client_app,
    };
    let mut form = code.form();
    form.push(("resource".to_owned(), ours));
    let page = tests::browser::post(stage.other(), "/token", &form).await;
    assert_eq!(page.status, 200, "P09: {}", page.text());
    stage.is_good(&text(&page.json(), "access_token")).await;
    assert_eq!(host.requests(), 1, "P09: its keys are of no use to us");
    told("a code is good once", &code.redeem(stage.one()).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_client_that_was_taken_back_loses_what_it_was_given_after_a_week() {
    const DAY: u64 = 24 * 60 * 60;
    let (stage, host) = Stage::with_documents().await;
    let (client_app, app) = (client(CLIENT), stage.cluster.app());
    let mut token = text(&client_app.connect(&stage.browser()).await, "refresh_token");
    let gone = || Reply::With(410, "", String::new());
    let away = || Reply::With(500, "", String::new());
    // It comes back in time once, and a host in trouble says nothing.
    let days: Vec<Reply> = std::iter::repeat_n(gone(), 6)
        .chain([Reply::Json(document(CLIENT)), gone()])
        .chain(std::iter::repeat_n(away(), 6))
        .collect();
    for (day, reply) in days.into_iter().enumerate() {
        host.serves(reply);
        stage.pass(DAY);
        let Rechecked { last, revoked } = cimd::recheck(app.oauth(), None).await.unwrap();
        assert_eq!(last.as_ref().map(ClientId::as_str), Some(CLIENT), "day {day}");
        assert_eq!(revoked, 0, "day {day}");
        let rest = cimd::recheck(app.oauth(), last.as_ref()).await.unwrap();
        assert_eq!(rest, Rechecked { last: None, revoked: 0 });
        let page = client_app.refresh(stage.other(), &token).await;
        assert_eq!(page.status, 200, "day {day}: {}", page.text());
        token = text(&page.json(), "refresh_token");
    }
    host.serves(gone());
    stage.pass(DAY);
    let schedule = worker::schedules::find(&tests::fixtures::product(), "client-documents")
        .expect("it is in the list");
    let go = CancellationToken::new();
    let run = async || worker::schedules::run_now(&schedule, app, &Idle, &go).await.unwrap();
    assert_eq!(run().await, 1);
    told("gone", &client_app.refresh(stage.other(), &token).await, 400, "invalid_grant");
    assert_eq!(run().await, 0, "and nobody looks any more");
}
