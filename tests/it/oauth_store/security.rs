//! The security events that a user sees.

use chrono::TimeDelta;
use entity::oauth_audit;
use oauth::{
    account,
    audit::{self, Event, Kind, RequestInfo},
    security::{self, DisconnectedBy, LISTED_FOR, PAGE, What},
};
use sea_orm::EntityTrait as _;

use super::{
    World, client, connect, days, grant_of, on_both, refresh, refresh_token, request, seconds, user,
};

on_both!(
    events_are_those_of_the_user_in_the_right_order,
    events_are_paged,
    old_events_and_refreshed_tokens_are_not_listed,
);

async fn listed(world: &World, name: &str) -> Vec<What> {
    let found = security::events(world.app.oauth(), &user(name), None).await.unwrap();
    found.events.iter().map(|event| event.what).collect()
}

async fn write(world: &World, kind: Kind, name: &str) {
    let event = Event::new(kind, &request()).user(&user(name));
    audit::write(world.app.db(), world.app.clock().now(), &event).await.unwrap();
}

async fn events_are_those_of_the_user_in_the_right_order(world: World) {
    let app = &world.app;
    let (ada, bob) = (user("ada"), user("bob"));
    let first = connect(app, &client("one"), &ada).await;
    connect(app, &client("two"), &bob).await;
    world.clock.advance(seconds(1));
    connect(app, &client("one"), &ada).await;
    world.clock.advance(seconds(1));
    let grant = grant_of(app, &first).await;
    account::disconnect(app.oauth(), &ada, grant, &request()).await.unwrap();
    world.clock.advance(seconds(1));
    account::block(app.oauth(), &ada, &RequestInfo::none()).await.unwrap();

    let found = security::events(app.oauth(), &ada, None).await.unwrap();
    let whats: Vec<_> = found.events.iter().map(|event| event.what).collect();
    let disconnected = What::Disconnected(DisconnectedBy::User, 1);
    assert_eq!(whats, [What::Blocked, disconnected, What::Connected, What::Connected]);
    let networks: Vec<_> = found.events.iter().map(|event| event.network.as_deref()).collect();
    let there = Some("203.0.113.7");
    assert_eq!(networks, [None, there, there, there]);
    assert!(found.events[0].app.is_none() && found.events[1].app.is_some());
    assert_eq!(found.events[0].at, app.clock().now());
    assert_eq!(found.next, None);
    assert_eq!(listed(&world, "bob").await, [What::Connected]);
    assert_eq!(listed(&world, "eve").await, []);
}

async fn events_are_paged(world: World) {
    let count = usize::try_from(PAGE).unwrap() * 2 + 1;
    for number in 0..count {
        let kind = if number % 2 == 0 { Kind::SignedIn } else { Kind::UserUnblocked };
        write(&world, kind, "ada").await;
        write(&world, Kind::SignedIn, "bob").await;
        world.clock.advance(seconds(60));
    }
    let (mut seen, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let found = security::events(world.app.oauth(), &user("ada"), before).await.unwrap();
        assert!(found.events.len() <= usize::try_from(PAGE).unwrap());
        seen.extend(found.events);
        pages += 1;
        before = found.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (count, 3));
    assert!(seen.is_sorted_by(|newer, older| newer.at > older.at));
}

async fn old_events_and_refreshed_tokens_are_not_listed(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    let tokens = connect(app, &client_app, &user("ada")).await;
    refresh(app, &client_app, &refresh_token(&tokens)).await.unwrap();
    assert_eq!(listed(&world, "ada").await, [What::Connected], "without the refreshed token");
    let all = oauth_audit::Entity::find().all(app.db()).await.unwrap();
    assert!(all.iter().any(|row| row.event == "token_refreshed"), "{all:?}");

    world.clock.advance(LISTED_FOR.saturating_sub(days(1)));
    write(&world, Kind::SignedIn, "ada").await;
    assert_eq!(listed(&world, "ada").await, [What::SignedIn, What::Connected]);
    world.clock.advance(days(1) + TimeDelta::milliseconds(1).to_std().unwrap());
    assert_eq!(listed(&world, "ada").await, [What::SignedIn]);
}
