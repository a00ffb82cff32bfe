//! What is written down: N138, that each event is in the audit log once and can be found by its
//! request, and N137, that no secret is ever written to the log, to the audit log, or by `Debug`.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex},
};

use app::App;
use entity::oauth_audit;
use mcp::UserId;
use oauth::{account, audit::RequestInfo, client::ClientId, grant::Reason, revoke};
use reqwest::RequestBuilder;
use sea_orm::EntityTrait as _;
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp, REDIRECT_URI, answer, encode, post_request},
    client::Page,
    fake_endpoint::Manner,
    github::{self, Question},
    openid::{self, SUBJECT},
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::{Stage, openid::Scene, text};

/// The rows of one event.
async fn rows(stage: &Stage, event: &str) -> Vec<oauth_audit::Model> {
    let all = oauth_audit::Entity::find().all(stage.cluster.app().db()).await.unwrap();
    all.into_iter().filter(|it| it.event == event).collect()
}

/// There is exactly one row of the event, by this request. An empty id is that of no request.
async fn written_once(case: &str, stage: &Stage, event: &str, request: &str) {
    let rows = rows(stage, event).await;
    let by: Vec<_> =
        rows.iter().filter(|it| it.request_id.as_deref().unwrap_or("") == request).collect();
    assert_eq!(by.len(), 1, "N138 {case}: {event} by “{request}” in {rows:#?}");
    if !request.is_empty() {
        assert!(by[0].ip.is_some(), "N138 {case}: where it came from");
    }
}

/// The same request with an id of its own.
fn named(request: RequestBuilder, id: &str) -> RequestBuilder {
    request.header("x-request-id", id)
}

async fn visit(browser: &Browser, address: &str, id: &str) -> Page {
    browser.read(named(browser.request(reqwest::Method::GET, address), id)).await
}

async fn decide(browser: &Browser, client_app: &ClientApp, decision: &str, id: &str) -> Page {
    let form = browser.to_consent(&client_app.asks()).await;
    let request = browser.form_request(&form, decision).header("sec-fetch-site", "same-origin");
    browser.read(named(request, id)).await
}

#[tokio::test]
async fn n138_each_event_is_written_once_with_its_request() {
    let stage = Stage::with(&[("ALLOWED_GITHUB_LOGINS", "octocat")]).await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let send = async |path: &str, form: &[(String, String)], id: &str| {
        let request = named(post_request(stage.one(), path), id);
        Page::read(request.body(encode(form))).await
    };

    // Sign-in, consent, code and token.
    let asked = client_app.asks();
    let form = browser.to_consent(&asked).await;
    let request = browser.form_request(&form, "approve").header("sec-fetch-site", "same-origin");
    let approved = browser.read(named(request, "r-consent")).await;
    let callback = browser.at_github(approved.header("location")).await;
    let code = client_app.received(&asked, &visit(&browser, &callback, "r-callback").await);
    let tokens = send("/token", &code.form(), "r-token").await.json();
    written_once("consent", &stage, "consent_given", "r-consent").await;
    written_once("sign-in", &stage, "signed_in", "r-callback").await;
    written_once("code", &stage, "code_issued", "r-callback").await;
    written_once("token", &stage, "token_issued", "r-token").await;

    // Deny, and a gate that stays closed.
    assert_eq!(decide(&browser, &client_app, "deny", "r-deny").await.status, 303);
    written_once("deny", &stage, "consent_denied", "r-deny").await;
    stage.github.sign_in_as(7, "mallory");
    let callback = browser.to_callback(&client_app.asks()).await;
    assert_eq!(visit(&browser, &callback, "r-gate").await.status, 403);
    written_once("gate", &stage, "sign_in_refused", "r-gate").await;
    stage.github.sign_in_as(583_231, "octocat");

    // Refresh, recovery, and a replay.
    let first = text(&tokens, "refresh_token");
    let page = send("/token", &client_app.refreshing(&first), "r-refresh").await;
    assert_eq!(page.status, 200, "{}", page.text());
    written_once("refresh", &stage, "token_refreshed", "r-refresh").await;
    stage.pass(600);
    let page = send("/token", &client_app.refreshing(&first), "r-recover").await;
    assert_eq!(page.status, 200, "{}", page.text());
    written_once("recovery", &stage, "refresh_recovered", "r-recover").await;
    stage.pass(600);
    send("/token", &client_app.refreshing(&first), "r-replay").await;
    written_once("refresh replay", &stage, "refresh_replayed", "r-replay").await;

    // A replayed code.
    let code = client_app.code(&browser).await;
    assert_eq!(code.redeem(stage.one()).await.status, 200);
    stage.pass(11);
    send("/token", &code.form(), "r-code").await;
    written_once("code replay", &stage, "code_replayed", "r-code").await;

    // A revocation, by the client and by operators.
    let tokens = client_app.connect(&browser).await;
    let form = tests::browser::owned(&[
        ("client_id", &client_app.id),
        ("token", &text(&tokens, "refresh_token")),
    ]);
    for _ in 0..2 {
        assert_eq!(send("/revoke", &form, "r-revoke").await.status, 200);
    }
    written_once("revoke", &stage, "grant_revoked", "r-revoke").await;
    client_app.connect(&browser).await;
    let (app, ada) = (stage.cluster.app(), UserId::new("github:583231"));
    let operator = RequestInfo::new("r-operator", Some([127, 0, 0, 1].into()), None);
    let client = ClientId(client_app.id.clone());
    revoke::client(app.oauth(), &client, Reason::Operator, &operator).await.unwrap();
    written_once("operator", &stage, "grant_revoked", "r-operator").await;
    account::block(app.oauth(), &ada, &operator).await.unwrap();
    account::unblock(app.oauth(), &ada, &operator).await.unwrap();
    written_once("block", &stage, "user_blocked", "r-operator").await;
    written_once("unblock", &stage, "user_unblocked", "r-operator").await;
    app.oauth().keys().rotate(&operator).await.unwrap();
    written_once("keys", &stage, "key_rotation_requested", "r-operator").await;
    written_once("keys", &stage, "key_created", "").await;

    // What led nowhere because nothing was known about it is not worth a row.
    let rows = oauth_audit::Entity::find().all(app.db()).await.unwrap();
    let before = rows.len();
    send("/token", &tests::browser::with(&code.form(), "code", "mac_x"), "r-garbage").await;
    send("/revoke", &tests::browser::with(&form, "token", "x"), "r-nothing").await;
    let after = oauth_audit::Entity::find().all(app.db()).await.unwrap().len();
    assert_eq!(before, after, "N138");
}

/// Everything that is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Our own crates say all that they can, the others what they say in production.
const FILTER: &str =
    "info,app=trace,oauth=trace,jobs=trace,platform=trace,web=trace,mcp=trace,entity=trace";

/// The log of a test on one thread.
struct Log {
    lines: Lines,
    _another: tracing::Dispatch,
    _hears: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Self {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(FILTER))
            .with_writer(lines.clone())
            .with_ansi(false)
            .finish();
        Self {
            lines,
            // While there is a single subscriber, a line that another thread was the first to reach
            // counts as uninteresting for all. So there are two.
            _another: tracing::Dispatch::new(tracing_subscriber::registry()),
            _hears: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Asserts that no secret is in the log, in the audit log, or in what prints the configuration.
    async fn is_free_of(&self, secrets: &BTreeSet<String>, app: &App) {
        let mut written = String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap();
        assert!(written.contains("POST /token answered 200"), "it was heard: {written:.2000}");
        for row in oauth_audit::Entity::find().all(app.db()).await.unwrap() {
            writeln!(written, "{row:?}").unwrap();
        }
        let oauth = &app.config().oauth;
        writeln!(written, "{:?} {app:?} {:?} {:?}", app.config(), oauth.github, oauth.oidc)
            .unwrap();
        for secret in secrets {
            // What is too short to be a secret would be found by chance.
            if secret.len() < 16 {
                continue;
            }
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for form in [secret, &encoded] {
                let line = written.lines().find(|it| it.contains(form.as_str()));
                assert_eq!(line, None, "N137: {secret} was written");
            }
        }
    }
}

// One thread: a subscriber for this test alone hears all that its instances say.
#[tokio::test(flavor = "current_thread")]
async fn n137_no_secret_is_written_anywhere() {
    const SIGNING_SECRET: &str = "a signing secret of thirty-two bytes or more";
    let log = Log::start();
    let stage = Stage::with(&[
        ("JWT_SIGNING_SECRET", SIGNING_SECRET),
        ("ALLOWED_GITHUB_ORG", github::ORG),
        ("DATA_KEYS", "a data key of thirty-two bytes or more"),
    ])
    .await;
    stage.github.membership("active");
    let metadata = json!({
        "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post",
    });
    let client_app = ClientApp::register_with(stage.one(), metadata).await;
    let own = |form: Vec<(String, String)>| {
        let secret = client_app.secret.clone().expect("it asked for one");
        [form, tests::browser::owned(&[("client_secret", &secret)])].concat()
    };
    let mut secrets: BTreeSet<String> = [
        SIGNING_SECRET,
        github::CLIENT_SECRET,
        "a data key of thirty-two bytes or more",
        client_app.secret.as_deref().expect("it asked for one"),
    ]
    .map(str::to_owned)
    .into();

    let browser = stage.browser();
    let (asked, denied) = (client_app.asks(), client_app.asks());
    let form = browser.to_consent(&asked).await;
    secrets.extend(browser.secrets());
    secrets.extend(form.fields.iter().map(|(_, value)| value.clone()));
    let address = browser.approve(&form).await;
    secrets.extend(browser.secrets());
    secrets.insert(answer(&address)["state"].clone());
    let callback = browser.at_github(&address).await;
    secrets.insert(answer(&callback)["code"].clone());
    let code = client_app.received(&asked, &browser.get(&callback).await);
    secrets.extend([code.code.clone(), code.verifier.clone(), asked.state.clone()]);
    browser.get(&callback).await;
    browser.submit(&browser.to_consent(&denied).await, "deny").await;
    secrets.insert(denied.state.clone());

    let send = async |path: &str, form: Vec<(String, String)>| {
        Page::read(post_request(stage.other(), path).body(encode(&own(form)))).await
    };
    let tokens = send("/token", code.form()).await.json();
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let next = text(&send("/token", client_app.refreshing(&refresh)).await.json(), "refresh_token");
    secrets.extend([access.clone(), refresh.clone(), next.clone()]);
    stage.is_good(&access).await;

    // Everything goes wrong that can: this is where secrets are written by mistake.
    stage.takes(stage.one(), &format!("{access}x")).await;
    for table in ["oauth_grants", "oauth_refresh_tokens", "oauth_codes"] {
        stage.hide(table).await;
        send("/token", client_app.refreshing(&next)).await;
        send("/token", code.form()).await;
        send("/revoke", tests::browser::owned(&[("client_id", &client_app.id), ("token", &next)]))
            .await;
        stage.bring_back(table).await;
    }
    stage.github.answers(Question::Exchange, Manner::HangUp);
    browser.sign_in(&client_app.asks()).await;
    stage.pass(60 * 60);
    send("/token", client_app.refreshing(&refresh)).await;
    send("/token", code.form()).await;

    log.is_free_of(&secrets, stage.cluster.app()).await;
    assert!(secrets.len() > 12, "N137: {secrets:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn n137_no_secret_of_an_openid_provider_is_written_anywhere() {
    let log = Log::start();
    let scene = Scene::with(&[("OIDC_ACME_ALLOWED_GROUPS", "writers")]).await;
    let acme = &scene.acme;
    acme.issues_refresh_tokens();
    acme.sign_in_as(json!({ "sub": SUBJECT }));
    acme.userinfo(json!({ "sub": SUBJECT, "groups": ["writers"] }));
    for (question, manner) in [
        (openid::Question::Exchange, Manner::HangUp),
        (openid::Question::Keys, Manner::NotJson),
        (openid::Question::Userinfo, Manner::Status(401)),
    ] {
        acme.answers(question, manner);
        scene.sign_in().await;
        acme.answers(question, Manner::Well);
    }
    let (client_app, tokens) = scene.admitted().await;
    acme.answers(openid::Question::Refresh, Manner::HangUp);
    scene.pass(16 * 60);
    client_app.refresh(scene.stage.other(), &text(&tokens, "refresh_token")).await;
    let mut secrets: BTreeSet<String> = acme.secrets().into_iter().collect();
    assert!(secrets.len() > 8, "N137: {secrets:?}");
    secrets.insert(openid::CLIENT_SECRET.to_owned());
    log.is_free_of(&secrets, scene.stage.cluster.app()).await;
    for token in scene.stored_tokens().await {
        let stored = String::from_utf8_lossy(&token.sealed).into_owned();
        assert!(secrets.iter().all(|secret| !stored.contains(secret)), "N137: it is encrypted");
    }
}
