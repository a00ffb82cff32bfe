//! How the databases find what they are asked for: by index, in one statement, however much other
//! people keep.

use std::sync::Mutex;

use app::App;
use async_trait::async_trait;
use notes::store::{self, Cursor, Listing, NoteId, PageSize, SearchQuery, Tag};
use platform::db::Database;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, TransactionTrait as _,
};

use super::{
    World, note, on_both,
    world::{beginning, user},
};

on_both!(
    of notes::product:
    every_question_is_one_statement_that_reads_no_table_from_end_to_end);

/// The index of words contains the owner, so no other index is read for it, and notes are joined by their place.
#[tokio::test]
async fn a_search_reads_one_index() {
    let world = World::postgres(&notes::product()).await;
    fill(&world.app).await;
    let asked = Explaining::new(world.app.db());
    for question in
        ["w17", "common", "common w17", "\"common word\"", "-w17", "absent", "库", "w17 库"]
    {
        let words = SearchQuery::parse(question).unwrap();
        store::search(&asked, &user("p1"), &words, PageSize::default()).await.unwrap();
        let plan = asked.plan(question).await;
        let scans: Vec<_> = plan.iter().filter(|line| line.contains("Index Scan")).collect();
        let reads_words = scans.len() == 1 && scans[0].contains("notes_search_index");
        assert!(reads_words, "{question}:\n{}", plan.join("\n"));
        // For a prefix, the index reads the entries of all people.
        let conditions: Vec<_> = plan.iter().filter(|line| line.contains("Index Cond")).collect();
        assert!(conditions.iter().all(|line| !line.contains(":*")), "{question}: {conditions:?}");
        let joined = plan.iter().any(|line| line.contains("Tid Scan"));
        assert!(joined, "{question}:\n{}", plan.join("\n"));
    }
}

/// Completion reads the titles, times and ids of a user from an index, not a page of the table for each note.
#[tokio::test]
async fn completion_reads_an_index_only() {
    let world = World::postgres(&notes::product()).await;
    fill(&world.app).await;
    let db = world.app.db().schema_connection().await.unwrap();
    db.execute_unprepared("VACUUM notes").await.unwrap();
    let asked = Explaining::new(world.app.db());
    for typed in ["title", "absent"] {
        store::complete_ids(&asked, &user("p1"), typed).await.unwrap();
        let ids = asked.plan("ids").await;
        store::complete_titles(&asked, &user("p1"), typed).await.unwrap();
        let titles = asked.plan("titles").await;
        for plan in [ids, titles] {
            let is_index_only = plan.iter().any(|line| line.contains("Index Only Scan"));
            assert!(is_index_only, "{typed}:\n{}", plan.join("\n"));
        }
    }
}

async fn every_question_is_one_statement_that_reads_no_table_from_end_to_end(world: World) {
    if world.is_postgres() {
        fill(&world.app).await;
    }
    let ada = user("p1");
    let asked = Explaining::new(world.app.db());
    let cursor: Cursor = first_page(&world).await;

    for cursor in [None, Some(cursor)] {
        for tag in [None, Some(Tag::parse("t3").unwrap())] {
            let listing = Listing { cursor, tag, ..Listing::default() };
            store::list(&asked, &ada, listing).await.unwrap();
            asked.reads_by_index("a list").await;
        }
    }
    for question in [
        "w17",             // in every fifteenth note of everybody
        "common",          // in every note of everybody
        "common w17 -w18", // some of each
        "\"common word\"",
        "w1 or w2",
        "-w17", // all but a few
        "absent",
    ] {
        let words = SearchQuery::parse(question).unwrap();
        store::search(&asked, &ada, &words, PageSize::default()).await.unwrap();
        asked.reads_by_index(question).await;
    }
    let id: NoteId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    assert!(store::get(&asked, &ada, id).await.is_err());
    asked.reads_by_index("one note").await;
    for typed in ["", "0000", "title"] {
        store::complete_ids(&asked, &ada, typed).await.unwrap();
        asked.reads_by_index("ids").await;
        store::complete_titles(&asked, &ada, typed).await.unwrap();
        asked.reads_by_index("titles").await;
    }
}

async fn first_page(world: &World) -> Cursor {
    let ada = user("p1");
    for _ in 0..2 {
        note(world, &ada, "Title", "common words", &["t3"]).await;
    }
    let listing = Listing { limit: PageSize::new(1).unwrap(), ..Listing::default() };
    let page = store::list(world.app.db(), &ada, listing).await.unwrap();
    page.next_cursor.expect("there are two notes")
}

/// Ten people, 1,500 notes each.
async fn fill(app: &App) {
    let start = beginning().to_rfc3339();
    // More rows than any statement of the product writes, so longer than one may take.
    let db = app.db().schema_connection().await.unwrap();
    let transaction = db.begin().await.unwrap();
    // VACUUM marks pages as visible to all only if the commit is on disk.
    let settings = "SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = on";
    transaction.execute_unprepared(settings).await.unwrap();
    let sql = format!(
        "INSERT INTO notes (id, owner_sub, title, body, tags, created_at, updated_at)
         SELECT gen_random_uuid(), 'dev:p' || n % 10, 'Title ' || n,
             'a common word, and w' || n % 150 || ' w' || n % 151,
             jsonb_build_array('t' || n % 7),
             '{start}'::timestamptz - n * interval '1 second', '{start}'::timestamptz
         FROM generate_series(1, 15000) AS n;
         ANALYZE notes;"
    );
    transaction.execute_unprepared(&sql).await.unwrap();
    transaction.commit().await.unwrap();
}

/// A connection that remembers what it was asked.
struct Explaining<'a> {
    db: &'a Database,
    asked: Mutex<Vec<Statement>>,
}

impl<'a> Explaining<'a> {
    fn new(db: &'a Database) -> Self {
        Self { db, asked: Mutex::default() }
    }

    /// The plan of the one statement that was asked since the last time.
    async fn plan(&self, what: &str) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().expect("nobody panics with it"));
        let [statement] = &asked[..] else { panic!("{what} takes {} statements", asked.len()) };
        let postgres = self.db.get_database_backend() == DbBackend::Postgres;
        let explain = if postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
        let mut explained = statement.clone();
        explained.sql = format!("{explain} {}", statement.sql);
        let column = if postgres { "QUERY PLAN" } else { "detail" };
        let rows = self.db.query_all_raw(explained).await.unwrap();
        rows.iter().map(|row| row.try_get("", column).unwrap()).collect()
    }

    /// Checks the plan of the one statement that was asked since the last time.
    async fn reads_by_index(&self, what: &str) {
        let plan = self.plan(what).await;
        let postgres = self.db.get_database_backend() == DbBackend::Postgres;
        let whole = |line: &String| {
            if postgres {
                line.contains("Seq Scan")
            } else {
                // A virtual table is always scanned, by its own index; so is what was found.
                line.starts_with("SCAN notes") && !line.contains("VIRTUAL TABLE")
            }
        };
        assert!(!plan.iter().any(whole), "{what}:\n{}", plan.join("\n"));
    }
}

#[async_trait]
impl ConnectionTrait for Explaining<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.asked.lock().expect("nobody panics with it").push(statement.clone());
        self.db.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.db.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.asked.lock().expect("nobody panics with it").push(statement.clone());
        self.db.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.asked.lock().expect("nobody panics with it").push(statement.clone());
        self.db.query_all_raw(statement).await
    }
}
