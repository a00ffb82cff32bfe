//! Revocation: who can end what, and how soon every instance knows.

use std::sync::{Arc, Mutex};

use app::App;
use entity::GrantId;
use oauth::{
    access_token::NewToken,
    audit::{Kind, RequestInfo},
    client::ClientId,
    grant::Reason,
    login::policy::DenialReason,
    revoke::{self, RevokeError},
    revoked::{self, POLL_EVERY, REMEMBERED},
    token_format::PlainToken,
};
use tests::eventually;

use super::{
    World, agree, client, connect, grant_of, hours, is_accepted, on_both, refresh, refresh_token,
    request, row, seconds, told, user,
};

on_both!(
    a_client_gives_either_token_back,
    another_clients_token_is_left_alone,
    what_is_no_token_is_as_good_as_revoked,
    trouble_with_the_database_is_no_revocation,
    a_revocation_reaches_every_instance_by_the_bus,
    a_revocation_reaches_an_instance_that_hears_nothing,
    an_instance_that_comes_later_knows_what_was_revoked,
    a_revocation_is_forgotten_with_the_last_token,
    everything_of_a_person_or_a_client_can_be_revoked,
    a_token_that_was_minted_by_hand_is_not_revoked,
);

async fn a_client_gives_either_token_back(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    for which in ["access", "refresh", "used"] {
        let tokens = connect(app, &client_app, &ada).await;
        let first = refresh_token(&tokens);
        let second = refresh_token(&refresh(app, &client_app, &first).await.unwrap());
        let given_back = match which {
            "access" => tokens.access_token.expose(),
            "refresh" => &second,
            _ => &first,
        };
        for _ in 0..2 {
            let done = revoke::token(app.oauth(), &client_app, given_back, &request()).await;
            assert!(done.is_ok(), "{which}, also the second time");
        }
        assert!(!is_accepted(app, &tokens).await, "{which}");
        assert!(refresh(app, &client_app, &second).await.is_err(), "{which}");
    }
    assert_eq!(told(app, Kind::GrantRevoked).await, 3);
    assert_eq!(told(app, Kind::RefreshReplayed).await, 0);
}

async fn another_clients_token_is_left_alone(world: World) {
    let app = &world.app;
    let (client_app, another) = (client("an-app"), client("another"));
    let tokens = connect(app, &client_app, &user("ada")).await;
    for token in [tokens.access_token.expose(), &refresh_token(&tokens)] {
        let refused = revoke::token(app.oauth(), &another, token, &request()).await;
        assert!(matches!(refused, Err(RevokeError::OtherClient)));
    }
    assert!(is_accepted(app, &tokens).await);
    assert!(refresh(app, &client_app, &refresh_token(&tokens)).await.is_ok());
}

async fn what_is_no_token_is_as_good_as_revoked(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    let tokens = connect(app, &client_app, &user("ada")).await;
    let never_issued = PlainToken::generate();
    for garbage in ["", "x", "mrt_x", "a.b.c", "\0", never_issued.expose(), &"x".repeat(100_000)] {
        assert!(revoke::token(app.oauth(), &client_app, garbage, &request()).await.is_ok());
    }
    world.clock.advance(hours(2));
    let expired = tokens.access_token.expose();
    assert!(revoke::token(app.oauth(), &client_app, expired, &request()).await.is_ok());
    assert!(refresh(app, &client_app, &refresh_token(&tokens)).await.is_ok());
    assert_eq!(told(app, Kind::GrantRevoked).await, 0);
}

async fn trouble_with_the_database_is_no_revocation(world: World) {
    let client_app = client("an-app");
    let cut_off = world.another().await;
    let tokens = connect(&cut_off, &client_app, &user("ada")).await;
    assert!(is_accepted(&cut_off, &tokens).await);
    cut_off.close().await;
    for token in [tokens.access_token.expose(), &refresh_token(&tokens)] {
        let refused = revoke::token(cut_off.oauth(), &client_app, token, &request()).await;
        assert!(matches!(refused, Err(RevokeError::Unavailable(_))), "{refused:?}");
    }
    assert!(is_accepted(&cut_off, &tokens).await);
}

/// An instance that keeps up, and what it was told of.
fn following(app: &App) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Vec<GrantId>>>) {
    let told: Arc<Mutex<Vec<GrantId>>> = Arc::default();
    let (app, heard) = (app.clone(), Arc::clone(&told));
    let task = tokio::spawn(async move {
        revoked::follow(app.oauth(), |grant| heard.lock().unwrap().push(grant)).await;
    });
    (task, told)
}

async fn a_revocation_reaches_every_instance_by_the_bus(world: World) {
    let other = world.another().await;
    let (follower, heard) = following(&other);
    let (own, heard_here) = following(&world.app);
    let client_app = client("an-app");
    let tokens = connect(&world.app, &client_app, &user("ada")).await;
    assert!(is_accepted(&other, &tokens).await);
    let grant = grant_of(&other, &tokens).await;

    revoke::grant(world.app.oauth(), grant, Reason::Operator, &request()).await.unwrap();
    assert!(!is_accepted(&world.app, &tokens).await, "here it holds at once");
    eventually("the other instance refuses it", async || {
        (!is_accepted(&other, &tokens).await).then_some(())
    })
    .await;
    for heard in [heard, heard_here] {
        eventually("it is told, once", async || (*heard.lock().unwrap() == [grant]).then_some(()))
            .await;
    }
    follower.abort();
    own.abort();
}

async fn a_revocation_reaches_an_instance_that_hears_nothing(world: World) {
    let deaf = world.another_that_hears_nothing().await;
    let (follower, heard) = following(&deaf);
    let tokens = connect(&world.app, &client("an-app"), &user("ada")).await;
    assert!(is_accepted(&deaf, &tokens).await);
    let grant = grant_of(&deaf, &tokens).await;
    // By a clock that is behind, so that only the overlap of the questions finds it.
    let by_clock = world.clock.clone();
    by_clock.set(
        chrono::DateTime::UNIX_EPOCH
            .max(platform::clock::Clock::now(&*by_clock) - chrono::TimeDelta::seconds(20)),
    );
    let started = tokio::time::Instant::now();
    revoke::grant(world.app.oauth(), grant, Reason::Operator, &request()).await.unwrap();
    by_clock.advance(seconds(20));
    eventually("it refuses it", async || (!is_accepted(&deaf, &tokens).await).then_some(())).await;
    assert!(started.elapsed() < POLL_EVERY + seconds(3));
    eventually("it is told, once", async || (*heard.lock().unwrap() == [grant]).then_some(()))
        .await;
    follower.abort();
}

async fn an_instance_that_comes_later_knows_what_was_revoked(world: World) {
    let tokens = connect(&world.app, &client("an-app"), &user("ada")).await;
    let grant = grant_of(&world.app, &tokens).await;
    revoke::grant(world.app.oauth(), grant, Reason::Operator, &request()).await.unwrap();
    world.clock.advance(seconds(29 * 60));
    let later = world.another().await;
    assert!(!is_accepted(&later, &tokens).await, "with its very first token");
    let prepared = world.another().await;
    prepared.oauth().revoked().load().await.unwrap();
    assert!(!is_accepted(&prepared, &tokens).await);
}

async fn a_revocation_is_forgotten_with_the_last_token(world: World) {
    let app = &world.app;
    let tokens = connect(app, &client("an-app"), &user("ada")).await;
    let grant = grant_of(app, &tokens).await;
    revoke::grant(app.oauth(), grant, Reason::Operator, &request()).await.unwrap();
    let other = world.another().await;
    world.clock.advance(REMEMBERED.to_std().unwrap().saturating_sub(seconds(1)));
    assert_eq!(other.oauth().revoked().poll().await.unwrap(), [grant]);
    world.clock.advance(seconds(1));
    let late = world.another().await;
    assert_eq!(late.oauth().revoked().poll().await.unwrap(), []);
    assert!(!is_accepted(app, &tokens).await, "it has long expired");
}

async fn everything_of_a_person_or_a_client_can_be_revoked(world: World) {
    let app = &world.app;
    let (one, two) = (client("one"), client("two"));
    let (ada, bob) = (user("ada"), user("bob"));
    let adas = [connect(app, &one, &ada).await, connect(app, &two, &ada).await];
    let bobs = [connect(app, &one, &bob).await, connect(app, &two, &bob).await];
    let on_its_way = agree(app, &one, &ada).await;

    let revoked =
        revoke::user(app.oauth(), &ada, Reason::PolicyDenied(DenialReason::NotListed), &request())
            .await
            .unwrap();
    assert_eq!(revoked.len(), 2);
    assert!(on_its_way.redeem(app, &one).await.is_err(), "codes go too");
    for tokens in &adas {
        assert!(!is_accepted(app, tokens).await);
    }
    assert!(is_accepted(app, &bobs[0]).await && is_accepted(app, &bobs[1]).await);
    assert_eq!(told(app, Kind::PolicyDenied).await, 1);

    let id = ClientId("one".to_owned());
    let revoked = revoke::client(app.oauth(), &id, Reason::Operator, &RequestInfo::none()).await;
    assert_eq!(revoked.unwrap().len(), 1);
    assert!(!is_accepted(app, &bobs[0]).await && is_accepted(app, &bobs[1]).await);
    let grant = grant_of(app, &bobs[1]).await;
    let revoked = row(app, grant).await;
    assert_eq!((revoked.revoked_at, revoked.revoked_reason), (None, None));
    let nothing = revoke::user(app.oauth(), &user("nobody"), Reason::Person, &request()).await;
    assert!(nothing.unwrap().is_empty());
    assert_eq!(told(app, Kind::GrantRevoked).await, 1);
}

async fn a_token_that_was_minted_by_hand_is_not_revoked(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    let new = NewToken {
        user: user("ada"),
        client: "an-app".to_owned(),
        scopes: ["items:read".to_owned()].into(),
        session_id: "by hand".to_owned(),
        signed_in_at: None,
        ttl: None,
        dpop_key: None,
    };
    let token = app.oauth().tokens().mint(new).await.unwrap();
    assert!(revoke::token(app.oauth(), &client_app, &token, &request()).await.is_ok());
    revoke::user(app.oauth(), &user("ada"), Reason::Person, &request()).await.unwrap();
    assert!(app.oauth().tokens().verify(&token).await.is_ok());
}
