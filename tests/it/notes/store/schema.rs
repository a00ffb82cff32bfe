//! Migrations: up, down and up again, also in several processes at once.

use std::time::Duration;

use migration::MigratorTraitSelf as _;
use notes::store::{self, PageSize, SearchQuery};
use sea_orm::ConnectionTrait as _;

use super::{World, note, on_both, world::user};

on_both!(
    of notes::product:
    migrations_go_down_and_up_again,
    a_migrated_database_is_left_alone);

async fn migrations_go_down_and_up_again(world: World) {
    let db = world.app.db();
    let schema = db.schema_connection().await.unwrap();
    for _ in 0..2 {
        note(&world, &user("ada"), "Title", "body", &["tag"]).await;
        notes::product().schema().down(&schema, None).await.unwrap();
        assert!(db.execute_unprepared("SELECT 1 FROM notes").await.is_err());
        notes::product().schema().migrate(&schema).await.unwrap();
    }
    note(&world, &user("ada"), "Title", "body", &["tag"]).await;
}

async fn a_migrated_database_is_left_alone(world: World) {
    let note = note(&world, &user("ada"), "Title", "body", &["tag"]).await;
    let schema = world.app.db().schema_connection().await.unwrap();
    notes::product().schema().migrate(&schema).await.unwrap();
    let kept = store::get(world.app.db(), &user("ada"), note.id).await.unwrap();
    assert_eq!(kept, note);
}

#[tokio::test]
async fn processes_that_migrate_at_once_take_turns_on_sqlite() {
    migrate_at_once(&World::empty_sqlite(&notes::product()).await).await;
}

#[tokio::test]
async fn processes_that_migrate_at_once_take_turns_on_postgres() {
    let world = World::postgres(&notes::product()).await;
    let schema = world.app.db().schema_connection().await.unwrap();
    notes::product().schema().reset(&schema).await.unwrap();
    migrate_at_once(&world).await;
}

/// Each service has a pool of its own, like a process.
async fn migrate_at_once(world: &World) {
    let mut processes = Vec::new();
    for _ in 0..6 {
        processes.push(world.another().await.db().schema_connection().await.unwrap());
    }
    let outcomes = futures_util::future::join_all(
        processes.iter().map(|db| notes::product().schema().migrate(db)),
    )
    .await;
    for outcome in outcomes {
        outcome.unwrap();
    }
    note(world, &user("ada"), "Title", "body", &["tag"]).await;
}

/// A worker waits until the schema is migrated, and does not migrate it itself.
async fn a_worker_waits(world: &World) {
    let (app, empty) = (world.app.clone(), notes::product().schema().status(world.app.db()).await);
    assert!(empty.unwrap().iter().all(|it| !it.applied));
    let schema = app.db().schema_connection().await.unwrap();
    let waiting = tokio::spawn(async move { worker::await_schema(&app).await });
    let looked = tokio::time::timeout(Duration::from_secs(2), async {
        while !waiting.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    assert!(looked.await.is_err(), "it waits");
    assert!(schema.execute_unprepared("SELECT 1 FROM seaql_migrations").await.is_err());
    notes::product().schema().migrate(&schema).await.unwrap();
    tests::in_time("it goes on", waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_waits_for_its_schema_on_sqlite() {
    a_worker_waits(&World::empty_sqlite(&notes::product()).await).await;
}

#[tokio::test]
async fn a_worker_waits_for_its_schema_on_postgres() {
    let world = World::postgres(&notes::product()).await;
    let schema = world.app.db().schema_connection().await.unwrap();
    notes::product().schema().down(&schema, None).await.unwrap();
    schema.execute_unprepared("DROP TABLE seaql_migrations").await.unwrap();
    drop(schema);
    a_worker_waits(&world).await;
}

#[tokio::test]
async fn compacting_a_sqlite_file_keeps_the_search_index_right() {
    let world = World::sqlite(&notes::product()).await;
    let ada = user("ada");
    let first = note(&world, &ada, "First", "alpha", &[]).await;
    note(&world, &ada, "Second", "bravo", &[]).await;
    store::delete(world.app.state(), &ada, first.id).await.unwrap();
    world.app.db().execute_unprepared("VACUUM").await.unwrap();

    let words = SearchQuery::parse("bravo").unwrap();
    let hits = store::search(world.app.db(), &ada, &words, PageSize::default()).await.unwrap();
    assert_eq!(hits.notes.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["Second"]);
    assert!(world.directory().join("notes.db").exists());
}
