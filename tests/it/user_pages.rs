//! The pages of a signed-in user below `/account`, on two instances: what they show to whom, and which
//! forms they accept.

use mcp::{UserId, job::JobStatus};
use reqwest::Method;
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp, Form, encode, form},
    client::{Modern, Page},
    cluster::{Cluster, Database, Setup},
    eventually,
    fixtures::at_gate,
    github::GitHub,
};

/// Every page that needs a session.
const PAGES: [&str; 4] =
    ["/account/jobs", "/account/security", "/account/files/x", "/account/nothing/x"];

/// Two instances and a worker, with sign-in at GitHub.
struct Stage {
    cluster: Cluster,
    github: GitHub,
}

impl Stage {
    async fn new() -> Self {
        let github = GitHub::start().await;
        let setup = Setup::new(Database::Postgres).instances(2).workers(1).with_github(&github);
        Self { cluster: setup.start().await, github }
    }

    /// A browser in which this person is signed in, at the second instance, and their app.
    async fn person(&self, id: i64, login: &str, app: &str) -> (Browser, Modern) {
        self.github.sign_in_as(id, login);
        let browser = Browser::new(&self.cluster);
        let metadata =
            json!({ "redirect_uris": [tests::browser::REDIRECT_URI], "client_name": app });
        let client_app = ClientApp::register_with(self.cluster.web(0), metadata).await;
        let tokens = client_app.connect(&browser).await;
        assert_eq!(browser.account().await.status, 200);
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        let client = self.cluster.web(0).modern(token).with_tasks();
        (browser.at(self.cluster.web(1)), client)
    }
}

/// Whether the page has all of these texts.
fn shows(page: &Page, texts: &[&str]) -> bool {
    assert_eq!(page.status, 200, "{}", page.text());
    texts.iter().all(|text| page.text().contains(text))
}

/// Waits until the only job of a user has this status.
async fn until(stage: &Stage, user: &str, status: JobStatus) {
    let store = stage.cluster.app().job_store();
    eventually("the job has the status", async || {
        let page = store.list(&UserId::new(user), None, 10).await.unwrap().unwrap();
        (page.jobs.first().map(|job| job.status) == Some(status)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_need_a_session_and_show_its_user_only() {
    let stage = Stage::new().await;
    let stranger = Browser::new(&stage.cluster);
    for path in PAGES {
        let page = stranger.get(path).await;
        assert_eq!((page.status.as_u16(), page.header("location")), (303, "/account"), "{path}");
        let form = Form { action: path.to_owned(), fields: Vec::new(), unchecked: Vec::new() };
        let page = stranger.submit(&form, "").await;
        assert!(page.header("location") == "/account" || page.status == 405, "{path}");
    }
    let (ada, _) = stage.person(1, "ada", "Editor").await;
    let (bob, _) = stage.person(2, "bob", "Phone").await;
    let security = ada.get("/account/security").await;
    assert!(shows(&security, &["You connected “Editor”", "You signed in to your account page"]));
    assert!(!security.text().contains("Phone"), "{}", security.text());
    let security = bob.get("/account/security").await;
    assert!(shows(&security, &["You connected “Phone”"]) && !security.text().contains("Editor"));
    assert_eq!(ada.get("/account/nothing/x").await.status, 404);
    // An unknown position is that of the first page.
    assert!(shows(&ada.get("/account/security?before=x").await, &["Editor"]));
}

#[tokio::test]
async fn the_calls_at_all_instances_are_shown() {
    let stage = Stage::new().await;
    let (ada, client) = stage.person(1, "ada", "Editor").await;
    let (bob, _) = stage.person(2, "bob", "Phone").await;
    for web in 0..2 {
        client.at(stage.cluster.web(web)).tool("items_list", json!({})).await.output();
        client.at(stage.cluster.web(web)).call("tools/list", json!({})).await.result();
    }
    for instance in 0..2 {
        oauth::calls::write(stage.cluster.service_of(instance).oauth()).await.unwrap();
    }
    assert!(shows(&ada.get("/account").await, &["Editor", "2 calls in the last 30 days"]));
    assert!(shows(&bob.get("/account").await, &["Phone", "0 calls in the last 30 days"]));
}

#[tokio::test]
async fn a_job_is_shown_with_its_progress_and_cancelled_by_its_owner_only() {
    let stage = Stage::new().await;
    let (ada, client) = stage.person(1, "ada", "Editor").await;
    let (bob, _) = stage.person(2, "bob", "Phone").await;
    client.call("tools/call", at_gate("test_job_gate", "a", 1)).await.result();
    stage.cluster.gate("a").reached(1).await;

    let page = ada.get("/account/jobs").await;
    assert!(shows(&page, &["Running", "<progress", "updates itself"]), "{}", page.text());
    assert_eq!(page.header("refresh"), "3; url=/account/jobs?live=1");
    assert_eq!(ada.get("/account/jobs?live=off").await.header("refresh"), "");
    let cancel = form(&page);
    let others = bob.get("/account/jobs").await;
    assert!(shows(&others, &["There are no jobs"]) && others.header("refresh").is_empty());

    // Without the secret of the session, with that of another session, and from another site.
    let stolen = |fields: Vec<(String, String)>| Form { fields, ..cancel.clone() };
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = cancel.fields.clone();
    fields.push(field("action", "cancel"));
    let without: Vec<_> = fields.iter().filter(|(name, _)| name != "csrf").cloned().collect();
    assert_eq!(ada.submit(&stolen(without), "").await.status, 403);
    assert_eq!(bob.submit(&stolen(fields.clone()), "").await.status, 403, "it is Ada's form");
    let body = encode(&fields);
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let request = ada.request(Method::POST, "/account/jobs").header(name, value);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(ada.read(request.body(body.clone())).await.status, 403, "{name}");
    }
    // Bob's own form, with Ada's job.
    let csrf = bob.get("/account").await;
    let mut his = form(&csrf).fields;
    his.retain(|(name, _)| name == "csrf");
    his.extend(fields.iter().filter(|(name, _)| name != "csrf").cloned());
    let page = bob.submit(&stolen(his), "").await;
    assert_eq!(page.header("location"), "/account/jobs?done=cancelled", "as for no job at all");
    until(&stage, "github:1", JobStatus::Running).await;

    let page = ada.submit(&stolen(fields), "").await;
    assert_eq!(page.header("location"), "/account/jobs?done=cancelled");
    let page = ada.get("/account/jobs?done=cancelled").await;
    assert!(shows(&page, &["The job is cancelled.", "Cancelled"]));
    assert_eq!(page.header("refresh"), "", "nothing runs");
}

#[tokio::test]
async fn a_file_is_downloaded_by_its_owner_only() {
    let stage = Stage::new().await;
    let (ada, client) = stage.person(1, "ada", "Editor").await;
    let (bob, _) = stage.person(2, "bob", "Phone").await;
    client.tool("items_create", json!({ "title": "One", "body": "" })).await;
    client.tool("items_export", json!({})).await.result();
    until(&stage, "github:1", JobStatus::Completed).await;

    let page = ada.get("/account/jobs").await;
    assert!(shows(&page, &["Export items", "Finished", "items.txt"]), "{}", page.text());
    let html = page.text();
    let (_, rest) = html.split_once("/account/files/").unwrap();
    let path = format!("/account/files/{}", rest.split_once('"').unwrap().0);
    let file = ada.get(&path).await;
    assert_eq!(file.status, 200);
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"items.txt\"");
    assert!(file.header("content-security-policy").contains("sandbox"));
    assert_eq!(file.header("cache-control"), "no-store");
    let head = ada.read(ada.request(Method::HEAD, &path)).await;
    assert!(head.body.is_empty() && head.status == 200);
    assert_eq!(bob.get(&path).await.status, 404);
    // A page of another site may not load it.
    let embedded = ada.request(Method::GET, &path).header("sec-fetch-site", "cross-site");
    assert_eq!(ada.read(embedded.header("sec-fetch-mode", "no-cors")).await.status, 403);

    // It remains the user's when the app that created it is disconnected.
    let page = ada.get("/account").await;
    let mut disconnect = form(&page);
    disconnect.fields.push(("action".to_owned(), "disconnect".to_owned()));
    assert_eq!(ada.submit(&disconnect, "").await.status, 303);
    assert_eq!(ada.get(&path).await.status, 200);
    assert!(shows(&ada.get("/account/security").await, &["You disconnected “Editor”"]));
}

#[tokio::test]
async fn a_page_is_counted_per_session() {
    let stage = Stage::new().await;
    let (ada, _) = stage.person(1, "ada", "Editor").await;
    let (bob, _) = stage.person(2, "bob", "Phone").await;
    let limit = oauth::limits::USER_PAGES.limit;
    let mut last = 200;
    for _ in 0..=limit {
        last = ada.get("/account/security").await.status.as_u16();
    }
    assert_eq!(last, 429);
    assert_eq!(bob.get("/account/security").await.status, 200);
    assert_eq!(ada.get("/account").await.status, 200, "to disconnect an app is still possible");
}
