//! The account page's own session, and the page that asks for a name on one's own machine.

use std::time::Duration;

use oauth::{
    consent::Next,
    login::{self, CallbackError, Destination, FinishedLogin, StartedLogin},
};

use crate::world::{World, approve, query, request};

/// Without a GitHub app, on one's own machine.
const ALONE: [(&str, &str); 4] = [
    ("GITHUB_CLIENT_ID", "-"),
    ("GITHUB_CLIENT_SECRET", "-"),
    ("GITHUB_URL", "-"),
    ("GITHUB_API_URL", "-"),
];

async fn signed_in(world: &World) -> String {
    let started = login::start_for_account(world.app.oauth()).await;
    let Ok(Some(StartedLogin { state, nonce, .. })) = started else {
        panic!("not to GitHub");
    };
    match world.back(&(state, nonce)).await {
        Ok(FinishedLogin::ToAccount { session }) => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_is_a_secret_that_ends() {
    let world = World::new().await;
    let cookie = signed_in(&world).await;
    let session = login::session(world.app.oauth(), &cookie).await.unwrap().unwrap();
    assert_eq!(session.user.as_str(), "github:583231");
    assert_eq!(session.login, "Octocat");
    let again = login::session(world.app.oauth(), &cookie).await.unwrap().unwrap();
    assert_eq!(again.csrf, session.csrf);
    assert!(login::session(world.app.oauth(), "another").await.unwrap().is_none());

    login::sign_out(world.app.oauth(), &cookie).await.unwrap();
    assert!(login::session(world.app.oauth(), &cookie).await.unwrap().is_none());

    let cookie = signed_in(&world).await;
    world.clock.advance(Duration::from_hours(12));
    assert!(login::session(world.app.oauth(), &cookie).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_ends_with_its_account() {
    use sea_orm::EntityTrait as _;

    let world = World::new().await;
    let cookie = signed_in(&world).await;
    entity::users::Entity::delete_by_id("github:583231").exec(world.app.db()).await.unwrap();
    assert!(login::session(world.app.oauth(), &cookie).await.unwrap().is_none());
}

#[tokio::test]
async fn without_a_client_a_person_reads_what_went_wrong() {
    let world = World::with(&[("ALLOWED_GITHUB_LOGINS", "somebody-else")]).await;
    let start = async || match login::start_for_account(world.app.oauth()).await {
        Ok(Some(StartedLogin { state, nonce, .. })) => (state, nonce),
        other => panic!("{other:?}"),
    };
    let hop = start().await;
    let Err(CallbackError::Refused(refusal)) = world.back(&hop).await else {
        panic!("let in");
    };
    assert_eq!(refusal.back, None);
    world.github.answer(|_| crate::host::Reply::Answer(500, "text/plain", String::new()));
    let hop = start().await;
    assert_eq!(world.back(&hop).await.unwrap_err(), CallbackError::Unavailable);
}

#[tokio::test]
async fn on_ones_own_machine_a_name_is_enough() {
    let world = World::with(&ALONE).await;
    assert_eq!(world.app.oauth().provider().unwrap().id(), "dev");
    let client = world.client(&["http://localhost/cb"]).await;
    let begun = world.begin(&client, "http://localhost/cb").await;
    let Next::ToSignIn(StartedLogin { destination: Destination::NamePage, state, nonce }) =
        world.decide(&begun, approve()).await
    else {
        panic!("not to the page");
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
        panic!("not back");
    };
    assert!(query(&uri).contains_key("code"));
    let again = login::submit_name(app.oauth(), &state, Some(&nonce), "ada", &request()).await;
    assert_eq!(again.unwrap_err(), CallbackError::NotFound);
}

#[tokio::test]
async fn a_hop_to_github_is_not_finished_by_a_name() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let (state, nonce) = world.at_github(&client, "http://localhost/cb").await;
    let result =
        login::submit_name(world.app.oauth(), &state, Some(&nonce), "ada", &request()).await;
    assert_eq!(result.unwrap_err(), CallbackError::NotFound);
}

#[tokio::test]
async fn whoever_can_be_reached_by_others_asks_for_no_name() {
    let world = World::with(&[&ALONE[..], &[("HOST", "0.0.0.0")]].concat()).await;
    assert!(world.app.oauth().provider().is_none());
    let started = login::start_for_account(world.app.oauth()).await;
    assert!(matches!(started, Ok(None)));
}
