//! The example as its users and operators see it: two real instances, sign-in from the address
//! alone, calls in both protocol eras, a job whose instance is killed, and no trace of another
//! product.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use mcp::UserId;
use oauth::{account, audit::RequestInfo};
use reqwest::{Method, header};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp, Code},
    client::{Page, Web},
    eventually,
    github::GitHub,
    processes::{Fleet, Kind, Plan},
    schema::Revision,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
};

const BOOKMARKS: Kind = Kind::Product(bookmarks::product);

const SCOPES: &str = "bookmarks:read bookmarks:write";

/// The token for the metrics.
const METRICS_TOKEN: &str = "a-token-for-metrics-of-32-bytes-or-more";

/// Signs a user in with GitHub, and returns an access token.
async fn sign_in(fleet: &Fleet) -> String {
    let browser = Browser::of(fleet.origin(), fleet.web(0));
    let client_app = ClientApp::register(fleet.web(0)).await;
    let asked = client_app.asks().with("scope", SCOPES);
    let page = browser.sign_in(&asked).await;
    let code = Code { code: asked.code(&page), verifier: asked.verifier, client_app };
    let tokens = code.redeem(fleet.web(1)).await.json();
    assert_eq!(tokens["scope"], SCOPES);
    tokens["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_needs_only_the_address_and_calls_tools_in_both_eras() {
    let github = GitHub::start().await;
    let fleet = Plan::new(BOOKMARKS).instances(2).with_github(&github).start().await;

    // From the address to the authorization server, as a client does.
    let refused = Page::read(fleet.web(0).request(Method::POST, "/mcp")).await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").to_owned();
    assert!(challenge.contains(&format!("scope=\"{SCOPES}\"")), "{challenge}");
    let (_, metadata) = challenge.split_once("resource_metadata=\"").unwrap();
    let path = metadata.split('"').next().unwrap().strip_prefix(fleet.origin()).unwrap().to_owned();
    let resource = fleet.web(0).get(&path).await.json();
    assert_eq!(resource["resource_name"], "bookmarks-mcp");
    assert_eq!(resource["authorization_servers"][0], fleet.origin());
    let server = fleet.web(1).get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(server["scopes_supported"], json!(["bookmarks:read", "bookmarks:write"]));
    let token = sign_in(&fleet).await;

    let modern = fleet.web(0).modern(&token).with_capabilities(json!({}));
    let page =
        json!({ "url": "https://example.com/Tea", "title": "All about tea", "tags": ["tea"] });
    let added = modern.tool("bookmarks_add", page.clone()).await.output().clone();
    let coffee = json!({ "url": "https://example.com/100%_coffee" });
    modern.tool("bookmarks_add", coffee).await.output();
    let again = modern.tool("bookmarks_add", page).await.output().clone();
    assert_eq!(again["id"], added["id"], "an address is bookmarked once");

    let legacy = fleet.web(1).legacy(&token, Revision::November2025).await;
    for (tool, arguments, found) in [
        ("bookmarks_list", json!({}), 2),
        ("bookmarks_list", json!({ "tag": "tea" }), 1),
        ("bookmarks_list", json!({ "tag": "te" }), 0),
        ("bookmarks_search", json!({ "query": "ABOUT tea" }), 1),
        ("bookmarks_search", json!({ "query": "example.com" }), 2),
        ("bookmarks_search", json!({ "query": "100%_" }), 1),
        ("bookmarks_search", json!({ "query": "%" }), 1),
    ] {
        let answer = legacy.tool(tool, arguments.clone()).await;
        let bookmarks = answer.output()["bookmarks"].as_array().unwrap();
        assert_eq!(bookmarks.len(), found, "{tool} {arguments}");
    }
    let recent = legacy.call("resources/read", json!({ "uri": "bookmarks://recent" })).await;
    let text = recent.result()["contents"][0]["text"].as_str().unwrap();
    assert!(text.contains("[All about tea](<https://example.com/Tea>)"), "{text}");
    let prompt = legacy.call("prompts/get", json!({ "name": "reading_list" })).await;
    let text = prompt.result()["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("coffee"), "{text}");

    for wrong in ["ftp://example.com", "https://user:pass@example.com/", "example.com", ""] {
        let error = modern.tool("bookmarks_add", json!({ "url": wrong })).await;
        assert!(error.tool_error().contains("http or https"), "{wrong}");
    }
    let deleted = modern.tool("bookmarks_delete", json!({ "id": added["id"] })).await;
    assert_eq!(deleted.output()["title"], "All about tea");
    modern.tool("bookmarks_delete", json!({ "id": added["id"] })).await.tool_error();
}

#[tokio::test]
async fn a_client_with_views_shows_bookmarks_in_the_conversation() {
    let github = GitHub::start().await;
    let fleet = Plan::new(BOOKMARKS).instances(2).with_github(&github).start().await;
    let token = sign_in(&fleet).await;
    let settings = json!({ "mimeTypes": ["text/html;profile=mcp-app"] });
    let capabilities = json!({ "extensions": { "io.modelcontextprotocol/ui": settings } });
    let session = fleet.web(0).legacy_with(&token, Revision::November2025, capabilities).await;

    // Another process knows what the client has declared.
    let session = session.at(fleet.web(1));
    let listed = session.call("tools/list", Value::Null).await;
    let tools = listed.result()["tools"].as_array().unwrap();
    for name in ["bookmarks_list", "bookmarks_search"] {
        let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
        let uri = &tool["_meta"]["ui"]["resourceUri"];
        let read = session.call("resources/read", json!({ "uri": uri })).await;
        let html = read.result()["contents"][0]["text"].as_str().unwrap();
        assert!(html.contains("bookmarks_search"), "{name}");
    }
}

/// Starts a proxy that refuses all connections, and delays the third response until it is notified.
async fn holding_proxy() -> (String, Arc<AtomicUsize>, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, resume) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counter, resumed) = (Arc::clone(&asked), Arc::clone(&resume));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (counter, resumed) = (Arc::clone(&counter), Arc::clone(&resumed));
            tokio::spawn(async move {
                let _request = connection.read(&mut [0; 4096]).await;
                if counter.fetch_add(1, Ordering::SeqCst) == 2 {
                    resumed.notified().await;
                }
                let _sent = connection.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
            });
        }
    });
    (url, asked, resume)
}

#[tokio::test]
async fn a_job_continues_on_another_instance_when_its_own_is_killed() {
    let (proxy, asked, resume) = holding_proxy().await;
    let plan = Plan::new(BOOKMARKS).instances(2).with("HTTPS_PROXY", proxy);
    let mut fleet = plan.start().await;
    let token = fleet.token_for("ada", &["bookmarks:read", "bookmarks:write"]).await;
    let modern = fleet.web(0).modern(&token).with_tasks();
    for number in 0..5 {
        let url = format!("https://page-{number}.example.com/");
        modern.tool("bookmarks_add", json!({ "url": url })).await.output();
    }
    modern.tool("bookmarks_add", json!({ "url": "http://plain.example.com/" })).await.output();

    // Only the first instance can run the job.
    fleet.kill(1).await;
    let started = modern.tool("bookmarks_check", json!({})).await;
    let task = started.result()["taskId"].as_str().expect("the call is a task").to_owned();
    eventually("the job is in the middle", async || {
        (asked.load(Ordering::SeqCst) == 3).then_some(())
    })
    .await;
    fleet.kill(0).await;
    fleet.start_again(1).await;
    resume.notify_one();
    // Expires the lease instead of waiting for half a minute.
    fleet.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;

    let other = modern.at(fleet.web(1));
    let output = eventually("the job ends elsewhere", async || {
        let page = other.call("tasks/get", json!({ "taskId": task })).await;
        let result = page.result();
        (result["status"] == "completed").then(|| result["result"]["structuredContent"].clone())
    })
    .await;
    assert_eq!((&output["checked"], &output["skipped"]), (&json!(5), &json!(1)), "{output}");
    assert_eq!(output["dead"].as_array().unwrap().len(), 5, "{output}");
    assert_eq!(asked.load(Ordering::SeqCst), 6, "only the third page was fetched twice");
    let job = other.tool("jobs_list", json!({})).await.output()["jobs"][0].clone();
    assert_eq!((&job["tool"], &job["status"]), (&json!("bookmarks_check"), &json!("completed")));
}

#[tokio::test]
async fn an_account_is_deleted_with_its_bookmarks() {
    let fleet = Plan::new(BOOKMARKS).instances(1).start().await;
    let left = async || {
        let sql = "SELECT count(*) AS left FROM bookmarks";
        let query = Statement::from_string(DbBackend::Postgres, sql);
        let row = fleet.app().db().query_one_raw(query).await.unwrap().unwrap();
        row.try_get::<i64>("", "left").unwrap()
    };
    for user in ["ada", "bob"] {
        let token = fleet.token_for(user, &["bookmarks:write"]).await;
        let modern = fleet.web(0).modern(&token).with_capabilities(json!({}));
        modern.tool("bookmarks_add", json!({ "url": "https://example.com/" })).await.output();
    }
    assert_eq!(left().await, 2);
    let request = RequestInfo::none();
    account::delete(fleet.app().oauth(), &UserId::new("dev:ada"), &request).await.unwrap();
    assert_eq!(left().await, 1);
}

/// Fails if a text contains the word “note”.
fn assert_clean(what: &str, text: &str) {
    let mut words =
        text.split(|character: char| !character.is_alphanumeric()).map(str::to_lowercase);
    let found = words.find(|word| matches!(word.as_str(), "note" | "notes"));
    assert_eq!(found, None, "{what}: {text}");
}

#[tokio::test]
async fn no_output_names_another_product() {
    let github = GitHub::start().await;
    let plan = Plan::new(BOOKMARKS).instances(2).with_github(&github);
    let mut fleet = plan.with("METRICS_TOKEN", METRICS_TOKEN).start().await;
    let token = sign_in(&fleet).await;
    let web: &Web = fleet.web(0);
    for path in [
        "/",
        "/account",
        "/nowhere",
        "/openapi.json",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/healthz",
    ] {
        let page = Page::read(web.request(Method::GET, path).header(header::ACCEPT, "text/html"));
        assert_clean(path, &page.await.text());
    }
    let browser = Browser::of(fleet.origin(), web);
    let client_app = ClientApp::register(web).await;
    let consent = browser.get(&client_app.asks().with("scope", SCOPES).path()).await;
    let consent = browser.get(consent.header("location")).await;
    assert!(consent.text().contains("bookmarks"), "{}", consent.text());
    assert_clean("consent", &consent.text());

    let modern = web.modern(&token).with_capabilities(json!({}));
    for method in ["server/discover", "tools/list", "prompts/list", "resources/list"] {
        assert_clean(method, &modern.call(method, Value::Null).await.result().to_string());
    }
    let legacy = web.legacy(&token, Revision::November2025).await;
    assert_clean("initialize", &legacy.hello().to_string());
    let metrics = web.request(Method::GET, "/metrics").bearer_auth(METRICS_TOKEN);
    assert_clean("metrics", &Page::read(metrics).await.text());
    for (program, arguments) in [
        ("bookmarks-mcp", vec!["--help"]),
        ("bookmarks-mcp", vec!["token", "--help"]),
        ("bookmarks-mcp", vec!["check"]),
        ("bookmarks-mcp", vec!["migrate", "status"]),
        ("bookmarks-mcp-worker", vec!["schedules"]),
    ] {
        let output = fleet.run(program, &arguments).await;
        let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_clean(&format!("{program} {arguments:?}"), &texts.concat());
    }
    assert_clean("log", &fleet.instance(0).log());
}
