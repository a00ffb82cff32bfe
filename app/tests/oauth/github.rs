//! Sign-in with GitHub: identification of the user, and the access policy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mcp::UserId;
use oauth::{
    client,
    code::{self, Redemption},
    consent::Next,
    login::{
        self, CallbackError, Destination, FinishedLogin, Refusal, StartedLogin,
        policy::{self, DenialReason, PolicyDecision},
        users,
    },
};
use serde_json::json;

use crate::{
    host::{ReceivedRequest, Reply},
    world::{ISSUER, VERIFIER, World, approve, octocat, pairs, query, request},
};

const URI: &str = "http://localhost/cb";
const ORG: (&str, &str) = ("ALLOWED_GITHUB_ORG", "octo-org");

fn octo() -> UserId {
    UserId::new("github:583231")
}

async fn client(world: &World) -> String {
    world.client(&[URI]).await
}

/// Signs in, and returns the parameters of the redirect to the client.
async fn sign_in(
    world: &World,
    client: &str,
) -> Result<std::collections::HashMap<String, String>, Refusal> {
    let started = world.start_login(client, URI).await;
    match world.finish_login(&started).await {
        Ok(FinishedLogin::ToClient { uri, .. }) => Ok(query(&uri)),
        Err(CallbackError::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// Lets GitHub reply to requests for one path with `reply`.
fn reply_at(world: &World, path: &'static str, reply: Reply) {
    world.github.answer(move |request| {
        if request.target.starts_with(path) { reply.clone() } else { octocat(request) }
    });
}

/// Returns the replies of GitHub for another user.
fn replies_for_user(
    id: i64,
    login: &'static str,
) -> impl Fn(&ReceivedRequest) -> Reply + Send + Sync {
    move |request| match request.target.as_str() {
        "/user" => Reply::json(200, &json!({"id": id, "login": login})),
        _ => octocat(request),
    }
}

#[tokio::test]
async fn a_sign_in_ends_with_a_code() {
    let world = World::new().await;
    let client = client(&world).await;
    let begun = world.begin(&client, URI).await;
    let Next::ToSignIn(StartedLogin { destination: Destination::External(url), state, nonce }) =
        world.decide(&begun, approve()).await
    else {
        panic!("not redirected to GitHub");
    };
    let asked = query(&url);
    assert!(url.contains("/login/oauth/authorize?"));
    assert_eq!(asked["client_id"], "our-github-app");
    assert_eq!(asked["redirect_uri"], "http://localhost:8080/oauth/github/callback");
    assert_eq!(asked["state"], state);
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["prompt"], "select_account");
    assert!(!asked.contains_key("scope"), "no scope beyond the identity");

    let Ok(FinishedLogin::ToClient { uri, .. }) = world.finish_login(&(state, nonce)).await else {
        panic!("not redirected to the client");
    };
    let answer = query(&uri);
    assert_eq!(answer["state"], "a state & more");
    assert_eq!(answer["iss"], ISSUER);
    let known = client::find_snapshot(world.app.oauth(), &client).await.unwrap();
    let redemption = Redemption {
        code: &answer["code"],
        verifier: VERIFIER,
        redirect_uri: Some(URI),
        resource: &[],
        dpop_key: None,
        request: request(),
    };
    assert!(code::redeem(world.app.oauth(), &known, redemption).await.is_ok());

    let person = users::get(world.app.db(), &octo()).await.unwrap().unwrap();
    assert_eq!((&*person.login, person.github_id), ("Octocat", Some(583_231)));
    assert_eq!(world.audit_count("signed_in").await, 1);
    let exchange = &world.github.seen()[0];
    assert!(
        exchange.body.contains("code_verifier=") && exchange.body.contains("code=a-code-of-github")
    );
    assert_eq!(world.sealed_tokens().await, 0, "the GitHub token is not stored");
}

#[tokio::test]
async fn another_browser_cannot_finish_a_login() {
    let world = World::new().await;
    let client = client(&world).await;
    let started = world.start_login(&client, URI).await;
    let other = world.start_login(&client, URI).await;
    let back = pairs(&[("state", &started.0), ("code", "x")]);
    for nonce in [None, Some(""), Some(&*other.1)] {
        let result = login::callback(world.app.oauth(), "github", &back, nonce, &request()).await;
        assert!(matches!(result, Err(CallbackError::OtherBrowser)), "{result:?}");
    }
    assert!(world.github.seen().is_empty(), "no code was exchanged");
    assert!(
        world.finish_login(&started).await.is_ok(),
        "the browser that started it can still finish it"
    );
    assert!(
        matches!(world.finish_login(&started).await, Err(CallbackError::NotFound)),
        "only once"
    );
}

#[tokio::test]
async fn a_callback_has_one_state_and_one_outcome() {
    let world = World::new().await;
    let client = client(&world).await;
    let started = world.start_login(&client, URI).await;
    let state = ("state", &*started.0);
    for bad in [
        &[("code", "x")][..],
        &[("state", ""), ("code", "x")],
        &[state, state, ("code", "x")],
        &[state],
        &[state, ("code", "")],
        &[state, ("code", "x"), ("code", "x")],
        &[state, ("code", "x"), ("error", "access_denied")],
    ] {
        let result =
            login::callback(world.app.oauth(), "github", &pairs(bad), Some(&started.1), &request())
                .await;
        assert!(matches!(result, Err(CallbackError::Malformed)), "{bad:?}");
    }
    let unknown = (started.1.clone(), started.1.clone());
    assert!(matches!(world.finish_login(&unknown).await, Err(CallbackError::NotFound)));
    world.clock.advance(Duration::from_mins(10));
    assert!(matches!(world.finish_login(&started).await, Err(CallbackError::NotFound)));
}

#[tokio::test]
async fn of_many_callbacks_one_succeeds() {
    let world = Arc::new(World::new().await);
    let client = client(&world).await;
    for _ in 0..10 {
        let started = Arc::new(world.start_login(&client, URI).await);
        let callbacks: Vec<_> = (0..16)
            .map(|_| {
                let (world, started) = (Arc::clone(&world), Arc::clone(&started));
                tokio::spawn(async move { world.finish_login(&started).await })
            })
            .collect();
        let mut winners = 0;
        for callback in callbacks {
            match callback.await.unwrap() {
                Ok(_) => winners += 1,
                Err(error) => assert_eq!(error, CallbackError::NotFound),
            }
        }
        assert_eq!(winners, 1);
    }
}

#[tokio::test]
async fn errors_of_github_become_errors_for_the_client() {
    let world = World::new().await;
    let client = client(&world).await;
    let started = world.start_login(&client, URI).await;
    let no = pairs(&[
        ("state", &started.0),
        ("error", "access_denied"),
        ("error_description", "reflected"),
    ]);
    let Ok(FinishedLogin::ToClient { uri, .. }) =
        login::callback(world.app.oauth(), "github", &no, Some(&started.1), &request()).await
    else {
        panic!("not redirected to the client");
    };
    assert_eq!(query(&uri)["error"], "access_denied");
    assert!(!uri.contains("reflected"));

    let token = "/login/oauth/access_token";
    let bad_code = json!({"error": "bad_verification_code", "error_description": "…"});
    for (path, reply, error) in [
        (token, Reply::json(200, &bad_code), "server_error"),
        (token, Reply::json(200, &json!({})), "server_error"),
        (token, Reply::json(200, &json!({"access_token": ""})), "server_error"),
        (token, Reply::json(404, &json!({})), "server_error"),
        (token, Reply::json(500, &json!({})), "temporarily_unavailable"),
        (token, Reply::json(429, &json!({})), "temporarily_unavailable"),
        (token, Reply::Answer(200, "text/html", "<html>".into()), "temporarily_unavailable"),
        (token, Reply::Endless, "temporarily_unavailable"),
        (
            token,
            Reply::With(302, "location: http://127.0.0.1:1/\r\n", String::new()),
            "temporarily_unavailable",
        ),
        ("/user", Reply::json(401, &json!({})), "server_error"),
        ("/user", Reply::json(502, &json!({})), "temporarily_unavailable"),
        (
            "/user",
            Reply::With(403, "retry-after: 60\r\n", String::new()),
            "temporarily_unavailable",
        ),
        (
            "/user",
            Reply::With(302, "location: /other\r\n", String::new()),
            "temporarily_unavailable",
        ),
        ("/user", Reply::json(200, &json!({"login": "octocat"})), "server_error"),
        ("/user", Reply::json(200, &json!({"login": "octocat", "id": "583231"})), "server_error"),
        ("/user", Reply::json(200, &json!({"login": "octocat", "id": 0})), "server_error"),
        ("/user", Reply::json(200, &json!({"login": "octocat", "id": -1})), "server_error"),
        ("/user", Reply::json(200, &json!({"login": "octocat", "id": 1.5})), "server_error"),
        ("/user", Reply::json(200, &json!({"id": 583_231})), "server_error"),
    ] {
        reply_at(&world, path, reply);
        assert_eq!(sign_in(&world, &client).await.unwrap()["error"], error, "{path}");
    }
    assert!(users::get(world.app.db(), &octo()).await.unwrap().is_none());
    assert_eq!(world.audit_count("sign_in_failed").await, 19);
}

#[tokio::test]
async fn a_silent_github_times_out_after_five_seconds() {
    let world = World::new().await;
    let client = client(&world).await;
    reply_at(&world, "/user", Reply::Silence);
    let began = Instant::now();
    let answer = sign_in(&world, &client).await.unwrap();
    assert_eq!(answer["error"], "temporarily_unavailable");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn only_users_on_the_list_are_admitted() {
    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", " OCTOCAT , id:42")]).await;
    let client = client(&world).await;
    assert!(sign_in(&world, &client).await.unwrap().contains_key("code"));

    world.github.answer(replies_for_user(42, "whatever"));
    assert!(sign_in(&world, &client).await.unwrap().contains_key("code"));

    world.github.answer(replies_for_user(7, "mallory"));
    let refusal = sign_in(&world, &client).await.unwrap_err();
    assert_eq!(refusal.login, "mallory");
    assert!(refusal.sentence.contains("Ask"), "{}", refusal.sentence);
    let redirect = query(&refusal.back.unwrap());
    assert_eq!(redirect["error"], "access_denied");
    assert_eq!(redirect["state"], "a state & more");
    let mallory = UserId::new("github:7");
    assert!(users::get(world.app.db(), &mallory).await.unwrap().is_none());
    assert_eq!(world.audit_count("sign_in_refused").await, 1);
}

#[tokio::test]
async fn a_login_is_pinned_to_its_first_account() {
    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", "octocat")]).await;
    let client = client(&world).await;
    assert!(sign_in(&world, &client).await.is_ok());
    // Another account has taken over the login.
    world.github.answer(replies_for_user(99, "octocat"));
    assert!(sign_in(&world, &client).await.is_err());
    assert_eq!(world.audit_count("login_recycled").await, 1);
    // The first account is still admitted with another login.
    world.github.answer(replies_for_user(583_231, "renamed"));
    assert!(sign_in(&world, &client).await.unwrap().contains_key("code"));
    assert_eq!(policy::recheck(world.app.oauth(), &octo()).await, PolicyDecision::Admitted);
}

#[tokio::test]
async fn pins_of_the_previous_version_are_valid_and_it_can_read_new_ones() {
    use entity::login_pins::{ActiveModel, Entity};
    use sea_orm::{ActiveModelTrait as _, EntityTrait as _, Set};

    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", "octocat,hubot")]).await;
    let client = client(&world).await;
    // The previous version writes neither the provider nor the subject.
    let pinned_at = Set(crate::world::start_time());
    let pin = ActiveModel {
        login: Set("octocat".to_owned()),
        github_id: Set(Some(99)),
        pinned_at,
        ..Default::default()
    };
    pin.insert(world.app.db()).await.unwrap();
    assert!(sign_in(&world, &client).await.is_err());
    assert_eq!(world.audit_count("login_recycled").await, 1);
    world.github.answer(replies_for_user(99, "renamed"));
    assert!(sign_in(&world, &client).await.unwrap().contains_key("code"));
    assert_eq!(login::allow_list::enforce(world.app.oauth()).await.unwrap(), 0);

    world.github.answer(replies_for_user(7, "hubot"));
    assert!(sign_in(&world, &client).await.is_ok());
    let new_pin = Entity::find_by_id("hubot").one(world.app.db()).await.unwrap().unwrap();
    assert_eq!((new_pin.github_id, &*new_pin.provider), (Some(7), "github"));
    assert_eq!(new_pin.provider_subject.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_refused_sign_in_does_not_pin_the_login() {
    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", "octocat"), ORG]).await;
    let client = client(&world).await;
    world.github.answer(|request| match request.target.as_str() {
        "/user" => Reply::json(200, &json!({"id": 99, "login": "octocat"})),
        "/user/memberships/orgs/octo-org" => Reply::json(404, &json!({})),
        _ => octocat(request),
    });
    assert!(sign_in(&world, &client).await.is_err());
    world.github.answer(octocat);
    assert!(sign_in(&world, &client).await.is_ok());
}

#[tokio::test]
async fn only_active_members_are_admitted() {
    let world = World::with(&[ORG]).await;
    let client = client(&world).await;
    let path = "/user/memberships/orgs/octo-org";
    let state = |state: &str| Reply::json(200, &json!({"state": state}));
    let begun = world.begin(&client, URI).await;
    let Next::ToSignIn(StartedLogin { destination: Destination::External(url), .. }) =
        world.decide(&begun, approve()).await
    else {
        panic!("not redirected to GitHub");
    };
    assert_eq!(query(&url)["scope"], "read:org");

    for (reply, word) in [
        (state("pending"), "invited"),
        (Reply::json(404, &json!({})), "members of the organization"),
        (Reply::json(403, &json!({})), "approve"),
        (Reply::json(401, &json!({})), "Sign in again"),
    ] {
        reply_at(&world, path, reply);
        let refusal = sign_in(&world, &client).await.unwrap_err();
        assert!(refusal.sentence.contains(word), "{}", refusal.sentence);
        assert_eq!(refusal.login, "Octocat");
    }
    for reply in [
        Reply::json(500, &json!({})),
        Reply::With(302, "location: /orgs/octo-org\r\n", String::new()),
        Reply::With(403, "x-ratelimit-remaining: 0\r\n", String::new()),
        state("something else"),
    ] {
        reply_at(&world, path, reply);
        let answer = sign_in(&world, &client).await.unwrap();
        assert_eq!(answer["error"], "temporarily_unavailable");
    }
    assert_eq!(world.sealed_tokens().await, 0);
    reply_at(&world, path, state("active"));
    assert!(sign_in(&world, &client).await.unwrap().contains_key("code"));
    assert_eq!(world.sealed_tokens().await, 1);
}

#[tokio::test]
async fn list_and_organization_must_both_admit_the_user() {
    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", "somebody-else"), ORG]).await;
    let client = client(&world).await;
    assert!(sign_in(&world, &client).await.is_err(), "a member who is not on the list");
}

#[tokio::test]
async fn a_recheck_queries_github_again() {
    let world = World::with(&[ORG]).await;
    let client = client(&world).await;
    sign_in(&world, &client).await.unwrap();
    let path = "/user/memberships/orgs/octo-org";
    let recheck = async || policy::recheck(world.app.oauth(), &octo()).await;
    assert_eq!(recheck().await, PolicyDecision::Admitted);
    for (reply, answer) in [
        (
            Reply::json(200, &json!({"state": "pending"})),
            PolicyDecision::Denied(DenialReason::MembershipPending),
        ),
        (Reply::json(404, &json!({})), PolicyDecision::Denied(DenialReason::NotAMember)),
        (Reply::json(403, &json!({})), PolicyDecision::Denied(DenialReason::OrgRefuses)),
        (Reply::json(401, &json!({})), PolicyDecision::Denied(DenialReason::SignInAgain)),
        (Reply::json(500, &json!({})), PolicyDecision::Unknown),
        (Reply::With(302, "location: /x\r\n", String::new()), PolicyDecision::Unknown),
    ] {
        reply_at(&world, path, reply);
        assert_eq!(recheck().await, answer);
    }
    let stranger = UserId::new("github:1");
    let answer = policy::recheck(world.app.oauth(), &stranger).await;
    assert_eq!(answer, PolicyDecision::Denied(DenialReason::SignInAgain));
    let developer = UserId::new("dev:ada");
    let answer = policy::recheck(world.app.oauth(), &developer).await;
    assert_eq!(answer, PolicyDecision::Denied(DenialReason::SignInAgain));
}

#[tokio::test]
async fn a_blocked_user_is_not_admitted() {
    use sea_orm::{ActiveModelTrait as _, IntoActiveModel as _, Set};

    let world = World::new().await;
    let client = client(&world).await;
    sign_in(&world, &client).await.unwrap();
    let person = users::get(world.app.db(), &octo()).await.unwrap().unwrap();
    let mut person = person.into_active_model();
    person.blocked_at = Set(Some(crate::world::start_time()));
    person.update(world.app.db()).await.unwrap();
    assert!(sign_in(&world, &client).await.is_err());
    let answer = policy::recheck(world.app.oauth(), &octo()).await;
    assert_eq!(answer, PolicyDecision::Denied(DenialReason::Blocked));
}

#[tokio::test]
async fn no_secret_reaches_the_audit_log() {
    use sea_orm::EntityTrait as _;

    let world = World::with(&[ORG]).await;
    let client = client(&world).await;
    let code = sign_in(&world, &client).await.unwrap()["code"].clone();
    let rows = entity::oauth_audit::Entity::find().all(world.app.db()).await.unwrap();
    let text = format!("{rows:?}");
    for secret in [&*code, "gho_secret", "our-github-secret", "a-code-of-github", VERIFIER] {
        assert!(!text.contains(secret));
    }
    let tokens = world.tokens().await;
    let sealed = &tokens[0].sealed;
    assert!(!sealed.windows(10).any(|window| window == b"gho_secret"));
}

impl World {
    async fn tokens(&self) -> Vec<entity::upstream_tokens::Model> {
        use sea_orm::EntityTrait as _;

        entity::upstream_tokens::Entity::find().all(self.app.db()).await.unwrap()
    }

    async fn sealed_tokens(&self) -> usize {
        self.tokens().await.len()
    }
}
