//! The number of calls of each connected app, as its user sees it.

use app::App;
use oauth::{
    account,
    calls::{self, DAYS},
    grant::TokenSet,
};

use super::{World, client, connect, days, on_both, request, seconds, user};

on_both!(
    the_calls_of_all_instances_are_added,
    calls_of_the_last_days_are_shown,
    counts_wait_for_the_database,
    nothing_is_written_for_a_deleted_account,
);

/// Counts calls, as an instance does.
pub(super) async fn call(app: &App, tokens: &TokenSet, times: u32) {
    let claims = app.oauth().tokens().verify(tokens.access_token.expose()).await.unwrap();
    app.oauth().calls().add(&claims.caller(), times);
}

/// The calls of the apps of a user, the newest app first.
async fn shown(app: &App, name: &str) -> Vec<u64> {
    let apps = account::connected(app.oauth(), &user(name)).await.unwrap();
    apps.iter().map(|app| app.calls).collect()
}

async fn the_calls_of_all_instances_are_added(world: World) {
    let (one, other) = (&world.app, &world.another().await);
    let first = connect(one, &client("one"), &user("ada")).await;
    world.clock.advance(seconds(60));
    let second = connect(one, &client("two"), &user("ada")).await;
    connect(one, &client("one"), &user("bob")).await;
    world.clock.advance(seconds(60));
    call(one, &first, 2).await;
    call(other, &first, 3).await;
    call(other, &second, 1).await;
    assert_eq!(shown(one, "ada").await, [0, 0], "nothing is written yet");
    for instance in [one, other, one] {
        calls::write(instance.oauth()).await.unwrap();
    }
    assert_eq!(shown(one, "ada").await, [1, 5]);
    assert_eq!(shown(one, "bob").await, [0]);
    let apps = account::connected(one.oauth(), &user("ada")).await.unwrap();
    assert!(apps.iter().all(|app| app.last_used_at == one.clock().now()), "{apps:?}");
}

async fn calls_of_the_last_days_are_shown(world: World) {
    let app = &world.app;
    let tokens = connect(app, &client("one"), &user("ada")).await;
    for _ in 0..2 {
        call(app, &tokens, 1).await;
        calls::write(app.oauth()).await.unwrap();
    }
    assert_eq!(shown(app, "ada").await, [2]);
    let shown_for = u64::try_from(DAYS).unwrap();
    world.clock.advance(days(shown_for - 1));
    assert_eq!(shown(app, "ada").await, [2]);
    assert_eq!(calls::sweep(app.oauth()).await.unwrap(), 0);
    // The grant ends a month after its last use, so the row is looked at instead.
    world.clock.advance(days(1));
    assert_eq!(calls::sweep(app.oauth()).await.unwrap(), 0, "another instance may still show it");
    world.clock.advance(days(1));
    assert_eq!(calls::sweep(app.oauth()).await.unwrap(), 1);
    assert_eq!(calls::sweep(app.oauth()).await.unwrap(), 0);
}

async fn counts_wait_for_the_database(world: World) {
    use sea_orm::ConnectionTrait as _;

    let app = &world.app;
    let tokens = connect(app, &client("one"), &user("ada")).await;
    call(app, &tokens, 2).await;
    let rename = async |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        app.db().execute_unprepared(&sql).await.unwrap();
    };
    rename("oauth_calls", "hidden_calls").await;
    assert!(calls::write(app.oauth()).await.is_err());
    call(app, &tokens, 1).await;
    rename("hidden_calls", "oauth_calls").await;
    calls::write(app.oauth()).await.unwrap();
    assert_eq!(shown(app, "ada").await, [3]);
}

async fn nothing_is_written_for_a_deleted_account(world: World) {
    let app = &world.app;
    let (ada, bob) = (user("ada"), user("bob"));
    let tokens = connect(app, &client("one"), &ada).await;
    let bobs = connect(app, &client("one"), &bob).await;
    call(app, &tokens, 1).await;
    call(app, &bobs, 1).await;
    account::delete(app.oauth(), &ada, &request()).await.unwrap();
    calls::write(app.oauth()).await.unwrap();
    let left = super::account::rows_of(app.db(), &ada).await;
    assert_eq!(left["oauth_calls"], 0);
    assert_eq!(shown(app, "bob").await, [1], "the counts of others are written");
}
