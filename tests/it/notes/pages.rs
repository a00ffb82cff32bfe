//! The notes of a user on the account page.

use mcp::{UserId, job::JobStatus};
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp, Form, form},
    client::{Modern, Page},
    cluster::{Cluster, Database, Setup},
    eventually,
    github::GitHub,
};

struct Stage {
    cluster: Cluster,
    github: GitHub,
}

impl Stage {
    async fn new() -> Self {
        let github = GitHub::start().await;
        let setup = Setup::new(Database::Postgres).product(notes::product).instances(2);
        Self { cluster: setup.workers(1).with_github(&github).start().await, github }
    }

    /// A browser in which this person is signed in, and their app.
    async fn person(&self, id: i64, login: &str) -> (Browser, Modern) {
        self.github.sign_in_as(id, login);
        let browser = Browser::new(&self.cluster);
        let mut client_app = ClientApp::register(self.cluster.web(0)).await;
        "notes:read notes:write".clone_into(&mut client_app.scope);
        let tokens = client_app.connect(&browser).await;
        assert_eq!(browser.account().await.status, 200);
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        (browser.at(self.cluster.web(1)), self.cluster.web(0).modern(token))
    }
}

async fn create(client: &Modern, title: &str, body: &str) -> String {
    let note = json!({ "title": title, "body": body });
    client.tool("notes_create", note).await.output()["id"].as_str().unwrap().to_owned()
}

fn text(page: &Page) -> String {
    assert_eq!(page.status, 200, "{}", page.text());
    page.text()
}

/// The form of a page that has this action.
fn action(page: &Page, action: &str) -> Form {
    let text = page.text();
    let (_, rest) = text.split_once("<form method=\"post\"").expect("the page has such a form");
    let posts = Page {
        status: page.status,
        headers: page.headers.clone(),
        body: format!("<form method=\"post\"{rest}").into_bytes(),
    };
    let mut form = form(&posts);
    form.fields.push(("action".to_owned(), action.to_owned()));
    form
}

#[tokio::test]
async fn a_user_lists_searches_reads_and_deletes_their_own_notes() {
    let stage = Stage::new().await;
    let (ada, hers) = stage.person(1, "ada").await;
    let (bob, his) = stage.person(2, "bob").await;
    let id = create(&hers, "Green <tea>", "# Tea\n\n<b>x</b>\n\n[a](javascript:x)").await;
    create(&hers, "Coffee", "beans").await;
    create(&his, "Bob's", "tea").await;

    let list = text(&ada.get("/account/notes").await);
    assert!(list.contains("Green &#60;tea&#62;") && list.contains("Coffee"), "{list}");
    assert!(!list.contains("Bob"), "{list}");
    let found = text(&ada.get("/account/notes?q=tea").await);
    assert!(found.contains("Green") && !found.contains("Coffee"), "{found}");
    assert!(text(&ada.get("/account/notes?q=nothing").await).contains("No note has these words"));
    let long = format!("/account/notes?q={}", "x".repeat(300));
    assert!(text(&ada.get(&long).await).contains("aria-invalid"));

    let path = format!("/account/notes/{id}");
    let note = text(&ada.get(&path).await);
    assert!(note.contains("<h2>Tea</h2>"), "{note}");
    assert!(!note.contains("<b>") && !note.contains("javascript:"), "{note}");
    for other in [&*path, "/account/notes/x", "/account/notes/0199a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b"]
    {
        assert_eq!(bob.get(other).await.status, 404, "{other}");
    }

    let asked = ada.get(&format!("{path}?delete=1")).await;
    assert!(text(&asked).contains("Delete this note?"));
    let delete = action(&asked, "delete");
    assert_eq!(bob.submit(&delete, "").await.status, 403, "it is Ada's form");
    let csrf = action(&bob.get("/account").await, "delete").fields;
    let csrf = csrf.into_iter().filter(|(name, _)| name == "csrf" || name == "action").collect();
    let his_form = Form { fields: csrf, ..delete.clone() };
    let page = bob.submit(&his_form, "").await;
    assert_eq!(page.header("location"), "/account/notes?done=deleted", "as for no note at all");
    assert_eq!(ada.get(&path).await.status, 200, "Bob deleted nothing");
    let page = ada.submit(&delete, "").await;
    assert_eq!(page.header("location"), "/account/notes?done=deleted");
    assert!(text(&ada.get("/account/notes?done=deleted").await).contains("The note is deleted."));
    assert_eq!(ada.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_long_list_has_pages() {
    let stage = Stage::new().await;
    let (ada, hers) = stage.person(1, "ada").await;
    for number in 0..21 {
        create(&hers, &format!("Note {number}."), "").await;
    }
    let first = text(&ada.get("/account/notes").await);
    let (_, rest) = first.split_once("?after=").expect("there is a next page");
    let next = format!("/account/notes?after={}", rest.split_once('"').unwrap().0);
    let second = text(&ada.get(&next).await);
    let count = |page: &str| page.matches("Note ").count();
    assert_eq!((count(&first), count(&second)), (20, 1));
}

#[tokio::test]
async fn all_notes_are_downloaded_as_zip() {
    let stage = Stage::new().await;
    let (ada, hers) = stage.person(1, "ada").await;
    create(&hers, "Green tea", "leaves").await;
    let page = ada.get("/account/notes").await;
    let started = ada.submit(&action(&page, "download"), "").await;
    assert_eq!(started.header("location"), "/account/jobs?done=started", "{}", started.text());
    let store = stage.cluster.app().job_store();
    eventually("the job is done", async || {
        let jobs = store.list(&UserId::new("github:1"), None, 1).await.unwrap().unwrap().jobs;
        (jobs[0].status == JobStatus::Completed).then_some(())
    })
    .await;
    let jobs = text(&ada.get("/account/jobs").await);
    assert!(jobs.contains("Export notes") && jobs.contains("Finished"), "{jobs}");
    let (_, rest) = jobs.split_once("/account/files/").expect("there is a file");
    let file = ada.get(&format!("/account/files/{}", rest.split_once('"').unwrap().0)).await;
    assert_eq!(file.header("content-type"), "application/zip");
    assert!(file.body.starts_with(b"PK"), "{}", file.body.len());
}
