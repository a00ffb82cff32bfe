//! Signing keys and their tokens, at several instances that share only the database.

use std::{collections::BTreeSet, time::Duration};

use app::App;
use entity::oauth_signing_keys::{COLUMN, Column, Entity, State};
use oauth::access_token::{NewToken, TokenError};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::Expr};
use tests::eventually;

use super::{World, on_both, world::user};

on_both!(
    instances_that_start_at_once_agree_on_one_key,
    a_changed_secret_signs_nobody_out,
    an_unknown_key_is_looked_up_but_not_all_the_time,
    a_revoked_key_is_no_longer_trusted,
    only_public_halves_are_published,
    tokens_are_verified_while_the_database_is_away,
    it_is_remembered_when_a_key_has_signed,
);

async fn token(app: &App) -> String {
    let new = NewToken {
        user: user("ada"),
        client: "a-client".to_owned(),
        scopes: BTreeSet::from([tests::fixtures::items::READ.to_owned()]),
        session_id: "a-session".to_owned(),
        signed_in_at: None,
        ttl: None,
        dpop_key: None,
    };
    app.oauth().tokens().mint(new).await.expect("the database is there")
}

async fn instances_that_start_at_once_agree_on_one_key(world: World) {
    let mut instances = Vec::new();
    for _ in 0..8 {
        instances.push(world.another().await);
    }
    let tokens = futures_util::future::join_all(instances.iter().map(token)).await;
    for instance in &instances {
        for token in &tokens {
            let claims = instance.oauth().tokens().verify(token).await.unwrap();
            assert_eq!(claims.caller().user, user("ada"));
        }
    }
    let keys = Entity::find().all(world.app.db()).await.unwrap();
    assert_eq!(keys.len(), 1);
}

async fn a_changed_secret_signs_nobody_out(world: World) {
    let (old, new) = (&world.app, world.another_with(&"another secret ".repeat(4)).await);
    let before = token(old).await;
    let after = token(&new).await;

    for instance in [old, &new] {
        for token in [&before, &after] {
            assert!(instance.oauth().tokens().verify(token).await.is_ok());
        }
    }
    let keys = Entity::trusted().all(old.db()).await.unwrap();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0].kek_id, keys[1].kek_id);
    // The old instance continues to sign with its own key.
    let again = token(old).await;
    assert!(new.oauth().tokens().verify(&again).await.is_ok());
}

async fn an_unknown_key_is_looked_up_but_not_all_the_time(world: World) {
    let old = &world.app;
    let mine = token(old).await;
    let unknown = Err(TokenError::Invalid("its key is unknown"));

    let second = token(&world.another_with(&"second secret ".repeat(4)).await).await;
    assert!(old.oauth().tokens().verify(&second).await.is_ok(), "looked up at once");

    // A lookup of an unknown key starts a pause, during which the keys are not reloaded.
    let elsewhere = World::sqlite(&tests::fixtures::product()).await;
    let invented = token(&elsewhere.app).await;
    assert_eq!(old.oauth().tokens().verify(&invented).await, unknown);
    let third = token(&world.another_with(&"third secret ".repeat(4)).await).await;
    assert_eq!(old.oauth().tokens().verify(&third).await, unknown, "not looked up");
    assert!(old.oauth().tokens().verify(&mine).await.is_ok(), "known keys need no looking up");
    world.clock.advance(Duration::from_secs(4));
    assert_eq!(old.oauth().tokens().verify(&third).await, unknown);
    world.clock.advance(Duration::from_secs(1));
    assert!(old.oauth().tokens().verify(&third).await.is_ok());
}

async fn a_revoked_key_is_no_longer_trusted(world: World) {
    let app = &world.app;
    let other = world.another().await;
    let leaked = token(app).await;
    for instance in [app, &other] {
        assert!(instance.oauth().tokens().verify(&leaked).await.is_ok());
    }
    Entity::update_many()
        .col_expr(Column::State, Expr::value(State::Revoked))
        .filter(COLUMN.state.eq(State::Active))
        .exec(app.db())
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(61));
    for instance in [app, &other] {
        eventually("the key is dropped", async || {
            instance.oauth().tokens().verify(&leaked).await.err()
        })
        .await;
    }
    let fresh = token(app).await;
    assert!(app.oauth().tokens().verify(&fresh).await.is_ok(), "a new key took its place");
    assert!(app.oauth().tokens().verify(&leaked).await.is_err());
    let published = app.oauth().keys().jwks().await.unwrap();
    assert_eq!(published["keys"].as_array().unwrap().len(), 1);
}

async fn only_public_halves_are_published(world: World) {
    let published = world.app.oauth().keys().jwks().await.unwrap();
    let keys = published["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "the first look makes the first key");
    let mut members: Vec<_> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);

    let row = Entity::find().one(world.app.db()).await.unwrap().unwrap();
    assert_eq!(keys[0]["kid"], row.kid.as_str());
    let sealed = row.private_sealed.unwrap();
    let pkcs8 = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"; // the id of an elliptic-curve key
    assert!(!sealed.windows(pkcs8.len()).any(|it| it == pkcs8), "the private half is sealed");
}

async fn tokens_are_verified_while_the_database_is_away(world: World) {
    let token = token(&world.app).await;
    world.app.oauth().revoked().load().await.unwrap();
    let stranger = self::token(&world.another_with(&"second secret ".repeat(4)).await).await;
    world.clock.advance(Duration::from_secs(6));
    world.app.close().await;

    for minute in 0..3 {
        assert!(world.app.oauth().tokens().verify(&token).await.is_ok(), "minute {minute}");
        world.clock.advance(Duration::from_mins(1));
    }
    for _ in 0..2 {
        let verified = world.app.oauth().tokens().verify(&stranger).await;
        assert_eq!(verified, Err(TokenError::Unavailable), "nothing can be concluded");
    }
}

async fn it_is_remembered_when_a_key_has_signed(world: World) {
    let last_signed_at =
        async || Entity::find().one(world.app.db()).await.unwrap().unwrap().last_signed_at;
    world.app.oauth().keys().jwks().await.unwrap();
    assert_eq!(last_signed_at().await, None);
    let first = world.app.clock().now();
    token(&world.app).await;
    world.clock.advance(Duration::from_secs(59));
    token(&world.app).await;
    assert_eq!(last_signed_at().await, Some(first), "to the minute");
    world.clock.advance(Duration::from_secs(1));
    token(&world.app).await;
    assert_eq!(last_signed_at().await, Some(world.app.clock().now()));
}
