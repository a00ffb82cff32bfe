//! Notes that a program of the version before has written: before the migration, beside this version,
//! and after a deploy that was taken back.

use migration::MigratorTraitSelf as _;
use notes::store::{self, Changes, NoteId, PageSize, SearchQuery, Title, index};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use super::{World, draft, note, on_both, user, world::beginning};

on_both!(
    of notes::product:
    notes_from_before_the_migration_are_found,
    what_an_old_instance_writes_is_found,
    the_worker_indexes_what_is_left,
    notes_that_change_while_they_are_indexed_are_found_as_they_are,
    an_old_instance_finds_what_a_new_one_writes,
    a_migration_that_is_taken_back_finds_everything,
);

/// How the version before writes a note.
async fn insert(world: &World, owner: &str, title: &str, body: &str) -> NoteId {
    let id: NoteId =
        format!("00000000-0000-7000-8000-{:012x}", rand::random::<u32>()).parse().unwrap();
    let now = beginning();
    let sql = "INSERT INTO notes (id, owner_sub, title, body, tags, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body";
    let tags = serde_json::json!(["old"]);
    let owner = format!("dev:{owner}");
    let values =
        [id.into(), owner.into(), title.into(), body.into(), tags.into(), now.into(), now.into()];
    execute(world, sql, values).await;
    id
}

async fn update(world: &World, id: NoteId, body: &str) {
    execute(world, "UPDATE notes SET body = $1 WHERE id = $2", [body.into(), id.into()]).await;
}

async fn execute<const N: usize>(world: &World, sql: &str, values: [sea_orm::Value; N]) {
    let db = world.app.db();
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.execute_raw(statement).await.unwrap();
}

async fn found(world: &World, question: &str) -> Vec<String> {
    let words = SearchQuery::parse(question).unwrap();
    let hits = store::find(world.app.state(), &user("ada"), &words, PageSize::default()).await;
    let mut titles: Vec<_> = hits.unwrap().notes.into_iter().map(|it| it.title).collect();
    titles.sort();
    titles
}

async fn notes_from_before_the_migration_are_found(world: World) {
    notes::product()
        .schema()
        .down(&world.app.db().schema_connection().await.unwrap(), Some(1))
        .await
        .unwrap();
    insert(&world, "ada", "Kaffee", "Das Café in Zürich, 数据库迁移").await;
    insert(&world, "ada", "Files", "report_final.pdf").await;
    insert(&world, "eve", "Hers", "Das Café in Zürich").await;
    notes::product()
        .schema()
        .migrate(&world.app.db().schema_connection().await.unwrap())
        .await
        .unwrap();

    for (question, title) in [("cafe", "Kaffee"), ("数据库", "Kaffee"), ("report", "Files")] {
        assert_eq!(found(&world, question).await, [title], "{question}");
    }
    let list = store::Listing { tag: store::Tag::parse("old").ok(), ..Default::default() };
    let page = store::list(world.app.db(), &user("ada"), list).await.unwrap();
    assert_eq!(page.notes.len(), 2, "a tag is found before and after");
}

async fn what_an_old_instance_writes_is_found(world: World) {
    let id = insert(&world, "ada", "Old", "first words").await;
    let new = note(&world, &user("ada"), "New", "other words", &[]).await;
    assert_eq!(found(&world, "words").await, ["New", "Old"]);

    update(&world, id, "naïve thoughts").await;
    update(&world, new.id, "naïve ideas").await;
    assert_eq!(found(&world, "naive").await, ["New", "Old"]);
    assert_eq!(found(&world, "words").await, [""; 0]);

    let changes = Changes { title: Title::parse("Newer").ok(), ..Changes::default() };
    store::update(world.app.state(), &user("ada"), new.id, changes).await.unwrap();
    assert_eq!(found(&world, "naive newer").await, ["Newer"]);

    execute(&world, "DELETE FROM notes WHERE id = $1", [id.into()]).await;
    assert_eq!(found(&world, "naive").await, ["Newer"]);
}

async fn the_worker_indexes_what_is_left(world: World) {
    for number in 0..index::REFRESH_BATCH + 3 {
        insert(&world, &format!("person{}", number % 7), "Old", "naïve").await;
    }
    insert(&world, "ada", "Mine", "naïve").await;
    assert_eq!(index::refresh(world.app.state()).await.unwrap(), index::REFRESH_BATCH);
    assert_eq!(index::refresh(world.app.state()).await.unwrap(), 4);
    assert_eq!(index::refresh(world.app.state()).await.unwrap(), 0);
    let words = SearchQuery::parse("naive").unwrap();
    let hits = store::search(world.app.db(), &user("ada"), &words, PageSize::default()).await;
    assert_eq!(hits.unwrap().notes.len(), 1);
}

async fn notes_that_change_while_they_are_indexed_are_found_as_they_are(world: World) {
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(insert(&world, "ada", &format!("Note {number}"), "naïve before").await);
    }
    let other = world.another().await;
    let refresh = async |app| {
        for _ in 0..10 {
            index::refresh(app).await.unwrap();
        }
    };
    let change = async {
        for id in &ids {
            update(&world, *id, "naïve after").await;
        }
    };
    tokio::join!(refresh(world.app.state()), refresh(other.state()), change);
    while index::refresh(world.app.state()).await.unwrap() > 0 {}
    assert_eq!(found(&world, "naive after").await.len(), 20);
    assert_eq!(found(&world, "before").await, [""; 0]);
}

/// The question of the version before, with what it has to find.
async fn an_old_instance_finds_what_a_new_one_writes(world: World) {
    note(&world, &user("ada"), "Coffee beans", "We are meeting often", &["drinks"]).await;
    note(&world, &user("eve"), "Coffee", "meeting", &[]).await;
    let db = world.app.db();
    for question in ["coffee", "meetings", "drinks", "we often"] {
        let statement = if world.is_postgres() {
            let sql = "SELECT title FROM notes WHERE owner_sub = $1 AND search @@ \
                ($2::tsquery && websearch_to_tsquery('notes_words', $3))";
            let values = ["dev:ada".into(), "'=dev:ada'".into(), question.into()];
            Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
        } else {
            let sql = "SELECT notes.title FROM notes_search \
                JOIN notes ON notes.row = notes_search.rowid \
                WHERE notes_search MATCH ? AND notes.owner_sub = ?";
            let values = [question.into(), "dev:ada".into()];
            Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
        };
        let rows = db.query_all_raw(statement).await.unwrap();
        assert_eq!(rows.len(), 1, "{question}");
        let title: String = rows[0].try_get("", "title").unwrap();
        assert_eq!(title, "Coffee beans");
    }
}

async fn a_migration_that_is_taken_back_finds_everything(world: World) {
    let ada = user("ada");
    let app = &world.app;
    store::create(app.state(), &ada, draft("Kept", "naïve words", &["tag"])).await.unwrap();
    notes::product()
        .schema()
        .down(&app.db().schema_connection().await.unwrap(), Some(1))
        .await
        .unwrap();
    insert(&world, "ada", "Old", "more words").await;
    notes::product().schema().migrate(&app.db().schema_connection().await.unwrap()).await.unwrap();
    assert_eq!(found(&world, "words").await, ["Kept", "Old"]);
    assert_eq!(found(&world, "naive").await, ["Kept"]);
}
