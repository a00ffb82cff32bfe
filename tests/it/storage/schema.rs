//! The schema itself: it goes up, down and up again, however many processes begin at once.

use migration::{Migrator, MigratorTrait as _};
use sea_orm::ConnectionTrait as _;
use service::notes::{self, PageSize, Words};

use super::{World, on_both, world::user};

on_both!(migrations_go_down_and_up_again, a_migrated_database_is_left_alone);

async fn migrations_go_down_and_up_again(world: World) {
    let db = world.service.db();
    for _ in 0..2 {
        world.note(&user("ada"), "Title", "body", &["tag"]).await;
        Migrator::down(db, None).await.unwrap();
        assert!(db.execute_unprepared("SELECT 1 FROM notes").await.is_err());
        migration::migrate(db).await.unwrap();
    }
    world.note(&user("ada"), "Title", "body", &["tag"]).await;
}

async fn a_migrated_database_is_left_alone(world: World) {
    let note = world.note(&user("ada"), "Title", "body", &["tag"]).await;
    migration::migrate(world.service.db()).await.unwrap();
    let kept = notes::get(world.service.db(), &user("ada"), note.id).await.unwrap();
    assert_eq!(kept, note);
}

#[tokio::test]
async fn processes_that_migrate_at_once_take_turns_on_sqlite() {
    migrate_at_once(&World::empty_sqlite().await).await;
}

#[tokio::test]
async fn processes_that_migrate_at_once_take_turns_on_postgres() {
    let world = World::postgres().await;
    Migrator::reset(world.service.db()).await.unwrap();
    migrate_at_once(&world).await;
}

/// Each service has a pool of its own, like a process.
async fn migrate_at_once(world: &World) {
    let mut processes = Vec::new();
    for _ in 0..6 {
        processes.push(world.another().await);
    }
    let outcomes =
        futures_util::future::join_all(processes.iter().map(|it| migration::migrate(it.db())))
            .await;
    for outcome in outcomes {
        outcome.unwrap();
    }
    world.note(&user("ada"), "Title", "body", &["tag"]).await;
}

#[tokio::test]
async fn compacting_a_sqlite_file_keeps_the_search_index_right() {
    let world = World::sqlite().await;
    let ada = user("ada");
    let first = world.note(&ada, "First", "alpha", &[]).await;
    world.note(&ada, "Second", "bravo", &[]).await;
    notes::delete(&world.service, &ada, first.id).await.unwrap();
    world.service.db().execute_unprepared("VACUUM").await.unwrap();

    let words = Words::parse("bravo").unwrap();
    let hits = notes::search(world.service.db(), &ada, &words, PageSize::default()).await.unwrap();
    assert_eq!(hits.notes.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["Second"]);
    assert!(world.directory().join("notes.db").exists());
}
