//! The way back from an OpenID Connect provider: N60 to N69 for this kind of provider, and what only it
//! can get wrong.

use std::sync::Arc;

use entity::{oauth_audit, upstream_tokens, users};
use sea_orm::EntityTrait as _;
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp, Form, answer},
    client::Page,
    cluster::{Database, Setup},
    eventually,
    fake_endpoint::Manner,
    github::GitHub,
    openid::{OpenId, Question, SUBJECT, Signature},
};
use tokio::sync::Notify;

use super::{Stage, callback::wrong_callbacks, sent_back, shown, text, told};

/// Two instances, and the provider `ACME`.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) acme: OpenId,
}

impl Scene {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(super) async fn with(settings: &[(&'static str, &str)]) -> Self {
        let acme = OpenId::start().await;
        let setup = Setup::new(Database::Postgres).instances(2).with_openid(&acme);
        let setup = settings.iter().fold(setup, |setup, &(name, value)| setup.with(name, value));
        let (cluster, github) = (setup.start().await, GitHub::start().await);
        Self { stage: Stage { cluster, github }, acme }
    }

    fn browser(&self) -> Browser {
        self.stage.browser()
    }

    async fn client_app(&self) -> ClientApp {
        self.stage.client_app().await
    }

    fn issuer(&self) -> &str {
        self.stage.one().origin()
    }

    /// Time passes for the instances and for the provider.
    pub(super) fn pass(&self, seconds: u32) {
        self.stage.pass(seconds.into());
        self.acme.pass(seconds.into());
    }

    /// The user with this identity.
    async fn user(&self, sub: &str) -> Option<users::Model> {
        let db = self.stage.cluster.app().db();
        users::Entity::find_by_id(sub).one(db).await.expect("the database is there")
    }

    pub(super) async fn stored_tokens(&self) -> Vec<upstream_tokens::Model> {
        let db = self.stage.cluster.app().db();
        upstream_tokens::Entity::find().all(db).await.expect("the database is there")
    }

    /// The only stored token, encrypted.
    async fn stored_token(&self) -> Vec<u8> {
        let [token] = &self.stored_tokens().await[..] else { panic!("there is not one token") };
        token.sealed.clone()
    }

    /// A new user agrees and signs in.
    pub(super) async fn sign_in(&self) -> (String, Page) {
        let asked = self.client_app().await.asks();
        let page = self.browser().sign_in(&asked).await;
        (asked.state, page)
    }

    /// The sign-in ends at the client with this error.
    async fn fails(&self, case: &str, error: &str) {
        let (state, page) = self.sign_in().await;
        sent_back(case, &page, self.issuer(), error, Some(&state));
    }

    /// A page says no, with this reason, and its link tells the client.
    async fn refused(&self, case: &str, reason: &str) {
        let (_, page) = self.sign_in().await;
        shown(case, &page, 403);
        let html = page.text().replace("&#38;", "&").replace("&amp;", "&");
        assert!(html.contains("error=access_denied"), "{case}: {html}");
        assert!(html.contains(reason), "{case}: {html}");
    }

    pub(super) async fn admitted(&self) -> (ClientApp, Value) {
        let client_app = self.client_app().await;
        let tokens = client_app.connect(&self.browser()).await;
        (client_app, tokens)
    }
}

fn user(email: &str, more: &Value) -> Value {
    let mut user = json!({ "sub": SUBJECT, "email": email, "email_verified": true });
    for (claim, value) in more.as_object().into_iter().flatten() {
        user[claim] = value.clone();
    }
    user
}

#[tokio::test]
async fn each_step_meets_the_other_instance_and_nothing_is_kept_without_a_rule() {
    let scene = Scene::new().await;
    scene.acme.issues_refresh_tokens();
    let (stage, browser) = (&scene.stage, scene.browser());
    let client_app = scene.client_app().await;
    let asked = client_app.asks();
    let form = browser.at(stage.other()).to_consent(&asked).await;
    let callback = browser.at_github(&browser.approve(&form).await).await;
    assert!(callback.contains(&scene.acme.callback()), "{callback}");
    asked.code(&browser.at(stage.other()).get(&callback).await);
    shown("N62 replayed", &browser.get(&callback).await, 400);

    let tokens = client_app.connect(&browser).await;
    stage.is_good(&text(&tokens, "access_token")).await;
    let known = scene.user(&format!("acme:{SUBJECT}")).await.expect("the user is known");
    assert_eq!(known.login, "ada@example.com");
    assert_eq!(known.provider.as_deref(), Some("acme"));
    assert_eq!(known.provider_subject.as_deref(), Some(SUBJECT));
    assert!(scene.stored_tokens().await.is_empty(), "the refresh token is not needed");
    assert_eq!(scene.acme.asked(Question::Userinfo), 0, "the ID token says enough");
    let page = browser.account().await;
    assert!(page.text().contains("ada@example.com"), "{}", page.text());
    let audit = oauth_audit::Entity::find().all(stage.cluster.app().db()).await.unwrap();
    let details = audit.iter().filter_map(|row| row.detail.as_deref());
    assert!(details.into_iter().all(|detail| !detail.contains('@')), "no address is logged");
}

#[tokio::test]
async fn a_strangers_browser_ends_nothing() {
    let scene = Scene::new().await;
    let (browser, client_app) = (scene.browser(), scene.client_app().await);
    let asked = client_app.asks();
    let callback = browser.to_callback(&asked).await;
    shown("N60", &scene.browser().get(&callback).await, 403);
    let stranger = scene.browser();
    stranger.to_callback(&client_app.asks()).await;
    shown("N61", &stranger.at(scene.stage.other()).get(&callback).await, 403);
    assert_eq!(scene.acme.asked(Question::Exchange), 0, "N60");
    asked.code(&browser.at(scene.stage.other()).get(&callback).await);
}

#[tokio::test]
async fn of_many_returns_to_two_instances_one_counts() {
    let scene = Scene::new().await;
    let (browser, client_app) = (scene.browser(), scene.client_app().await);
    let asked = client_app.asks();
    let callback = browser.to_callback(&asked).await;
    let callback = &callback;
    let webs = [scene.stage.one(), scene.stage.other()];
    let returns = (0..16).map(|number| {
        let browser = browser.at(webs[number % 2]);
        async move { browser.get(callback).await }
    });
    let pages = futures_util::future::join_all(returns).await;
    let (won, lost): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.status == 303);
    assert_eq!((won.len(), lost.len()), (1, 15), "N62");
    asked.code(won[0]);
    for page in lost {
        shown("N62", page, 400);
    }
    assert_eq!(scene.acme.asked(Question::Exchange), 1);
}

#[tokio::test]
async fn what_the_provider_never_sends_is_refused() {
    let scene = Scene::new().await;
    let browser = scene.browser();
    let asked = scene.client_app().await.asks();
    let callback = browser.to_callback(&asked).await;
    let (path, _) = callback.split_once('?').expect("it has a query");
    let sent = answer(&callback);
    let (key, code) = (&sent["state"], &sent["code"]);
    let issuers = [
        ("two issuers", format!("{callback}&iss=x")),
        ("another issuer", format!("{path}?code={code}&state={key}&iss=https://evil.example")),
        ("an issuer with a slash", format!("{path}?code={code}&state={key}&iss={}/", sent["iss"])),
    ];
    for (case, address) in wrong_callbacks(&callback).into_iter().chain(issuers) {
        shown(case, &browser.get(&address).await, 400);
    }
    assert_eq!(scene.acme.asked(Question::Exchange), 0, "no code was sent");
    scene.stage.pass(601);
    shown("N62 expired", &browser.get(&callback).await, 400);
}

#[tokio::test]
async fn a_provider_that_promises_its_name_must_send_it() {
    let scene = Scene::new().await;
    let without = |callback: &str| {
        let sent = answer(callback);
        let (path, _) = callback.split_once('?').expect("it has a query");
        format!("{path}?code={}&state={}", sent["code"], sent["state"])
    };
    let (browser, client_app) = (scene.browser(), scene.client_app().await);
    let asked = client_app.asks();
    let callback = browser.to_callback(&asked).await;
    let page = browser.at(scene.stage.other()).get(&without(&callback)).await;
    sent_back("no issuer", &page, scene.issuer(), "server_error", Some(&asked.state));
    assert_eq!(scene.acme.asked(Question::Exchange), 0, "no code was sent");

    // One that promises nothing need not.
    let scene = Scene::new().await;
    scene.acme.discovery(json!({ "authorization_response_iss_parameter_supported": false }));
    let (browser, client_app) = (scene.browser(), scene.client_app().await);
    let asked = client_app.asks();
    let callback = browser.to_callback(&asked).await;
    asked.code(&browser.get(&without(&callback)).await);
}

#[tokio::test]
async fn n65_no_at_the_provider_is_no() {
    let scene = Scene::new().await;
    let browser = scene.browser();
    let asked = scene.client_app().await.asks();
    let callback = browser.to_callback(&asked).await;
    let (path, _) = callback.split_once('?').expect("it has a query");
    let sent = answer(&callback);
    let address = format!(
        "{path}?error=access_denied&error_description=words+of+others&state={}&iss={}",
        sent["state"], sent["iss"]
    );
    let page = browser.get(&address).await;
    sent_back("N65", &page, scene.issuer(), "access_denied", Some(&asked.state));
    assert!(!page.header("location").contains("words"), "N65");
}

#[tokio::test]
async fn a_provider_that_is_away_or_wrong_gives_no_code() {
    // The rule makes userinfo necessary.
    let scene = Scene::with(&[("OIDC_ACME_ALLOWED_GROUPS", "writers")]).await;
    let acme = &scene.acme;
    let claims = json!({ "sub": SUBJECT });
    acme.sign_in_as(claims);
    let writer = json!({ "sub": SUBJECT, "groups": ["writers"] });
    acme.userinfo(writer.clone());
    let elsewhere = format!("{}/keys", acme.issuer());
    let (away, wrong) = ("temporarily_unavailable", "server_error");
    let (exchange, userinfo) = (Question::Exchange, Question::Userinfo);
    let other = json!({ "sub": "another", "groups": ["writers"] });
    for (case, question, manner, error) in [
        ("N66", exchange, Manner::Json(json!({ "error": "invalid_grant" })), wrong),
        ("N66 no ID token", exchange, Manner::Json(json!({ "access_token": "x" })), wrong),
        ("N66 400", exchange, Manner::Status(400), wrong),
        ("N66 401", exchange, Manner::Status(401), wrong),
        ("N67 500", exchange, Manner::Status(500), away),
        ("N67 429", exchange, Manner::Status(429), away),
        ("N67 not JSON", exchange, Manner::NotJson, away),
        ("N67 huge", exchange, Manner::Huge, away),
        ("N67 redirect", exchange, Manner::Redirect(elsewhere.clone()), away),
        ("N67 hangs up", exchange, Manner::HangUp, away),
        ("N67 never", exchange, Manner::Never, away),
        // Before any login has got as far as to the keys, which are then cached.
        ("N67 keys", Question::Keys, Manner::Status(503), away),
        ("N67 keys", Question::Keys, Manner::Redirect(elsewhere.clone()), away),
        ("N67 keys", Question::Keys, Manner::Json(json!({ "keys": "none" })), wrong),
        ("N67 500", userinfo, Manner::Status(500), away),
        ("N67 not JSON", userinfo, Manner::NotJson, away),
        ("N67 huge", userinfo, Manner::Huge, away),
        ("N67 redirect", userinfo, Manner::Redirect(elsewhere), away),
        ("refused", userinfo, Manner::Status(401), wrong),
        ("N69c another", userinfo, Manner::Json(other), wrong),
        ("N69c no subject", userinfo, Manner::Json(json!({ "groups": ["writers"] })), wrong),
    ] {
        let before = acme.asked(Question::Keys);
        acme.answers(question, manner);
        scene.fails(case, error).await;
        acme.answers(question, Manner::Well);
        let is_redirected = case == "N67 redirect";
        assert!(!is_redirected || acme.asked(Question::Keys) == before, "{case}: it was followed");
        if question == Question::Keys {
            assert_eq!(acme.asked(Question::Keys), before + 1, "{case}");
        }
    }
    // And when it is back, so is the user.
    scene.admitted().await;
    for (case, claims) in [
        ("N69c none", json!({})),
        ("N69c number", json!({ "sub": 7 })),
        ("N69c empty", json!({ "sub": "" })),
        ("N69c long", json!({ "sub": "x".repeat(256) })),
    ] {
        acme.sign_in_as(claims);
        acme.userinfo(writer.clone());
        scene.fails(case, wrong).await;
    }
}

#[tokio::test]
async fn a_wrong_id_token_is_refused() {
    let scene = Scene::new().await;
    let acme = &scene.acme;
    for (case, claim, value) in [
        ("nonce", "nonce", json!("another")),
        ("no nonce", "nonce", json!(null)),
        ("audience", "aud", json!("another client")),
        ("several audiences", "aud", json!([tests::openid::CLIENT_ID, "another client"])),
        ("authorized party", "azp", json!("another client")),
        ("issuer", "iss", json!("https://evil.example")),
        ("expired", "exp", json!(1_700_000_000)),
        ("no expiry", "exp", json!(null)),
        ("future", "iat", json!(4_000_000_000_u32)),
        ("not yet", "nbf", json!(4_000_000_000_u32)),
    ] {
        acme.claims(move |claims| claims[claim] = value.clone());
        scene.fails(case, "server_error").await;
    }
    acme.is_honest();
    for signature in [
        Signature::None,
        Signature::PublicKeyAsSecret,
        Signature::OtherKey,
        Signature::OfOtherClaims,
    ] {
        acme.signs(signature);
        scene.fails(&format!("{signature:?}"), "server_error").await;
    }
    assert_eq!(scene.user(&format!("acme:{SUBJECT}")).await, None, "there is no user yet");
    acme.is_honest();
    scene.admitted().await;
}

#[tokio::test]
async fn new_keys_are_found_and_made_up_ones_cost_little() {
    let scene = Scene::new().await;
    let acme = &scene.acme;
    scene.admitted().await;
    let one = acme.asked(Question::Keys);
    assert!((1..=2).contains(&one), "at most once per instance: {one}");
    acme.rotate();
    scene.admitted().await;
    let rotated = acme.asked(Question::Keys);
    assert_eq!(rotated, one + 1, "once more");
    // Unknown keys again within a minute cause no request at this instance.
    acme.signs(Signature::UnknownKey);
    for _ in 0..5 {
        scene.fails("unknown key", "server_error").await;
    }
    assert_eq!(acme.asked(Question::Keys), rotated);
    acme.is_honest();
    scene.admitted().await;
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_said_before_anything_is_decided() {
    let scene = Scene::new().await;
    let acme = &scene.acme;
    let (browser, client_app) = (scene.browser(), scene.client_app().await);
    let asked = client_app.asks();
    let form = browser.to_consent(&asked).await;
    let other_issuer = json!({ "issuer": format!("{}/", acme.issuer()) });
    for (case, manner) in [
        ("500", Manner::Status(500)),
        ("never", Manner::Never),
        ("huge", Manner::Huge),
        ("redirect", Manner::Redirect(format!("{}/keys", acme.issuer()))),
        ("none", Manner::Status(404)),
        ("another issuer", Manner::Json(other_issuer)),
        ("incomplete", Manner::Json(json!({ "issuer": acme.issuer() }))),
    ] {
        acme.answers(Question::Discovery, manner);
        let page = browser.submit(&form, "approve").await;
        shown(case, &page, 503);
        assert!(page.text().contains("Acme does not answer"), "{case}: {}", page.text());
        let account = Form::sign_in(None);
        shown(case, &browser.submit(&account, "").await, 503);
    }
    assert_eq!(scene.stage.audited("sign_in_failed").await, 14);
    assert_eq!(scene.stage.audited("consent_given").await, 0);
    acme.answers(Question::Discovery, Manner::Well);
    let callback = browser.at_github(&browser.approve(&form).await).await;
    asked.code(&browser.get(&callback).await);
    assert_eq!(scene.stage.audited("consent_given").await, 1);
}

#[tokio::test]
async fn n68_only_verified_addresses_of_a_domain_come_in() {
    let scene = Scene::with(&[("OIDC_ACME_ALLOWED_DOMAINS", "Example.com, example.org")]).await;
    let acme = &scene.acme;
    scene.admitted().await;
    acme.sign_in_as(user("eve@sub.example.com", &json!({})));
    scene.refused("N68 subdomain", "accounts of example.com or example.org").await;
    acme.sign_in_as(user("eve@example.com.evil.example", &json!({})));
    scene.refused("N68 domain", "accounts of example.com or example.org").await;
    for verified in [json!(false), json!(null), json!("yes")] {
        acme.sign_in_as(user("eve@example.com", &json!({ "email_verified": verified })));
        scene.refused("N68 unverified", "does not say that yours is verified").await;
    }
    // It counts only at Microsoft.
    let owner = json!({ "email_verified": null, "xms_edov": true });
    acme.sign_in_as(user("eve@example.com", &owner));
    scene.refused("N68 unverified", "does not say that yours is verified").await;
}

#[tokio::test]
async fn n68_users_who_are_not_listed_are_refused() {
    let users = ("OIDC_ACME_ALLOWED_USERS", "Ada@example.com, id:42");
    let scene = Scene::with(&[users]).await;
    let acme = &scene.acme;
    acme.sign_in_as(user("ada@example.com", &json!({ "email_verified": false })));
    scene.refused("N68 unverified", "does not say that yours is verified").await;
    let pretender = json!({ "preferred_username": "ada@example.com", "sub": "7" });
    acme.sign_in_as(user("eve@example.com", &pretender));
    scene.refused("N68 name", "not on the list").await;
    acme.sign_in_as(user("ADA@example.com", &json!({})));
    scene.admitted().await;
    // The address has passed to another account.
    acme.sign_in_as(user("ada@example.com", &json!({ "sub": "666" })));
    scene.refused("N69", "belonged to another account").await;
    assert_eq!(scene.stage.audited("login_recycled").await, 1, "N69");
    acme.sign_in_as(user("renamed@example.com", &json!({})));
    scene.admitted().await;
    acme.sign_in_as(json!({ "sub": "42" }));
    scene.admitted().await;
}

const GROUPS: [(&str, &str); 2] = [
    ("OIDC_ACME_GROUPS_CLAIM", "realm_access.roles"),
    ("OIDC_ACME_ALLOWED_GROUPS", "writers, editors"),
];

fn roles(roles: &[&str]) -> Value {
    user("ada@example.com", &json!({ "realm_access": { "roles": roles } }))
}

#[tokio::test]
async fn n97_roles_are_checked_again_with_a_refresh_token() {
    let scene = Scene::with(&GROUPS).await;
    let (acme, stage) = (&scene.acme, &scene.stage);
    acme.issues_refresh_tokens();
    acme.sign_in_as(roles(&["readers"]));
    scene.refused("N68 role", "in none of them").await;
    acme.sign_in_as(roles(&["readers", "editors"]));
    let (client_app, tokens) = scene.admitted().await;
    scene.stored_token().await;
    let mut token = text(&tokens, "refresh_token");
    let mut refresh = async || {
        let page = client_app.refresh(stage.other(), &token).await;
        if page.status == 200 {
            token = text(&page.json(), "refresh_token");
        }
        page
    };
    assert_eq!(refresh().await.status, 200);
    assert_eq!(acme.asked(Question::Refresh), 0, "the answer at the sign-in is recent");
    // Each refresh token of the provider is valid once, so the next one must have been stored.
    for checks in 1..=2 {
        scene.pass(16 * 60);
        assert_eq!(refresh().await.status, 200);
        assert_eq!(acme.asked(Question::Refresh), checks);
    }
    // While the provider does not answer, its last answer is valid for a day.
    acme.answers(Question::Refresh, Manner::Status(500));
    scene.pass(16 * 60);
    assert_eq!(refresh().await.status, 200);
    scene.pass(24 * 60 * 60);
    told("N97", &refresh().await, 503, "temporarily_unavailable");
    acme.answers(Question::Refresh, Manner::Well);
    acme.sign_in_as(roles(&["readers"]));
    scene.pass(60);
    told("N97", &refresh().await, 400, "invalid_grant");
}

#[tokio::test]
async fn n97_users_who_are_signed_out_at_the_provider_lose_their_access() {
    let scene = Scene::with(&GROUPS).await;
    let acme = &scene.acme;
    acme.issues_refresh_tokens();
    acme.sign_in_as(roles(&["writers"]));
    let (client_app, tokens) = scene.admitted().await;
    acme.ends_sessions();
    scene.pass(16 * 60);
    let page = client_app.refresh(scene.stage.other(), &text(&tokens, "refresh_token")).await;
    told("N97", &page, 400, "invalid_grant");
    scene.stage.is_refused(&text(&tokens, "access_token")).await;
    // An ID token about another user decides nothing: the last answer is used, for a day.
    let (client_app, tokens) = scene.admitted().await;
    acme.claims(|claims| claims["sub"] = "another".into());
    scene.pass(16 * 60);
    let page = client_app.refresh(scene.stage.one(), &text(&tokens, "refresh_token")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let token = text(&page.json(), "refresh_token");
    scene.pass(24 * 60 * 60);
    let page = client_app.refresh(scene.stage.one(), &token).await;
    told("N97 another user", &page, 503, "temporarily_unavailable");
}

#[tokio::test]
async fn n97_a_renewed_token_survives_what_fails_after_the_renewal() {
    let scene = Scene::with(&[("OIDC_ACME_ALLOWED_GROUPS", "writers")]).await;
    let (acme, stage) = (&scene.acme, &scene.stage);
    acme.issues_refresh_tokens();
    // The ID token says nothing about groups, so each check needs userinfo.
    acme.sign_in_as(json!({ "sub": SUBJECT }));
    acme.userinfo(json!({ "sub": SUBJECT, "groups": ["writers"] }));
    let (client_app, tokens) = scene.admitted().await;
    let mut token = text(&tokens, "refresh_token");
    for (number, (question, manner)) in [
        (Question::Userinfo, Manner::Status(500)),
        (Question::Userinfo, Manner::Json(json!({ "sub": "another" }))),
        (Question::Userinfo, Manner::Well),
    ]
    .into_iter()
    .enumerate()
    {
        acme.answers(question, manner);
        scene.pass(16 * 60);
        let page = client_app.refresh(stage.other(), &token).await;
        assert_eq!(page.status, 200, "{number}: {}", page.text());
        token = text(&page.json(), "refresh_token");
        assert_eq!(acme.asked(Question::Refresh), number + 1);
    }
}

#[tokio::test]
async fn n97_a_renewed_token_is_stored_although_the_client_is_gone() {
    let scene = Scene::with(&GROUPS).await;
    let (acme, stage) = (&scene.acme, &scene.stage);
    acme.issues_refresh_tokens();
    acme.sign_in_as(roles(&["writers"]));
    let (client_app, tokens) = scene.admitted().await;
    let token = text(&tokens, "refresh_token");
    let permit = Arc::new(Notify::new());
    acme.answers(Question::Refresh, Manner::WellAfter(Arc::clone(&permit)));
    scene.pass(16 * 60);
    let before = scene.stored_token().await;
    {
        let refresh = client_app.refresh(stage.one(), &token);
        let asked = eventually("the provider is asked", async || {
            (acme.asked(Question::Refresh) == 1).then_some(())
        });
        tokio::select! {
            page = refresh => panic!("{}", page.text()),
            () = asked => {}
        }
    }
    permit.notify_one();
    eventually("the renewed token is stored", async || {
        (scene.stored_token().await != before).then_some(())
    })
    .await;
    acme.answers(Question::Refresh, Manner::Well);
    scene.pass(60);
    let page = client_app.refresh(stage.other(), &token).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(acme.asked(Question::Refresh), 2);
}

#[tokio::test]
async fn without_a_refresh_token_the_answer_at_the_sign_in_lasts_while_the_rules_do() {
    let mut scene = Scene::with(&GROUPS).await;
    scene.acme.sign_in_as(roles(&["writers"]));
    let (client_app, tokens) = scene.admitted().await;
    scene.pass(16 * 60);
    let page = client_app.refresh(scene.stage.other(), &text(&tokens, "refresh_token")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let token = text(&page.json(), "refresh_token");
    let joined = scene.stage.cluster.join(&[("OIDC_ACME_ALLOWED_GROUPS", "editors")]).await;
    scene.pass(16);
    let page = client_app.refresh(scene.stage.cluster.web(joined), &token).await;
    told("N97 other rules", &page, 400, "invalid_grant");
}

#[tokio::test]
async fn a_user_chooses_among_several_providers_and_none_answers_for_another() {
    let (github, acme) = (GitHub::start().await, OpenId::start().await);
    let beta = OpenId::named("BETA").await;
    let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
    let setup = setup.with_openid(&acme).with_openid(&beta).with("OIDC_BETA_LABEL", "Beta <Corp>");
    let stage = Stage { cluster: setup.start().await, github };
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let choose = async |provider: &str| {
        let asked = client_app.asks();
        let mut form = browser.to_consent(&asked).await;
        form.fields.push(("provider".to_owned(), provider.to_owned()));
        (asked, browser.submit(&form, "approve").await)
    };

    let begun = browser.get(&client_app.asks().path()).await;
    let consent = browser.get(begun.header("location")).await.text();
    for (id, label) in [("github", "GitHub"), ("acme", "Acme"), ("beta", "Beta &#60;Corp&#62;")] {
        let button = format!(r#"name="provider" value="{id}">{label}</button>"#);
        assert!(consent.contains(&button), "{id}: {consent}");
    }
    let home = browser.get("/").await.text();
    assert!(home.contains("you sign in with GitHub, Acme or Beta &#60;Corp&#62;"), "{home}");
    let account = browser.get("/account").await.text();
    assert!(account.contains("Sign in with GitHub") && account.contains("Sign in with Acme"));

    for (provider, origin) in
        [("github", stage.github.origin()), ("acme", acme.issuer()), ("beta", beta.issuer())]
    {
        let (asked, page) = choose(provider).await;
        let address = page.header("location");
        assert!(address.starts_with(origin), "{provider}: {address}");
        let callback = browser.at_github(address).await;
        asked.code(&browser.at(stage.other()).get(&callback).await);
        let form = Form::sign_in(Some(provider));
        let address = browser.submit(&form, "").await.header("location").to_owned();
        let callback = browser.at_github(&address).await;
        assert_eq!(browser.get(&callback).await.header("location"), "/account", "{provider}");
    }
    // The same subject at two providers is two users.
    let db = stage.cluster.app().db();
    for id in [format!("acme:{SUBJECT}"), format!("beta:{SUBJECT}")] {
        let user = users::Entity::find_by_id(&*id).one(db).await.expect("the database is there");
        assert!(user.is_some(), "{id}");
    }
    assert_eq!(stage.audited("signed_in").await, 6);

    let (_, page) = choose("unknown").await;
    shown("an unknown provider", &page, 403);
    let unknown = browser.submit(&Form::sign_in(Some("unknown")), "").await;
    assert_eq!(unknown.header("location"), "/account");

    // The response of one provider at the callback of another (mix-up).
    let (asked, page) = choose("acme").await;
    let callback = browser.at_github(page.header("location")).await;
    let elsewhere = callback.replace("/oauth/acme/", "/oauth/beta/");
    shown("mix-up, with the issuer", &browser.get(&elsewhere).await, 400);
    let (without, _) = elsewhere.split_once("&iss=").expect("it names the issuer");
    shown("mix-up, without", &browser.get(without).await, 400);
    let at_github = without.replace("/oauth/beta/", "/oauth/github/");
    shown("mix-up, at GitHub", &browser.get(&at_github).await, 400);
    assert_eq!(beta.asked(Question::Exchange), 2, "the code of one is not sent to another");
    asked.code(&browser.get(&callback).await);
}
