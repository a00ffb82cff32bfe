//! How far ending access reaches: every way of ending it against everything that outlives a request,
//! on two instances and a worker.
//!
//! | way | requests, streams, jobs, export links | refresh | session of `/account` | token minted by hand |
//! |---|---|---|---|---|
//! | `users block`, account deleted | end | ends | ends | ends |
//! | taken off the list, no member at a new sign-in | end | ends | ends | ends |
//! | `/revoke`, `/account`, a replayed code or refresh token, `clients revoke` | end | ends | stays: it is the person's own | stays: it is of no grant |
//! | `keys revoke` | end | stays: it gets a token of a new key | stays: no key signs it | ends |

use std::collections::BTreeSet;

use entity::jobs as job_rows;
use jobs::{CheckpointError, Claim, LEASE, Lease, Turn};
use mcp::{
    UserId,
    job::{JobId, JobOutcome},
};
use oauth::{
    access_token::NewToken, account, audit::RequestInfo, client::ClientId, grant::Reason, revoke,
};
use sea_orm::{EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp, Code, Form, form},
    client::{Page, Stream, Web},
    eventually,
    fake_endpoint::Manner,
    fixtures::items,
    github::{ORG, Question},
    schema::Revision,
};

use super::{Stage, text};

const OCTOCAT: &str = "github:583231";

/// What ends besides everything that an access token of the grant can do.
struct Ends {
    refresh: bool,
    session: bool,
    by_hand: bool,
}

const ALL: Ends = Ends { refresh: true, session: true, by_hand: true };
const ONE_APP: Ends = Ends { refresh: true, session: false, by_hand: false };
const ONE_KEY: Ends = Ends { refresh: false, session: false, by_hand: true };

/// Everything that a person can have open.
struct Opened {
    browser: Browser,
    code: Code,
    access: String,
    refresh: String,
    by_hand: String,
    streams: Vec<(&'static str, Stream)>,
    /// A job that runs, by a worker that does nothing about it.
    running: Lease,
    link: String,
    disconnect_all: Form,
}

impl Opened {
    fn client_app(&self) -> &ClientApp {
        &self.code.client_app
    }
}

fn person() -> UserId {
    UserId::new(OCTOCAT)
}

/// A token that an operator creates with `notes-mcp token`.
fn token_by_hand(scopes: BTreeSet<String>) -> NewToken {
    NewToken {
        user: person(),
        client: "command-line".to_owned(),
        scopes,
        session_id: "command-line-3fa85f64-5717-4562-b3fc-2c963f66afa6".to_owned(),
        signed_in_at: None,
        ttl: None,
        dpop_key: None,
    }
}

async fn open(stage: &mut Stage) -> Opened {
    let browser = stage.browser();
    let mut disconnect_all = form(&browser.account().await);
    disconnect_all.fields.push(("action".to_owned(), "disconnect_all".to_owned()));
    let code = stage.client_app().await.code(&browser).await;
    let tokens = code.redeem(stage.one()).await.json();
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let app = stage.cluster.app();
    let scopes = tests::fixtures::product().scopes().all().to_set();
    let by_hand = app.oauth().tokens().mint(token_by_hand(scopes)).await.unwrap();

    let ada = stage.one().modern(&access).with_capabilities(json!({}));
    stage.cluster.start_worker().await;
    let made = ada.tool("items_export", json!({})).await;
    let url = made.output()["download_url"].as_str().unwrap();
    let link = url[url.find("/exports/").unwrap()..].to_owned();
    stage.cluster.end_workers().await;

    let late = json!({ "titles": ["Written late"] });
    let import = json!({ "name": "items_import", "arguments": late });
    let tasks = ada.with_tasks();
    assert!(tasks.call("tools/call", import.clone()).await.result()["taskId"].is_string());
    let running = claim(stage).await.expect("it is the only job");
    for _ in 0..3 {
        tasks.call("tools/call", import.clone()).await.result();
    }

    let elsewhere = ada.at(stage.other());
    let session = stage.other().legacy(&access, Revision::November2025).await;
    let mut export = json!({ "name": "items_export", "arguments": {} });
    export["_meta"] = json!({ "progressToken": "p" });
    let mut streams = vec![
        ("subscriptions/listen", elsewhere.listen(json!({ "toolsListChanged": true })).await.0),
        ("GET", session.listen().await),
        ("a modern call", elsewhere.open("tools/call", export.clone()).await),
        ("a legacy call", session.open("tools/call", export).await),
    ];
    for (_, stream) in &mut streams[2..] {
        stream.expect("notifications/progress").await;
    }
    let opened =
        Opened { browser, code, access, refresh, by_hand, streams, running, link, disconnect_all };
    is_all_there(stage, &opened).await;
    opened
}

async fn claim(stage: &Stage) -> Option<Lease> {
    let what = Claim { worker: "a worker", max: 1, lease: LEASE, excluded_owners: None };
    let claimed =
        jobs::claim(stage.cluster.app().jobs(), &mut Turn::default(), what).await.unwrap();
    claimed.into_iter().next().map(|it| it.lease)
}

async fn is_all_there(stage: &Stage, opened: &Opened) {
    stage.is_good(&opened.access).await;
    stage.is_good(&opened.by_hand).await;
    for web in [stage.one(), stage.other()] {
        assert_eq!(web.get(&opened.link).await.status, 200);
        assert!(is_signed_in(&opened.browser.at(web)).await);
    }
}

async fn is_signed_in(browser: &Browser) -> bool {
    let page = browser.get("/account").await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.text().contains("\"sign_out\"")
}

/// Looks at every door, once the access was ended in one way.
async fn look(way: &str, stage: &mut Stage, opened: Opened, ends: Ends) {
    for (name, mut stream) in opened.streams {
        let rest = stream.rest().await;
        // A call that waits for a job may first hear that the job was ended.
        let results = rest.iter().filter_map(|it| it.message.as_ref()?.get("result"));
        let succeeded = results.filter(|it| it["isError"] != true).count();
        assert_eq!(succeeded, 0, "{way}: {name} ends without a result of its job");
    }
    stage.is_refused(&opened.access).await;
    if ends.by_hand {
        stage.is_refused(&opened.by_hand).await;
    } else {
        stage.is_good(&opened.by_hand).await;
    }
    let webs: [Web; 2] = [stage.one().clone(), stage.other().clone()];
    for web in &webs {
        for page in [
            web.get(&opened.link).await,
            Page::read(web.request(reqwest::Method::HEAD, &opened.link)).await,
        ] {
            assert_eq!(page.status, 404, "{way}: the export");
        }
        let browser = opened.browser.at(web);
        assert_eq!(is_signed_in(&browser).await, !ends.session, "{way}: the session");
    }
    if ends.session {
        let page = opened.browser.submit(&opened.disconnect_all, "").await;
        assert_eq!(page.header("location"), "/account", "{way}: an action of the page");
    }
    let mut refresh = opened.refresh;
    for web in &webs {
        let page = opened.code.client_app.refresh(web, &refresh).await;
        if ends.refresh {
            let answer = (page.status.as_u16(), &page.json()["error"]);
            assert_eq!(answer, (400, &json!("invalid_grant")), "{way}");
        } else {
            assert_eq!(page.status, 200, "{way}: {}", page.text());
            stage.is_good(&text(&page.json(), "access_token")).await;
            refresh = text(&page.json(), "refresh_token");
        }
    }
    look_at_jobs(way, stage, &opened.running).await;
}

async fn look_at_jobs(way: &str, stage: &mut Stage, running: &Lease) {
    let app = stage.cluster.app().clone();
    let attempt = (running.job.clone(), running.number);
    let kept = jobs::checkpoint(app.jobs(), app.db(), &attempt.0, attempt.1, &json!({})).await;
    assert!(matches!(kept, Err(CheckpointError::Superseded)), "{way}: a checkpoint: {kept:?}");
    let renewed = jobs::renew(app.jobs(), &[attempt], LEASE).await.unwrap();
    assert!(renewed.is_empty(), "{way}: a heartbeat");
    assert!(claim(stage).await.is_none(), "{way}: a claim");

    stage.cluster.start_worker().await;
    // Everybody else's jobs run.
    let token = eventually("the instance signs with a key that is good", async || {
        let token = stage.cluster.token("bob").await;
        stage.takes(stage.one(), &token).await.then_some(token)
    })
    .await;
    let bob = stage.one().modern(token).with_capabilities(json!({}));
    bob.tool("items_export", json!({})).await.output();
    let unfinished = job_rows::Entity::find().filter(job_rows::COLUMN.ended_at.is_null());
    assert_eq!(unfinished.count(app.db()).await.unwrap(), 0, "{way}");
    let mine = job_rows::Entity::owned_by(OCTOCAT).all(app.db()).await.unwrap();
    // The one of the modern call may have been cancelled: its stream was closed.
    let over = [job_rows::Status::Completed, job_rows::Status::Cancelled];
    for job in mine.iter().filter(|it| !over.contains(&it.status)) {
        assert_eq!(job.status, job_rows::Status::Failed, "{way}");
        let id = JobId::parse(&job.id).unwrap();
        let read = jobs::store(app.jobs()).get(&person(), &id).await.unwrap().unwrap();
        let Some(JobOutcome::Result { result, .. }) = read.outcome else { panic!("{way}") };
        assert!(result.get().contains("The job was stopped, because"), "{way}: {result}");
    }
    assert_eq!(items::count(app.db(), &person()).await.unwrap(), 0, "{way}: an item");
}

async fn stage_and_opened(settings: &[(&'static str, &str)]) -> (Stage, Opened) {
    let mut stage = Stage::with(settings).await;
    stage.github.membership("active");
    let opened = open(&mut stage).await;
    (stage, opened)
}

#[tokio::test]
async fn users_block_ends_everything() {
    let (mut stage, opened) = stage_and_opened(&[]).await;
    let app = stage.cluster.service_of(1).clone();
    let client_app = opened.client_app().clone();
    assert!(account::block(app.oauth(), &person(), &RequestInfo::none()).await.unwrap());
    let earlier = [opened.access.clone(), opened.by_hand.clone()];
    look("users block", &mut stage, opened, ALL).await;

    // What is given after `users unblock` is good, and what was given before is not.
    account::unblock(app.oauth(), &person(), &RequestInfo::none()).await.unwrap();
    let browser = stage.browser();
    browser.account().await;
    assert!(is_signed_in(&browser.at(stage.other())).await);
    stage.is_good(&text(&client_app.connect(&browser).await, "access_token")).await;
    let new = token_by_hand([tests::fixtures::items::READ.to_owned()].into());
    let token = app.oauth().tokens().mint(new).await.unwrap();
    stage.is_good(&token).await;
    for token in earlier {
        stage.is_refused(&token).await;
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_behind() {
    let (mut stage, opened) = stage_and_opened(&[]).await;
    let app = stage.cluster.service_of(1);
    account::delete(app.oauth(), &person(), &RequestInfo::none()).await.unwrap();
    look("account deleted", &mut stage, opened, ALL).await;
}

#[tokio::test]
async fn whoever_is_taken_off_the_list_is_out_when_the_first_instance_has_the_new_list() {
    let list = [("ALLOWED_GITHUB_LOGINS", "octocat, hubot")];
    let (mut stage, opened) = stage_and_opened(&list).await;
    stage.cluster.join(&[("ALLOWED_GITHUB_LOGINS", "hubot")]).await;
    look("taken off the list", &mut stage, opened, ALL).await;
    assert_eq!(stage.audited("gate_closed").await, 1);
}

#[tokio::test]
async fn a_new_instance_with_the_same_list_ends_nothing() {
    let list = [("ALLOWED_GITHUB_LOGINS", "octocat")];
    let (mut stage, opened) = stage_and_opened(&list).await;
    stage.cluster.join(&[("ALLOWED_GITHUB_LOGINS", "hubot, Octocat")]).await;
    stage.cluster.join(&[("ALLOWED_GITHUB_LOGINS", "id:583231")]).await;
    is_all_there(&stage, &opened).await;
    assert_eq!(stage.audited("gate_closed").await, 0);
}

const MEMBERS: [(&str, &str); 2] =
    [("ALLOWED_GITHUB_ORG", ORG), ("DATA_KEYS", "a key of thirty-two bytes or more")];

#[tokio::test]
async fn whoever_is_no_member_at_a_new_sign_in_is_out() {
    let (mut stage, opened) = stage_and_opened(&MEMBERS).await;
    stage.github.answers(Question::Membership, Manner::Status(404));
    let page = stage.browser().at(stage.other()).sign_in(&opened.client_app().asks()).await;
    assert_eq!(page.status, 403, "{}", page.text());
    look("no member", &mut stage, opened, ALL).await;
}

#[tokio::test]
async fn a_sign_in_that_finds_out_nothing_ends_nothing() {
    let (stage, opened) = stage_and_opened(&MEMBERS).await;
    stage.github.answers(Question::Membership, Manner::Status(500));
    let page = stage.browser().at(stage.other()).sign_in(&opened.client_app().asks()).await;
    assert_eq!(page.status, 303, "{}", page.text());
    is_all_there(&stage, &opened).await;
}

#[tokio::test]
async fn an_answer_about_another_organization_does_not_hold() {
    let (mut stage, opened) = stage_and_opened(&MEMBERS).await;
    let changed = stage.cluster.join(&[("ALLOWED_GITHUB_ORG", "another-org")]).await;
    stage.github.answers(Question::Membership, Manner::Status(404));
    let page = opened.client_app().refresh(stage.cluster.web(changed), &opened.refresh).await;
    assert_eq!(page.json()["error"], "invalid_grant", "at once, not after a quarter of an hour");
    look("another organization", &mut stage, opened, ALL).await;
}

#[tokio::test]
async fn a_grant_that_ends_takes_along_what_was_begun_with_it() {
    for way in ["/revoke", "/account", "all apps", "a code", "a refresh token", "clients revoke"] {
        let (mut stage, opened) = stage_and_opened(&[]).await;
        let client_app = opened.client_app();
        let account = async |action: &str| {
            let page = opened.browser.get("/account").await;
            let mut form = form(&page);
            form.fields.push(("action".to_owned(), action.to_owned()));
            assert_eq!(opened.browser.submit(&form, "").await.status, 303, "{way}");
        };
        match way {
            "/revoke" => {
                assert_eq!(client_app.revoke(stage.one(), &opened.access).await.status, 200);
            }
            "/account" => account("disconnect").await,
            "all apps" => account("disconnect_all").await,
            "a code" => {
                stage.pass(11);
                assert_eq!(opened.code.redeem(stage.other()).await.status, 400);
            }
            "a refresh token" => {
                let second = client_app.refresh(stage.one(), &opened.refresh).await.json();
                let second = text(&second, "refresh_token");
                assert_eq!(client_app.refresh(stage.one(), &second).await.status, 200);
                stage.pass(121);
                assert_eq!(client_app.refresh(stage.other(), &opened.refresh).await.status, 400);
            }
            _ => {
                // A code that is on its way does not become a grant.
                let late = client_app.code(&opened.browser).await;
                let client = ClientId(client_app.id.clone());
                let app = stage.cluster.app();
                revoke::client(app.oauth(), &client, Reason::Operator, &RequestInfo::none())
                    .await
                    .unwrap();
                assert_eq!(late.redeem(stage.one()).await.status, 400);
            }
        }
        look(way, &mut stage, opened, ONE_APP).await;
    }
}

async fn kid(stage: &Stage) -> entity::Kid {
    let keys = stage.cluster.app().oauth().keys().list().await.unwrap();
    keys.into_iter().find(|it| it.signs).unwrap().kid
}

#[tokio::test]
async fn a_revoked_key_ends_what_was_begun_with_its_tokens() {
    let (mut stage, opened) = stage_and_opened(&[]).await;
    let (kid, app) = (kid(&stage).await, stage.cluster.service_of(1));
    assert!(revoke::key(app.oauth(), &kid, &RequestInfo::none()).await.unwrap());
    look("keys revoke", &mut stage, opened, ONE_KEY).await;
}

#[tokio::test]
async fn what_nobody_was_told_of_is_found() {
    let (mut stage, opened) = stage_and_opened(&[]).await;
    let (kid, app) = (kid(&stage).await, stage.cluster.service_of(1).clone());
    // The row alone: no signal, and no job is ended.
    assert!(app.oauth().keys().revoke(&kid, &RequestInfo::none()).await.unwrap());
    for (_, mut stream) in opened.streams {
        stream.rest().await;
    }
    stage.is_refused(&opened.access).await;
    assert_eq!(stage.other().get(&opened.link).await.status, 404);
    assert!(claim(&stage).await.is_none());
    // The heartbeat of a worker finds the job that runs.
    let these = jobs::DeniedJobs::These(vec![opened.running.job.clone()]);
    let ended: Vec<JobId> = jobs::end_denied(app.jobs(), &these).await.unwrap();
    assert!(ended.is_empty() || ended == [opened.running.job.clone()]);
    look_at_jobs("no signal", &mut stage, &opened.running).await;
}

#[tokio::test]
async fn somebody_who_never_signed_in_can_be_blocked() {
    let stage = Stage::new().await;
    let token = stage.cluster.token("ada").await;
    stage.is_good(&token).await;
    let ada = UserId::new("dev:ada");
    let app = stage.cluster.app();
    assert!(account::block(app.oauth(), &ada, &RequestInfo::none()).await.unwrap());
    assert!(!account::block(app.oauth(), &ada, &RequestInfo::none()).await.unwrap());
    stage.is_refused(&token).await;
    stage.is_good(&stage.cluster.token("bob").await).await;
}
