//! Old instances run beside new ones during a deploy, and again after one that was taken back: a
//! migration may only add, and a program has to work on a schema to which a later one has added.

use std::collections::{BTreeMap, BTreeSet};

use migration::MigratorTraitSelf as _;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use serde_json::json;
use tests::{
    github::GitHub,
    postgres,
    processes::{Kind, Plan},
};

/// What a program that was written for a schema relies on.
#[derive(Debug, Default)]
struct Schema {
    columns: BTreeMap<(String, String), Column>,
    /// Constraints and unique indexes, as table and definition.
    rules: BTreeSet<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    kind: String,
    nullable: bool,
    has_default: bool,
}

impl Schema {
    async fn of(db: &DatabaseConnection) -> Self {
        let rows = async |sql: &str| {
            let sql = Statement::from_string(db.get_database_backend(), sql);
            db.query_all_raw(sql).await.unwrap()
        };
        let columns = "SELECT table_name::text AS t, column_name::text AS c, data_type::text AS k, \
                is_nullable = 'YES' AS n, \
                column_default IS NOT NULL OR is_generated = 'ALWAYS' OR is_identity = 'YES' AS d \
            FROM information_schema.columns WHERE table_schema = 'public'";
        let rules = "SELECT conrelid::regclass::text AS t, pg_get_constraintdef(oid) AS r \
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace \
            UNION SELECT tablename::text, indexdef FROM pg_indexes \
            WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%'";
        let mut schema = Self::default();
        for row in rows(columns).await {
            let text = |name: &str| row.try_get::<String>("", name).unwrap();
            let is = |name: &str| row.try_get::<bool>("", name).unwrap();
            let column = Column { kind: text("k"), nullable: is("n"), has_default: is("d") };
            schema.columns.insert((text("t"), text("c")), column);
        }
        for row in rows(rules).await {
            let text = |name: &str| row.try_get::<String>("", name).unwrap();
            schema.rules.insert((text("t"), text("r")));
        }
        schema
    }

    fn has_table(&self, table: &str) -> bool {
        self.columns.keys().any(|(it, _)| it == table)
    }

    /// What of `later` a program that knows this schema would stumble over.
    fn broken_by(&self, later: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        for ((table, name), before) in &self.columns {
            match later.columns.get(&(table.clone(), name.clone())) {
                None => broken.push(format!("{table}.{name} is gone")),
                Some(after) if after.kind != before.kind => {
                    broken.push(format!("{table}.{name} has become {}", after.kind));
                }
                Some(after) if before.nullable && !after.nullable => {
                    broken.push(format!("{table}.{name} may not be absent any more"));
                }
                Some(_) => {}
            }
        }
        for ((table, name), column) in &later.columns {
            let is_new = !self.columns.contains_key(&(table.clone(), name.clone()));
            let is_optional = column.nullable || column.has_default;
            if self.has_table(table) && is_new && !is_optional {
                broken.push(format!("{table}.{name} has to be given"));
            }
        }
        for (table, rule) in later.rules.difference(&self.rules) {
            // One about columns that old programs leave absent is none for them.
            let is_new = |(it, name): &(String, String)| {
                it == table && !self.columns.contains_key(&(it.clone(), name.clone()))
            };
            let mut words = rule.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
            let spares_old = words
                .any(|word| later.columns.keys().any(|key| is_new(key) && key.1 == word))
                && !rule.contains("IS NOT NULL");
            if self.has_table(table) && !spares_old {
                broken.push(format!("{table} has a new rule: {rule}"));
            }
        }
        broken
    }
}

/// Migrations that came before there was anything to run beside.
const BEFORE_THE_FIRST_RELEASE: &[&str] = &["m20261122_000009_signing_key_rotation"];

#[tokio::test]
async fn a_migration_breaks_nothing_that_the_program_before_it_relies_on() {
    let url = postgres::fresh_database(&notes::product()).await;
    let db = Database::connect(&url).await.unwrap();
    notes::product().schema().revert(&db, 1_000).await.unwrap();
    let mut before = Schema::of(&db).await;
    for step in notes::product().schema().migrations() {
        notes::product().schema().up(&db, Some(1)).await.unwrap();
        let after = Schema::of(&db).await;
        let broken = before.broken_by(&after);
        let is_old = BEFORE_THE_FIRST_RELEASE.contains(&step.name());
        assert_eq!(broken.is_empty(), !is_old, "{}: {broken:#?}", step.name());
        before = after;
    }
    assert!(before.has_table("notes") && before.rules.len() > 10, "{before:?}");

    // It would be seen.
    for (change, seen) in [
        ("ALTER TABLE notes DROP COLUMN title CASCADE", "notes.title is gone"),
        ("ALTER TABLE users RENAME TO people", "users.sub is gone"),
        ("ALTER TABLE jobs ALTER COLUMN error SET NOT NULL", "jobs.error may not be absent"),
        ("ALTER TABLE jobs ALTER COLUMN attempt TYPE bigint", "jobs.attempt has become bigint"),
        ("ALTER TABLE jobs ADD COLUMN more text NOT NULL", "jobs.more has to be given"),
        ("ALTER TABLE jobs ADD CONSTRAINT few CHECK (attempt < 9)", "jobs has a new rule"),
    ] {
        let intact = Schema::of(&db).await;
        db.execute_unprepared(change).await.unwrap();
        let broken = intact.broken_by(&Schema::of(&db).await);
        assert!(broken.iter().any(|it| it.starts_with(seen)), "{change}: {broken:#?}");
    }
}

#[tokio::test]
async fn a_program_works_on_the_schema_of_a_later_one() {
    let url = postgres::fresh_database(&notes::product()).await;
    let db = Database::connect(&url).await.unwrap();
    let tables: BTreeSet<_> = Schema::of(&db).await.columns.into_keys().map(|it| it.0).collect();
    for table in tables.iter().filter(|it| *it != "seaql_migrations") {
        let add = format!(
            "ALTER TABLE {table} ADD COLUMN later text, ADD COLUMN much_later int DEFAULT 1"
        );
        db.execute_unprepared(&add).await.unwrap();
    }
    db.execute_unprepared(
        "CREATE TABLE of_later (id text PRIMARY KEY); \
         CREATE INDEX of_later_title ON notes (title, later); \
         INSERT INTO seaql_migrations VALUES ('m20990101_000001_later', 4070908800)",
    )
    .await
    .unwrap();

    // A deploy that is taken back runs `migrate up` of the older program first.
    notes::product().schema().migrate(&db).await.expect("there is nothing to do");
    assert!(notes::product().schema().status(&db).await.unwrap().iter().all(|it| it.applied));

    let github = GitHub::start().await;
    let mut fleet = Plan::new(Kind::Product(notes::product))
        .instances(1)
        .workers(1)
        .with_github(&github)
        .with("DATABASE_URL", &url)
        .start()
        .await;
    let browser = tests::browser::Browser::of(fleet.origin(), fleet.web(0));
    let app = tests::browser::ClientApp::register(fleet.web(0)).await;
    let tokens = app.connect(&browser).await;
    let refreshed = app.refresh(fleet.web(0), tokens["refresh_token"].as_str().unwrap()).await;
    let token = refreshed.json()["access_token"].as_str().unwrap().to_owned();
    let client = fleet.web(0).modern(token).with_capabilities(json!({}));
    let note = json!({ "title": "Tea", "body": "Green" });
    let id = client.tool("notes_create", note).await.output()["id"].clone();
    client.tool("notes_update", json!({ "id": id, "body": "Black" })).await.output();
    let found = client.tool("notes_search", json!({ "query": "black" })).await;
    assert_eq!(found.output()["notes"][0]["title"], "Tea");
    let text = json!([{ "title": "Jam" }]).to_string();
    let imported = client.tool("notes_import", json!({ "text": text })).await;
    assert_eq!(imported.output()["created"], 1);
    fleet.drain(0).await;
}
