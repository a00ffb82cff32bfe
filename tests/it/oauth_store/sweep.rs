//! Clean-up: what nobody needs goes, what somebody needs stays, and several may sweep at once.

use app::App;
use entity::{
    Digest, oauth_audit,
    oauth_clients::{self, Kind},
    oauth_codes, oauth_grants, oauth_refresh_tokens, oauth_signing_keys,
};
use futures_util::future::join_all;
use oauth::{
    access_token::NewToken,
    client::ClientId,
    grant::Reason,
    revoke,
    sweep::{self, BATCH},
};
use sea_orm::{ActiveModelTrait as _, EntityTrait, PaginatorTrait as _, Set};

use super::{
    World, agree, client, connect, days, grant_of, hours, on_both, refresh, refresh_token, request,
    seconds, user,
};

on_both!(
    codes_go_an_hour_after_they_expired,
    grants_go_with_their_tokens_a_month_after_their_end,
    clients_go_when_nobody_needs_them,
    keys_and_audit_go_by_age,
    several_sweep_at_once,
);

async fn count<E>(_: E, app: &App) -> u64
where
    E: EntityTrait,
    E::Model: Sync,
{
    E::find().count(app.db()).await.unwrap()
}

async fn codes_go_an_hour_after_they_expired(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    agree(app, &client_app, &user("ada")).await;
    world.clock.advance(hours(1) + seconds(59));
    let fresh = agree(app, &client_app, &user("ada")).await;
    assert_eq!(sweep::codes(app.oauth()).await.unwrap(), 0);
    world.clock.advance(seconds(1));
    assert_eq!(sweep::codes(app.oauth()).await.unwrap(), 1);
    assert_eq!(sweep::codes(app.oauth()).await.unwrap(), 0);
    assert!(fresh.redeem(app, &client_app).await.is_ok());
}

async fn grants_go_with_their_tokens_a_month_after_their_end(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    let idle = connect(app, &client_app, &user("ada")).await;
    refresh(app, &client_app, &refresh_token(&idle)).await.unwrap();
    world.clock.advance(days(10));
    let revoked = connect(app, &client_app, &user("ada")).await;
    let grant = grant_of(app, &revoked).await;
    revoke::grant(app.oauth(), grant, Reason::Operator, &request()).await.unwrap();

    let sweep = async || {
        let tokens = sweep::refresh_tokens(app.oauth()).await.unwrap();
        (tokens, sweep::grants(app.oauth()).await.unwrap())
    };
    world.clock.advance(days(30).saturating_sub(seconds(1)));
    assert_eq!(sweep().await, (0, 0));
    world.clock.advance(seconds(1));
    assert_eq!(sweep().await, (1, 1), "30 days after the revocation");
    world.clock.advance(days(20).saturating_sub(seconds(1)));
    assert_eq!(sweep::grants(app.oauth()).await.unwrap(), 0);
    assert_eq!(sweep().await, (0, 0));
    world.clock.advance(seconds(1));
    assert_eq!(sweep::grants(app.oauth()).await.unwrap(), 0, "its tokens go first");
    assert_eq!(sweep().await, (2, 1), "30 days after 30 idle days");
    assert_eq!(count(oauth_grants::Entity, app).await, 0);
    assert_eq!(count(oauth_refresh_tokens::Entity, app).await, 0);
}

async fn clients_go_when_nobody_needs_them(world: World) {
    let app = &world.app;
    let now = app.clock().now();
    for (id, lifetime) in [("unused", Some(1)), ("needed", Some(1)), ("kept", None)] {
        oauth_clients::ActiveModel {
            id: Set(ClientId(id.to_owned())),
            kind: Set(Kind::Dynamic),
            metadata: Set(serde_json::json!({})),
            metadata_hash: Set(Digest::new([0; 32])),
            created_at: Set(now),
            expires_at: Set(lifetime.map(|it| now + chrono::TimeDelta::days(it))),
            ..Default::default()
        }
        .insert(app.db())
        .await
        .unwrap();
    }
    // Its client's row is left as it is, as if the last use had not been noted.
    let tokens = connect(app, &client("another"), &user("ada")).await;
    let grant = grant_of(app, &tokens).await;
    oauth_grants::ActiveModel {
        id: Set(grant),
        client_id: Set(ClientId("needed".to_owned())),
        ..Default::default()
    }
    .update(app.db())
    .await
    .unwrap();

    world.clock.advance(days(1).saturating_sub(seconds(1)));
    assert_eq!(sweep::clients(app.oauth()).await.unwrap(), 0);
    world.clock.advance(seconds(1));
    assert_eq!(sweep::clients(app.oauth()).await.unwrap(), 1);
    revoke::grant(app.oauth(), grant, Reason::Operator, &request()).await.unwrap();
    assert_eq!(sweep::clients(app.oauth()).await.unwrap(), 1);
    world.clock.advance(days(1000));
    assert_eq!(sweep::clients(app.oauth()).await.unwrap(), 0);
    assert_eq!(count(oauth_clients::Entity, app).await, 1);
}

async fn keys_and_audit_go_by_age(world: World) {
    let app = &world.app;
    let new = NewToken {
        user: user("ada"),
        client: "an-app".to_owned(),
        scopes: ["items:read".to_owned()].into(),
        session_id: "by hand".to_owned(),
        signed_in_at: None,
        ttl: None,
        dpop_key: None,
    };
    app.oauth().tokens().mint(new).await.unwrap();
    let kid = app.oauth().keys().list().await.unwrap()[0].kid.clone();
    app.oauth().keys().revoke(&kid, &request()).await.unwrap();
    let rows = count(oauth_audit::Entity, app).await;
    assert!(rows > 0);

    world.clock.advance(days(90).saturating_sub(seconds(1)));
    assert_eq!(sweep::keys(app.oauth()).await.unwrap(), 0);
    world.clock.advance(seconds(1));
    assert_eq!(sweep::keys(app.oauth()).await.unwrap(), 1);
    assert_eq!(count(oauth_signing_keys::Entity, app).await, 1, "the one that signs");

    world.clock.advance(days(310).saturating_sub(seconds(1)));
    assert_eq!(sweep::audit(app.oauth()).await.unwrap(), 0);
    world.clock.advance(seconds(1));
    assert_eq!(sweep::audit(app.oauth()).await.unwrap(), rows);
}

async fn several_sweep_at_once(world: World) {
    let app = &world.app;
    let issued = agree(app, &client("an-app"), &user("ada")).await;
    let row = oauth_codes::Entity::find_by_id(issued.code.hash());
    let row = row.one(app.db()).await.unwrap().unwrap();
    let many = (0..3 * BATCH + 7).map(|n| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        oauth_codes::ActiveModel::from(oauth_codes::Model {
            code_hash: Digest::new(hash),
            ..row.clone()
        })
    });
    let many: Vec<_> = many.collect();
    for some in many.chunks(500) {
        oauth_codes::Entity::insert_many(some.to_vec())
            .exec_without_returning(app.db())
            .await
            .unwrap();
    }
    world.clock.advance(hours(2));

    let workers = [world.another().await, world.another().await, world.another().await];
    let sweep = async |worker: &App| {
        let mut swept = 0;
        loop {
            let some = sweep::codes(worker.oauth()).await.unwrap();
            assert!(some <= BATCH);
            swept += some;
            // Another one may hold what is left, and gives it up by deleting it.
            if some == 0 && count(oauth_codes::Entity, worker).await == 0 {
                return swept;
            }
        }
    };
    let swept: u64 = join_all(workers.iter().map(sweep)).await.iter().sum();
    assert_eq!(swept, 3 * BATCH + 8, "each once");
}
