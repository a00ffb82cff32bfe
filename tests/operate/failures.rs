//! Failures that the server is to blame for are counted, whatever HTTP status shows them.

use std::{fmt::Write as _, time::Duration};

use sea_orm::{ConnectionTrait as _, Database, TransactionTrait as _};
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp, answer},
    eventually,
    fake_endpoint::Manner,
    github::Question,
    postgres,
    schema::Revision,
};

use crate::stage::{Stage, TURN};

/// The values of some series.
struct Counted(String);

impl Counted {
    async fn now(stage: &Stage) -> Self {
        Self(stage.scrape().await)
    }

    /// The sum of all series with this name and these labels, as they stand in the text.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| {
                let mut text = String::new();
                write!(text, "{label}=\"{value}\"").unwrap();
                text
            })
            .collect();
        self.0
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")))
            .filter(|line| labels.iter().all(|label| line.contains(label.as_str())))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    fn failures(&self, route: &str, shown_as: &str) -> f64 {
        let labels = [("http_route", route), ("shown_as", shown_as)];
        self.sum("http_server_failures_total", &labels)
    }

    fn calls(&self, tool: &str, outcome: &str) -> f64 {
        let labels = [("gen_ai_tool_name", tool), ("outcome", outcome)];
        self.sum("mcp_server_operation_duration_seconds_count", &labels)
    }

    fn sign_ins(&self, outcome: &str) -> f64 {
        self.sum("oauth_sign_ins_total", &[("outcome", outcome)])
    }
}

/// Makes a database read-only for all sessions that begin from now on, and ends the others.
pub(crate) async fn make_read_only(url: &str) {
    let name = url.rsplit('/').next().unwrap();
    let db = Database::connect(url).await.unwrap();
    db.execute_unprepared(&format!(
        "ALTER DATABASE \"{name}\" SET default_transaction_read_only = on"
    ))
    .await
    .unwrap();
    db.execute_unprepared(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_read_only_database_fails_calls_in_both_eras() {
    let _turn = TURN.lock().await;
    let url = postgres::fresh_database(&notes::product()).await;
    let stage = Stage::on(url.clone()).await;
    let token = stage.cluster.token("ada").await;
    let web = stage.cluster.web(0);
    let modern = web.modern(&token);
    let legacy = web.legacy(&token, Revision::November2025).await;
    make_read_only(&url).await;
    let note = json!({ "title": "a", "body": "b" });
    let before = Counted::now(&stage).await;
    for _ in 0..3 {
        assert_eq!(modern.tool("notes_create", note.clone()).await.result()["isError"], true);
        let arguments = json!({ "name": "notes_create", "arguments": note });
        assert_eq!(legacy.call("tools/call", arguments).await.result()["isError"], true);
    }
    // What the caller has caused is no failure of the server, also now.
    let unknown = json!({ "id": crate::stage::uuid() });
    assert_eq!(modern.tool("notes_get", unknown).await.result()["isError"], true);
    // A job cannot be made either.
    let refused = modern.with_capabilities(json!({})).tool("notes_export", json!({})).await;
    assert_eq!(refused.result()["isError"], true);
    let after = Counted::now(&stage).await;
    let created = after.calls("notes_create", "failed") - before.calls("notes_create", "failed");
    assert!(created >= 6.0, "{created}");
    let by_callers = |it: &Counted| it.calls("notes_create", "tool_error");
    assert!(by_callers(&after) <= by_callers(&before), "no creation is blamed on its caller");
    let got = after.calls("notes_get", "failed") - before.calls("notes_get", "failed");
    assert!(got <= 0.0, "{got}");
    let failed = after.failures("/mcp", "answer") - before.failures("/mcp", "answer");
    assert!(failed >= 6.0, "{failed}");
    let exports = after.calls("notes_export", "failed") - before.calls("notes_export", "failed");
    assert!(exports >= 1.0, "{exports}");
}

#[tokio::test]
async fn a_call_that_fails_late_is_counted_by_how_its_stream_ended() {
    let _turn = TURN.lock().await;
    let url = postgres::fresh_database(&notes::product()).await;
    let stage = Stage::on(url.clone()).await;
    let token = stage.cluster.token("ada").await;
    let web = stage.cluster.web(0);
    let modern = web.modern(&token);
    let legacy = web.legacy(&token, Revision::November2025).await;
    let before = Counted::now(&stage).await;
    let db = Database::connect(&url).await.unwrap();
    let lock = db.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // The statement is given up after 10 s; the answers are streams after 2 s.
    let arguments = json!({ "name": "notes_list", "arguments": {} });
    let (first, second) =
        tokio::join!(modern.tool("notes_list", json!({})), legacy.call("tools/call", arguments));
    lock.commit().await.unwrap();
    assert_eq!(first.result()["isError"], true);
    assert_eq!(second.result()["isError"], true);
    eventually("both streams have ended", async || {
        let after = Counted::now(&stage).await;
        let failed = after.calls("notes_list", "failed") - before.calls("notes_list", "failed");
        let streams = after.failures("/mcp", "stream") - before.failures("/mcp", "stream");
        (failed >= 2.0 && streams >= 2.0).then_some(())
    })
    .await;
    let after = Counted::now(&stage).await;
    let streamed = after.calls("notes_list", "streamed") - before.calls("notes_list", "streamed");
    assert!(streamed <= 0.0, "{streamed}");
}

#[tokio::test]
async fn a_job_that_cannot_be_decrypted_fails_and_is_counted() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    let token = stage.cluster.token("ada").await;
    let web = stage.cluster.web(0);
    let legacy = web.legacy(&token, Revision::November2025).await;
    let damaged = async || {
        let name = "content_decryption_failures_total";
        Counted::now(&stage).await.sum(name, &[("reason", "damaged")])
    };
    let before = damaged().await;
    // A job that waits for its user.
    legacy.tool("notes_create", json!({ "title": "Tea", "body": "Green" })).await.output();
    let text = json!([{ "title": "Tea", "body": "Black" }]).to_string();
    let import = json!({ "name": "notes_import", "arguments": { "text": text } });
    let mut stream = legacy.open("tools/call", import).await;
    stream.until("elicitation/create").await;
    let damage = "UPDATE jobs SET questions = 'sealed:1:AAAA' WHERE status = 'input_required'";
    stage.cluster.app().db().execute_unprepared(damage).await.unwrap();
    let jobs = web.modern(&token).tool("jobs_list", json!({})).await;
    let job = &jobs.output()["jobs"][0];
    assert_eq!(job["status"], "failed", "{job}");
    let ended = legacy.tool("jobs_get", json!({ "id": job["id"] })).await;
    let error = ended.output()["error"].as_str().unwrap();
    assert!(error.contains("can no longer read"), "{error}");
    assert!(damaged().await >= before + 1.0);
}

#[tokio::test]
async fn sign_ins_that_fail_are_told_by_who_is_to_blame() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    let app = ClientApp::register(stage.cluster.web(0)).await;
    let said = |error: &str| Manner::Json(json!({ "error": error }));
    for (manner, outcome, is_failure) in [
        (said("incorrect_client_credentials"), "misconfigured", true),
        (said("redirect_uri_mismatch"), "misconfigured", true),
        (said("application_suspended"), "misconfigured", true),
        (Manner::Status(404), "misconfigured", true),
        (Manner::Status(500), "provider_failed", true),
        (Manner::NotJson, "provider_failed", true),
        (said("something_new"), "provider_failed", true),
        (said("bad_verification_code"), "rejected", false),
        (said("unverified_user_email"), "rejected", false),
    ] {
        stage.github.answers(Question::Exchange, manner.clone());
        let before = Counted::now(&stage).await;
        let page = Browser::new(&stage.cluster).sign_in(&app.asks()).await;
        assert_eq!(page.status, 303, "{manner:?}");
        assert!(answer(page.header("location")).contains_key("error"), "{manner:?}");
        let after = Counted::now_at_least(&stage, |it| {
            it.sign_ins(outcome) - before.sign_ins(outcome) >= 1.0
        })
        .await;
        let route = "/oauth/github/callback";
        let failed = after.failures(route, "answer") - before.failures(route, "answer");
        assert_eq!(failed >= 1.0, is_failure, "{manner:?}");
    }
}

impl Counted {
    /// The first scrape in which something has been counted: a scrape may be some seconds old.
    async fn now_at_least(stage: &Stage, is_there: impl Fn(&Self) -> bool) -> Self {
        let found = eventually("it is counted", async || {
            let counted = Self::now(stage).await;
            is_there(&counted).then_some(counted)
        });
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("it is counted")
    }
}
