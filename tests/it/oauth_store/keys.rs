//! The life of signing keys on several instances that share nothing but the database: no token is
//! ever refused that should not be, whatever happens to the keys.

use std::{collections::BTreeSet, time::Duration};

use app::App;
use chrono::TimeDelta;
use entity::oauth_signing_keys::{self as keys, Entity, Model, State};
use futures_util::future::join_all;
use oauth::{
    access_token::{NewToken, TokenError},
    audit::{Kind, RequestInfo},
    signing_keys::{ABANDONED_AFTER, PREPUBLISHED, RETIRING_FOR, ROTATE_EVERY, SCHEDULED_AHEAD},
};
use platform::clock::Clock as _;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, sea_query::Expr,
};

use super::{World, days, hours, on_both, request, seconds, told, user};

on_both!(
    a_key_is_replaced_on_schedule,
    a_key_is_replaced_when_somebody_asks,
    one_successor_is_made_however_many_instances_there_are,
    a_takeover_that_was_interrupted_is_completed,
    a_key_that_leaked_is_worth_nothing,
    keys_of_instances_that_are_gone_are_retired,
    a_misconfigured_process_does_not_retire_the_key_in_use,
    a_quarter_of_a_year_refuses_no_token,
    keys_can_be_listed,
);

/// As a client has it.
async fn token(app: &App) -> String {
    token_for(app, None).await
}

/// As an operator may print one: good for a day.
async fn long_token(app: &App) -> String {
    token_for(app, Some(Duration::from_hours(24))).await
}

async fn token_for(app: &App, ttl: Option<Duration>) -> String {
    let new = NewToken {
        user: user("ada"),
        client: "an-app".to_owned(),
        scopes: BTreeSet::from([tests::fixtures::items::READ.to_owned()]),
        session_id: "a-session".to_owned(),
        signed_in_at: None,
        ttl,
        dpop_key: None,
    };
    app.oauth().tokens().mint(new).await.unwrap()
}

async fn rows(world: &World) -> Vec<Model> {
    Entity::find().order_by_asc(keys::Column::ActivateAt).all(world.app.db()).await.unwrap()
}

async fn states(world: &World) -> Vec<State> {
    rows(world).await.iter().map(|it| it.state).collect()
}

async fn published(app: &App) -> usize {
    let jwks = app.oauth().keys().jwks().await.unwrap();
    jwks["keys"].as_array().unwrap().len()
}

fn span(span: TimeDelta) -> Duration {
    span.to_std().unwrap()
}

async fn a_key_is_replaced_on_schedule(world: World) {
    let app = &world.app;
    let first = token(app).await;
    let pass = async |time: Duration| {
        world.clock.advance(time);
        // One step may make the next one due.
        for _ in 0..3 {
            app.oauth().keys().keep_up().await.unwrap();
        }
        states(&world).await
    };
    assert!(app.oauth().tokens().verify(&first).await.is_ok());

    assert_eq!(pass(span(ROTATE_EVERY).saturating_sub(seconds(1))).await, [State::Active]);
    assert_eq!(pass(seconds(1)).await, [State::Active, State::Pending]);
    assert_eq!(published(app).await, 2, "published ahead");
    let before = token(app).await;
    assert_eq!(
        pass(span(SCHEDULED_AHEAD).saturating_sub(seconds(1))).await,
        [State::Active, State::Pending]
    );
    assert_eq!(pass(seconds(1)).await, [State::Retiring, State::Active]);
    let last = token(app).await;
    assert_eq!(published(app).await, 2);
    world.clock.advance(seconds(60));
    assert!(app.oauth().tokens().verify(&last).await.is_ok());
    assert_eq!(app.oauth().tokens().verify(&before).await, Err(TokenError::Expired), "not refused");
    assert_eq!(
        pass(span(RETIRING_FOR).saturating_sub(seconds(61))).await,
        [State::Retiring, State::Active]
    );
    assert_eq!(pass(seconds(1)).await, [State::Retired, State::Active]);
    assert_eq!(published(app).await, 1);

    let rows = rows(&world).await;
    assert!(rows[0].private_sealed.is_none() && rows[0].wiped_at.is_some());
    assert!(rows[1].private_sealed.is_some() && rows[1].replace_at.is_none());
    assert_eq!(told(app, Kind::KeyCreated).await, 2);
    assert_eq!(told(app, Kind::KeyActivated).await, 1);
    assert_eq!(told(app, Kind::KeyRetired).await, 1);
}

async fn a_key_is_replaced_when_somebody_asks(world: World) {
    let app = &world.app;
    // Somebody with another secret can ask as well.
    let terminal = world.another_with(&"another secret ".repeat(4)).await;
    let old = token(app).await;
    let asked = world.clock.now();
    let at = terminal.oauth().keys().rotate(&request()).await.unwrap();
    assert_eq!(at, asked + PREPUBLISHED);
    assert_eq!(terminal.oauth().keys().rotate(&request()).await.unwrap(), at);
    assert_eq!(states(&world).await, [State::Active], "whoever asks makes nothing");

    app.oauth().keys().keep_up().await.unwrap();
    assert_eq!(states(&world).await, [State::Active, State::Pending]);
    world.clock.advance(span(PREPUBLISHED));
    app.oauth().keys().keep_up().await.unwrap();
    assert_eq!(states(&world).await, [State::Retiring, State::Active]);
    let new = token(app).await;
    for token in [&old, &new] {
        for instance in [app, &terminal] {
            assert!(instance.oauth().tokens().verify(token).await.is_ok());
        }
    }
    assert_eq!(told(app, Kind::KeyRotationRequested).await, 2);

    // It also brings forward what the schedule has planned.
    world.clock.advance(span(ROTATE_EVERY));
    for _ in 0..3 {
        app.oauth().keys().keep_up().await.unwrap();
    }
    assert_eq!(states(&world).await[1..], [State::Active, State::Pending]);
    app.oauth().keys().rotate(&request()).await.unwrap();
    world.clock.advance(span(PREPUBLISHED));
    app.oauth().keys().keep_up().await.unwrap();
    assert_eq!(states(&world).await[1..], [State::Retiring, State::Active]);
}

async fn one_successor_is_made_however_many_instances_there_are(world: World) {
    let mut instances = Vec::new();
    for _ in 0..8 {
        instances.push(world.another().await);
    }
    token(&instances[0]).await;
    let everybody = async || {
        for outcome in join_all(instances.iter().map(|it| it.oauth().keys().keep_up())).await {
            outcome.unwrap();
        }
    };
    for generation in 1..=3 {
        world.clock.advance(days(31));
        for _ in 0..3 {
            everybody().await;
        }
        world.clock.advance(span(SCHEDULED_AHEAD));
        everybody().await;
        let rows = rows(&world).await;
        assert_eq!(rows.len(), generation + 1);
        let active = rows.iter().filter(|it| it.state == State::Active).count();
        assert_eq!(active, 1, "generation {generation}");
        let tokens = join_all(instances.iter().map(token)).await;
        for instance in &instances {
            for token in &tokens {
                assert!(instance.oauth().tokens().verify(token).await.is_ok());
            }
        }
        let told = told(&world.app, Kind::KeyActivated).await;
        assert_eq!(told, u64::try_from(generation).unwrap());
    }
}

async fn a_takeover_that_was_interrupted_is_completed(world: World) {
    let (app, other) = (&world.app, world.another().await);
    token(app).await;
    token(&other).await;
    app.oauth().keys().rotate(&request()).await.unwrap();
    app.oauth().keys().keep_up().await.unwrap();
    world.clock.advance(span(PREPUBLISHED));
    // The first of the two statements, and then the process is gone.
    Entity::update_many()
        .col_expr(keys::Column::State, Expr::value(State::Retiring))
        .filter(keys::COLUMN.state.eq(State::Active))
        .exec(app.db())
        .await
        .unwrap();
    let fresh = world.another().await;
    let during = token(&fresh).await;
    assert_eq!(states(&world).await, [State::Retiring, State::Pending], "no third key is made");
    for instance in [app, &other, &fresh] {
        assert!(instance.oauth().tokens().verify(&during).await.is_ok());
    }
    other.oauth().keys().keep_up().await.unwrap();
    assert_eq!(states(&world).await, [State::Retiring, State::Active]);
}

async fn a_key_that_leaked_is_worth_nothing(world: World) {
    let (app, other) = (&world.app, world.another().await);
    let leaked = token(app).await;
    assert!(app.oauth().tokens().verify(&leaked).await.is_ok());
    assert!(other.oauth().tokens().verify(&leaked).await.is_ok());
    let kid = rows(&world).await[0].kid.clone();

    assert!(app.oauth().keys().revoke(&kid, &request()).await.unwrap());
    assert!(!app.oauth().keys().revoke(&kid, &request()).await.unwrap(), "once is enough");
    let gone = Err(TokenError::Invalid("its key is no longer trusted"));
    assert_eq!(app.oauth().tokens().verify(&leaked).await, gone, "here at once");
    other.oauth().keys().keep_up().await.unwrap();
    assert_eq!(other.oauth().tokens().verify(&leaked).await, gone, "and there with the next look");
    let unknown = Err(TokenError::Invalid("its key is unknown"));
    assert_eq!(world.another().await.oauth().tokens().verify(&leaked).await, unknown);

    assert_eq!(states(&world).await, [State::Revoked, State::Active], "another one signs");
    assert!(rows(&world).await[0].private_sealed.is_none());
    let fresh = token(&other).await;
    assert!(app.oauth().tokens().verify(&fresh).await.is_ok());
    assert_eq!(published(&other).await, 1);
    assert_eq!(told(app, Kind::KeyRevoked).await, 1);
}

async fn keys_of_instances_that_are_gone_are_retired(world: World) {
    let old = &world.app;
    let before = long_token(old).await;
    world.clock.advance(seconds(1));
    let new = world.another_with(&"another secret ".repeat(4)).await;
    let after = long_token(&new).await;
    // Both serve for a while.
    for _ in 0..5 {
        world.clock.advance(seconds(60));
        new.oauth().keys().keep_up().await.unwrap();
        for token in [token(old).await, token(&new).await] {
            for instance in [old, &new] {
                assert!(instance.oauth().tokens().verify(&token).await.is_ok());
            }
        }
    }
    assert_eq!(states(&world).await, [State::Active, State::Active]);
    // The old one is gone.
    goes_on_alone(&world, &new).await;
    assert_eq!(states(&world).await, [State::Retiring, State::Active]);
    for token in [before, after] {
        assert!(new.oauth().tokens().verify(&token).await.is_ok(), "what it signed stays good");
    }
    world.clock.advance(span(RETIRING_FOR));
    new.oauth().keys().keep_up().await.unwrap();
    assert_eq!(states(&world).await, [State::Retired, State::Active]);

    // If it was not gone after all, it makes itself another key and signs on.
    old.oauth().keys().keep_up().await.unwrap();
    let again = long_token(old).await;
    assert!(new.oauth().tokens().verify(&again).await.is_ok());
    // That one ends like the first, although it is the younger one.
    goes_on_alone(&world, &new).await;
    assert_eq!(states(&world).await, [State::Retired, State::Active, State::Retiring]);
    assert!(new.oauth().tokens().verify(&again).await.is_ok());
}

/// Only this instance signs, for as long as it takes until the others count as gone.
async fn goes_on_alone(world: &World, instance: &App) {
    for _ in 0..2 {
        world.clock.advance(span(ABANDONED_AFTER));
        token(instance).await;
        instance.oauth().keys().keep_up().await.unwrap();
    }
}

async fn a_misconfigured_process_does_not_retire_the_key_in_use(world: World) {
    let app = &world.app;
    token(app).await;
    let stranger = world.another_with(&"another secret ".repeat(4)).await;
    stranger.oauth().keys().jwks().await.unwrap(); // makes a key, and never signs
    for _ in 0..5 {
        world.clock.advance(hours(1));
        stranger.oauth().keys().keep_up().await.unwrap();
    }
    assert_eq!(states(&world).await, [State::Active, State::Active]);
}

/// Two instances keep up now and then, sign at each step, and verify each other's tokens for as long
/// as those live. In the middle the secret is changed by a rolling restart.
async fn a_quarter_of_a_year_refuses_no_token(world: World) {
    let mut instances = vec![world.another().await, world.another().await];
    let mut tokens: Vec<(String, chrono::DateTime<chrono::Utc>)> = Vec::new();
    let ttl = TimeDelta::from_std(world.app.oauth().tokens().ttl()).unwrap();
    // Steps of many lengths, so that they fall on all sides of every limit.
    let lengths = [seconds(1), seconds(299), hours(1), hours(7), days(1), seconds(61), hours(13)];
    for (step, length) in lengths.into_iter().cycle().take(330).enumerate() {
        world.clock.advance(length);
        if step == 150 {
            instances[0] = world.another_with(&"another secret ".repeat(4)).await;
        }
        if step == 153 {
            instances[1] = world.another_with(&"another secret ".repeat(4)).await;
        }
        if step % 7 == 3 {
            instances[0].oauth().keys().rotate(&RequestInfo::none()).await.unwrap();
        }
        let now = world.clock.now();
        tokens.retain(|(_, issued_at)| now - *issued_at < ttl);
        instances[step % 2].oauth().keys().keep_up().await.unwrap();
        for instance in &instances {
            tokens.push((token(instance).await, now));
        }
        for instance in &instances {
            for (token, issued_at) in &tokens {
                let verified = instance.oauth().tokens().verify(token).await;
                assert!(verified.is_ok(), "step {step}, issued {issued_at}: {verified:?}");
            }
        }
    }
    let rows = rows(&world).await;
    assert!(rows.len() > 10, "there were many generations: {}", rows.len());
    for row in rows {
        let wiped = matches!(row.state, State::Retired);
        assert_eq!(row.private_sealed.is_none(), wiped);
    }
}

async fn keys_can_be_listed(world: World) {
    let app = &world.app;
    token(app).await;
    let stranger = world.another_with(&"another secret ".repeat(4)).await;
    world.clock.advance(seconds(60));
    token(&stranger).await;
    app.oauth().keys().rotate(&request()).await.unwrap();
    app.oauth().keys().keep_up().await.unwrap();

    let listed = app.oauth().keys().list().await.unwrap();
    let seen: Vec<_> = listed.iter().map(|it| (it.state, it.is_decryptable, it.signs)).collect();
    let mut expected =
        [(State::Pending, true, false), (State::Active, false, false), (State::Active, true, true)];
    // Two were made at the same moment.
    if listed[0].state != State::Pending {
        expected.swap(0, 1);
    }
    assert_eq!(seen, expected);
    assert!(listed[2].replace_at.is_some() && listed[2].last_signed_at.is_some());
}
