//! `migrate up`, `down`, `status`, and a program that finds an old schema.

use migration::Step;
use tests::cluster::{Database, Setup};

async fn up_down_up(database: Database) {
    let cluster = Setup::new(database).product(notes::product).start().await;
    let [db, other_db] = [
        &cluster.app().db().schema_connection().await.unwrap(),
        &cluster.app().db().schema_connection().await.unwrap(),
    ];
    let all = |applied| move |it: &Step| it.applied == applied;
    let steps = notes::product().schema().status(db).await.unwrap();
    assert!(steps.len() > 5 && steps.iter().all(all(true)), "{steps:?}");

    notes::product().schema().revert(db, 1).await.unwrap();
    let fewer = notes::product().schema().status(db).await.unwrap();
    assert!(!fewer.last().unwrap().applied, "{fewer:?}");
    assert_eq!(fewer.iter().filter(|it| it.applied).count(), steps.len() - 1);

    notes::product().schema().revert(db, 1_000).await.unwrap();
    assert!(notes::product().schema().status(db).await.unwrap().iter().all(all(false)));

    // Several at once take turns.
    let (one, other) = tokio::join!(
        notes::product().schema().migrate(db),
        notes::product().schema().migrate(other_db)
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(notes::product().schema().status(db).await.unwrap(), steps);
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    modern.tool("notes_list", serde_json::json!({})).await.result();
}

#[tokio::test]
async fn migrations_go_up_down_and_up_on_postgres() {
    up_down_up(Database::Postgres).await;
}

#[tokio::test]
async fn migrations_go_up_down_and_up_on_sqlite() {
    up_down_up(Database::Sqlite).await;
}
