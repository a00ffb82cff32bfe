//! The session of the account page, and the development sign-in by name.

use std::time::Duration;

use oauth::{
    consent::Next,
    login::{self, CallbackError, Destination, FinishedLogin, StartError, StartedLogin},
};

use crate::world::{World, approve, query, request};

/// Removes the GitHub settings of the tests.
const WITHOUT_GITHUB: [(&str, &str); 4] = [
    ("GITHUB_CLIENT_ID", "-"),
    ("GITHUB_CLIENT_SECRET", "-"),
    ("GITHUB_URL", "-"),
    ("GITHUB_API_URL", "-"),
];

async fn sign_in(world: &World) -> String {
    let started = login::start_for_account(world.app.oauth(), None, &request()).await;
    let Ok(StartedLogin { state, nonce, .. }) = started else {
        panic!("not redirected to GitHub");
    };
    match world.finish_login(&(state, nonce)).await {
        Ok(FinishedLogin::ToAccount { session }) => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_ends_by_sign_out_or_expiry() {
    let world = World::new().await;
    let cookie = sign_in(&world).await;
    let session = login::session(world.app.oauth(), &cookie).await.unwrap().unwrap();
    assert_eq!(session.user.as_str(), "github:583231");
    assert_eq!(session.login, "Octocat");
    let again = login::session(world.app.oauth(), &cookie).await.unwrap().unwrap();
    assert_eq!(again.csrf, session.csrf);
    assert!(login::session(world.app.oauth(), "another").await.unwrap().is_none());

    login::sign_out(world.app.oauth(), &cookie).await.unwrap();
    assert!(login::session(world.app.oauth(), &cookie).await.unwrap().is_none());

    let cookie = sign_in(&world).await;
    world.clock.advance(Duration::from_hours(12));
    assert!(login::session(world.app.oauth(), &cookie).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_ends_with_its_account() {
    use sea_orm::EntityTrait as _;

    let world = World::new().await;
    let cookie = sign_in(&world).await;
    entity::users::Entity::delete_by_id("github:583231").exec(world.app.db()).await.unwrap();
    assert!(login::session(world.app.oauth(), &cookie).await.unwrap().is_none());
}

#[tokio::test]
async fn without_a_client_errors_are_shown_to_the_user() {
    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", "somebody-else")]).await;
    let start = async || match login::start_for_account(world.app.oauth(), None, &request()).await {
        Ok(StartedLogin { state, nonce, .. }) => (state, nonce),
        other => panic!("{other:?}"),
    };
    let started = start().await;
    let Err(CallbackError::Refused(refusal)) = world.finish_login(&started).await else {
        panic!("the user was admitted");
    };
    assert_eq!(refusal.back, None);
    world.github.answer(|_| crate::host::Reply::Answer(500, "text/plain", String::new()));
    let started = start().await;
    assert_eq!(world.finish_login(&started).await.unwrap_err(), CallbackError::Unavailable);
}

#[tokio::test]
async fn on_loopback_without_github_a_name_is_enough() {
    let world = World::with(&WITHOUT_GITHUB).await;
    assert_eq!(world.app.oauth().providers()[0].id(), "dev");
    let client = world.client(&["http://localhost/cb"]).await;
    let begun = world.begin(&client, "http://localhost/cb").await;
    let Next::ToSignIn(StartedLogin { destination: Destination::NamePage, state, nonce }) =
        world.decide(&begun, approve()).await
    else {
        panic!("not redirected to the name page");
    };
    let app = &world.app;
    let view = login::name_page(app.oauth(), &state, Some(&nonce)).await.unwrap();
    assert_eq!(view.client_name.unwrap().as_str(), "App");
    for (nonce, name, error) in [
        (None, "ada", CallbackError::OtherBrowser),
        (Some("x"), "ada", CallbackError::OtherBrowser),
        (Some(&*nonce), "github:1", CallbackError::Name),
        (Some(&*nonce), "", CallbackError::Name),
    ] {
        let result = login::submit_name(app.oauth(), &state, nonce, name, &request()).await;
        assert_eq!(result.unwrap_err(), error);
    }
    let back = login::submit_name(app.oauth(), &state, Some(&nonce), " Ada ", &request()).await;
    let Ok(FinishedLogin::ToClient { uri, .. }) = back else {
        panic!("not redirected to the client");
    };
    assert!(query(&uri).contains_key("code"));
    let again = login::submit_name(app.oauth(), &state, Some(&nonce), "ada", &request()).await;
    assert_eq!(again.unwrap_err(), CallbackError::NotFound);
}

#[tokio::test]
async fn a_login_at_github_cannot_be_finished_by_a_name() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let (state, nonce) = world.start_login(&client, "http://localhost/cb").await;
    let result =
        login::submit_name(world.app.oauth(), &state, Some(&nonce), "ada", &request()).await;
    assert_eq!(result.unwrap_err(), CallbackError::NotFound);
}

#[tokio::test]
async fn a_reachable_server_without_github_has_no_sign_in() {
    let world = World::with(&[&WITHOUT_GITHUB[..], &[("HOST", "0.0.0.0")]].concat()).await;
    assert!(world.app.oauth().providers().is_empty());
    let started = login::start_for_account(world.app.oauth(), None, &request()).await;
    assert_eq!(started.unwrap_err(), StartError::NoProvider);
}
