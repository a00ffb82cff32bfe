//! Refresh tokens: the four cases, told as stories.

use std::collections::BTreeSet;

use app::App;
use entity::oauth_refresh_tokens;
use futures_util::future::join_all;
use mcp::Signal;
use oauth::{
    account,
    audit::Kind,
    client::Client,
    grant::TokenSet,
    refresh::{RefreshError, Rotation, rotate},
    token_format::PlainToken,
};
use sea_orm::{EntityTrait as _, QueryOrder as _};

use super::{
    RACERS, ROUNDS, World, client, connect, days, grant_of, hours, is_accepted, on_both, refresh,
    refresh_for, refresh_token, request, row, seconds, told, user,
};

on_both!(
    a_refresh_token_is_exchanged_for_its_successor,
    a_refresh_token_that_is_shared_is_exchanged_once,
    a_lost_answer_is_given_again_for_two_minutes,
    the_newest_token_is_found_through_all_that_lie_between,
    a_used_token_ends_its_grant_and_no_other,
    a_lost_answer_is_made_up_for_once_a_day,
    a_lost_answer_is_made_up_for_once_however_many_ask,
    a_token_that_was_given_up_ends_its_grant,
    a_revoked_grant_knows_no_grace,
    what_is_refused_rotates_nothing,
    a_grant_ends_when_nobody_uses_it,
    a_grant_ends_in_the_end,
    who_is_shut_out_cannot_refresh,
    trouble_with_the_database_ends_nothing,
    seals_are_kept_no_longer_than_needed,
);

fn is_invalid(result: &Result<TokenSet, RefreshError>) -> bool {
    matches!(result, Err(RefreshError::InvalidGrant(_)))
}

/// A client of Ada's and its first refresh token.
async fn connected(app: &App) -> (Client, TokenSet, String) {
    let client_app = client("an-app");
    let tokens = connect(app, &client_app, &user("ada")).await;
    let token = refresh_token(&tokens);
    (client_app, tokens, token)
}

async fn a_refresh_token_is_exchanged_for_its_successor(world: World) {
    let app = &world.app;
    let (client_app, first, mut token) = connected(app).await;
    let grant = grant_of(app, &first).await;
    for generation in 2..=5 {
        world.clock.advance(hours(1));
        let tokens = refresh(app, &client_app, &token).await.unwrap();
        assert_eq!(grant_of(app, &tokens).await, grant);
        assert_eq!(tokens.scope, tests::fixtures::product().scopes().all());
        assert_ne!(refresh_token(&tokens), token);
        token = refresh_token(&tokens);
        let row = row(app, grant).await;
        assert_eq!(row.generation, generation);
        assert_eq!(row.last_used_at, app.clock().now());
    }
    assert_eq!(told(app, Kind::TokenRefreshed).await, 4);
}

async fn a_refresh_token_that_is_shared_is_exchanged_once(world: World) {
    let instances = [world.another().await, world.another().await];
    let (client_app, first, mut token) = connected(&instances[0]).await;
    let grant = grant_of(&instances[0], &first).await;
    for round in 0..ROUNDS {
        world.clock.advance(hours(1));
        let tries = (0..RACERS).map(|n| refresh(&instances[n % 2], &client_app, &token));
        let answers = join_all(tries).await;
        let successors: BTreeSet<String> =
            answers.iter().map(|it| refresh_token(it.as_ref().unwrap())).collect();
        assert_eq!(successors.len(), 1, "round {round}");
        let generation = row(&instances[0], grant).await.generation;
        assert_eq!(generation, i32::try_from(round).unwrap() + 2);
        for answer in &answers {
            assert!(is_accepted(&instances[1], answer.as_ref().unwrap()).await);
        }
        token = successors.into_iter().next().unwrap();
    }
    assert_eq!(told(&world.app, Kind::RefreshReplayed).await, 0);
}

async fn a_lost_answer_is_given_again_for_two_minutes(world: World) {
    let app = &world.app;
    let other = world.another().await;
    let (client_app, _, token) = connected(app).await;
    let successor = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    for _ in 0..4 {
        world.clock.advance(seconds(30));
        let again = refresh(&other, &client_app, &token).await.unwrap();
        assert_eq!(refresh_token(&again), successor);
        assert!(is_accepted(app, &again).await);
    }
    assert!(refresh(app, &client_app, &successor).await.is_ok());
}

async fn the_newest_token_is_found_through_all_that_lie_between(world: World) {
    let app = &world.app;
    let (client_app, _, first) = connected(app).await;
    let mut newest = first.clone();
    for _ in 0..6 {
        world.clock.advance(seconds(10));
        newest = refresh_token(&refresh(app, &client_app, &newest).await.unwrap());
    }
    let again = refresh(app, &client_app, &first).await.unwrap();
    assert_eq!(refresh_token(&again), newest);
}

async fn a_used_token_ends_its_grant_and_no_other(world: World) {
    let app = &world.app;
    let other = world.another().await;
    let (client_app, tokens, first) = connected(app).await;
    let (_, bystander, bystanders) = connected(app).await;
    let second = refresh_token(&refresh(app, &client_app, &first).await.unwrap());
    world.clock.advance(seconds(60));
    let third = refresh_token(&refresh(app, &client_app, &second).await.unwrap());
    world.clock.advance(seconds(61));
    let grant = grant_of(app, &tokens).await;
    assert!(is_accepted(&other, &tokens).await);
    world.published();

    assert!(is_invalid(&refresh(app, &client_app, &first).await), "121 s after its exchange");
    let revoked = row(app, grant).await;
    assert_eq!(revoked.revoked_reason.as_deref(), Some("refresh_replay"));
    assert!(!is_accepted(app, &tokens).await);
    assert_eq!(other.oauth().revoked().poll().await.unwrap(), [grant]);
    assert!(!is_accepted(&other, &tokens).await);
    for dead in [&first, &second, &third] {
        assert!(is_invalid(&refresh(&other, &client_app, dead).await));
    }
    let grant = grant.to_string();
    assert_eq!(world.published(), [Signal::Revoked { grant }]);
    assert_eq!(told(app, Kind::RefreshReplayed).await, 1);

    assert!(is_accepted(&other, &bystander).await, "another installation goes on");
    assert!(refresh(&other, &client_app, &bystanders).await.is_ok());
}

async fn a_lost_answer_is_made_up_for_once_a_day(world: World) {
    let app = &world.app;
    let (client_app, tokens, token) = connected(app).await;
    refresh(app, &client_app, &token).await.unwrap(); // and nobody hears the answer
    world.clock.advance(seconds(600));
    let recovered = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    assert_eq!(told(app, Kind::RefreshRecovered).await, 1);

    // The retry of that is answered alike.
    world.clock.advance(seconds(120));
    let again = refresh(app, &client_app, &token).await.unwrap();
    assert_eq!(refresh_token(&again), recovered);

    // A second time that day is too often.
    world.clock.advance(seconds(1));
    assert!(is_invalid(&refresh(app, &client_app, &token).await));
    assert_eq!(told(app, Kind::RefreshReplayed).await, 1);
    assert!(!is_accepted(app, &tokens).await);

    // A day later it is not, and a token that went on counts as any other.
    let (client_app, _, mut token) = connected(app).await;
    for _ in 0..2 {
        refresh(app, &client_app, &token).await.unwrap();
        world.clock.advance(seconds(600));
        token = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
        world.clock.advance(hours(25));
    }
    assert!(refresh(app, &client_app, &token).await.is_ok());

    // And it is too late when a day has passed since the answer was lost.
    let (client_app, _, token) = connected(app).await;
    refresh(app, &client_app, &token).await.unwrap();
    world.clock.advance(hours(24) + seconds(1));
    assert!(is_invalid(&refresh(app, &client_app, &token).await));
}

async fn a_lost_answer_is_made_up_for_once_however_many_ask(world: World) {
    let instances = [world.another().await, world.another().await];
    for _ in 0..ROUNDS {
        let (client_app, tokens, token) = connected(&instances[0]).await;
        refresh(&instances[0], &client_app, &token).await.unwrap();
        world.clock.advance(seconds(600));
        let tries = (0..RACERS).map(|n| refresh(&instances[n % 2], &client_app, &token));
        let successors: BTreeSet<String> =
            join_all(tries).await.iter().map(|it| refresh_token(it.as_ref().unwrap())).collect();
        assert_eq!(successors.len(), 1);
        let grant = grant_of(&instances[0], &tokens).await;
        assert_eq!(row(&instances[0], grant).await.generation, 3);
    }
    let rounds = u64::try_from(ROUNDS).unwrap();
    assert_eq!(told(&world.app, Kind::RefreshRecovered).await, rounds);
}

async fn a_token_that_was_given_up_ends_its_grant(world: World) {
    let app = &world.app;
    let (client_app, _, token) = connected(app).await;
    let lost = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    world.clock.advance(seconds(600));
    let recovered = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    assert!(is_invalid(&refresh(app, &client_app, &lost).await), "so somebody did have it");
    assert!(is_invalid(&refresh(app, &client_app, &recovered).await));
    assert_eq!(told(app, Kind::RefreshReplayed).await, 1);
}

async fn a_revoked_grant_knows_no_grace(world: World) {
    let app = &world.app;
    let (client_app, tokens, token) = connected(app).await;
    let successor = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    let grant = grant_of(app, &tokens).await;
    assert!(account::disconnect(app.oauth(), &user("ada"), grant, &request()).await.unwrap());
    for dead in [&token, &successor] {
        assert!(is_invalid(&refresh(app, &client_app, dead).await));
    }
    world.clock.advance(seconds(600));
    for dead in [&token, &successor] {
        assert!(is_invalid(&refresh(app, &client_app, dead).await), "nor is it made up for");
    }
    assert_eq!(told(app, Kind::RefreshReplayed).await, 0, "and nobody is alarmed");
}

async fn what_is_refused_rotates_nothing(world: World) {
    let app = &world.app;
    let (client_app, tokens, token) = connected(app).await;
    let grant = grant_of(app, &tokens).await;

    let refused = refresh_for(app, &client_app, &token, Some("items:read\"")).await;
    assert!(matches!(refused, Err(RefreshError::InvalidScope(_))));
    let other = ["https://other.example.com/mcp"];
    let rotation = Rotation {
        token: &token,
        scope: None,
        resource: &other,
        dpop_key: None,
        request: request(),
    };
    let refused = rotate(app.oauth(), &client_app, rotation).await;
    assert!(matches!(refused, Err(RefreshError::InvalidTarget(_))));
    assert!(is_invalid(&refresh(app, &client("another"), &token).await));
    let may_not = Client { may_refresh: false, ..client_app.clone() };
    assert!(is_invalid(&refresh(app, &may_not, &token).await));
    for garbage in ["", "mrt_", "mrt_\0", tokens.access_token.expose()] {
        assert!(is_invalid(&refresh(app, &client_app, garbage).await));
    }
    let never_issued = PlainToken::generate();
    assert!(is_invalid(&refresh(app, &client_app, never_issued.expose()).await));
    assert_eq!(row(app, grant).await.generation, 1);

    // Less than was agreed to is fine, and takes nothing away. Unknown names are ignored.
    let narrow = refresh_for(app, &client_app, &token, Some("items:read openid")).await.unwrap();
    assert_eq!(narrow.scope.to_string(), "items:read");
    let claims = app.oauth().tokens().verify(narrow.access_token.expose()).await.unwrap();
    assert_eq!(claims.scopes.len(), 1);
    let token = refresh_token(&narrow);
    let whole =
        refresh_for(app, &client_app, &token, Some("items:read items:write")).await.unwrap();
    assert_eq!(whole.scope, tests::fixtures::product().scopes().all());
    assert!(is_accepted(app, &tokens).await, "nothing was revoked");
}

async fn a_grant_ends_when_nobody_uses_it(world: World) {
    let app = &world.app;
    let (client_app, _, token) = connected(app).await;
    world.clock.advance(days(30).saturating_sub(seconds(1)));
    let token = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    world.clock.advance(days(30));
    assert!(is_invalid(&refresh(app, &client_app, &token).await));
    assert_eq!(told(app, Kind::RefreshReplayed).await, 0);
}

async fn a_grant_ends_in_the_end(world: World) {
    let app = &world.app;
    let (client_app, _, mut token) = connected(app).await;
    for _ in 0..4 {
        world.clock.advance(days(20));
        token = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    }
    world.clock.advance(days(10).saturating_sub(seconds(1)));
    token = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
    world.clock.advance(seconds(1));
    assert!(is_invalid(&refresh(app, &client_app, &token).await), "after 90 days");
    assert_eq!(told(app, Kind::RefreshReplayed).await, 0);
}

async fn who_is_shut_out_cannot_refresh(world: World) {
    let app = &world.app;
    let (client_app, tokens, token) = connected(app).await;
    assert!(account::block(app.oauth(), &user("ada"), &request()).await.unwrap());
    assert!(!account::block(app.oauth(), &user("ada"), &request()).await.unwrap());
    assert!(is_invalid(&refresh(app, &client_app, &token).await));
    assert!(!is_accepted(app, &tokens).await);
    assert!(account::unblock(app.oauth(), &user("ada"), &request()).await.unwrap());
    assert!(is_invalid(&refresh(app, &client_app, &token).await), "what ended has ended");
    assert_eq!(told(app, Kind::UserBlocked).await, 1);
}

async fn trouble_with_the_database_ends_nothing(world: World) {
    let app = &world.app;
    let (client_app, _, token) = connected(app).await;
    let cut_off = world.another().await;
    cut_off.close().await;
    let refused = refresh(&cut_off, &client_app, &token).await;
    assert!(matches!(refused, Err(RefreshError::Unavailable(_))), "{refused:?}");
    assert!(refresh(app, &client_app, &token).await.is_ok());
}

async fn seals_are_kept_no_longer_than_needed(world: World) {
    let app = &world.app;
    let (client_app, _, mut token) = connected(app).await;
    for _ in 0..5 {
        token = refresh_token(&refresh(app, &client_app, &token).await.unwrap());
        world.clock.advance(seconds(100));
    }
    let sealed: Vec<bool> = oauth_refresh_tokens::Entity::find()
        .order_by_asc(oauth_refresh_tokens::Column::Generation)
        .all(app.db())
        .await
        .unwrap()
        .iter()
        .map(|it| it.successor_sealed.is_some())
        .collect();
    // At the last exchange, of the fifth, the one before it was 100 s old and the next one 200 s.
    assert_eq!(sealed, [false, false, false, true, true, false]);
}
