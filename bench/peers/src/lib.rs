//! The statements of `notes_list` and `notes_create` as the product sends them, with sqlx alone.

use std::{
    collections::HashMap,
    env,
    fmt::Write as _,
    net::SocketAddr,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, SubsecRound as _, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions, types::Json};
use uuid::{NoContext, Timestamp, Uuid};

/// The product's own code, so that a created note has the same words.
#[path = "../../../notes/src/words/mod.rs"]
#[expect(dead_code, unused_imports, reason = "a search uses more of it")]
mod words;

const LIST: &str = r#"SELECT "notes"."id", "notes"."title", "notes"."tags", "notes"."created_at", "notes"."updated_at", substr("body", $1, $2) AS "excerpt" FROM "notes" WHERE "notes"."owner_sub" = $3 ORDER BY "notes"."created_at" DESC, "notes"."id" DESC LIMIT $4"#;

const INSERT: &str = "WITH bounds AS MATERIALIZED (
            SELECT set_config('lock_timeout', '1s', true)
        ), used AS MATERIALIZED (
            SELECT note_usage.notes, note_usage.bytes FROM bounds, note_usage
            WHERE owner_sub = $2 FOR UPDATE OF note_usage
        )
        INSERT INTO notes
            (id, owner_sub, title, body, tags, created_at, updated_at, search, search_version)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8::tsvector, $9 FROM used
        WHERE used.notes < $10 AND used.bytes + note_bytes($3, $5, $4) <= $11
        ON CONFLICT (id) DO NOTHING";

/// `NOTES_PER_PERSON` and, in bytes, `MEGABYTES_PER_PERSON`: never reached.
const QUOTA: (i64, i64) = (10_000_000, 1_000_000_000_000);

/// The maximum length of an excerpt, in characters.
const EXCERPT: usize = 200;

/// The arguments of `notes_list`.
#[derive(Deserialize, JsonSchema)]
pub struct ListInput {
    pub limit: u16,
}

/// The arguments of `notes_create`.
#[derive(Deserialize, JsonSchema)]
pub struct CreateInput {
    pub title: String,
    pub body: String,
}

/// The arguments of `echo`.
#[derive(Deserialize, JsonSchema)]
pub struct EchoInput {
    pub text: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Page {
    notes: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Summary {
    id: Uuid,
    title: String,
    excerpt: String,
    tags: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Serialize, JsonSchema)]
pub struct Note {
    id: Uuid,
    title: String,
    body: String,
    tags: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

type Row = (Uuid, String, Json<Vec<String>>, DateTime<Utc>, DateTime<Utc>, String);

/// The notes of one user, or of several users in turn.
#[derive(Clone)]
pub struct Notes {
    pool: PgPool,
    owners: Arc<[String]>,
    calls: Arc<AtomicUsize>,
}

impl Notes {
    /// Connects to `DATABASE_URL` at the first use. `USERS` is the number of users, 1 if it is absent.
    pub fn from_env() -> anyhow::Result<Self> {
        let url = env::var("DATABASE_URL").context("DATABASE_URL is missing")?;
        let options = PgPoolOptions::new().max_connections(10).test_before_acquire(false);
        let users = env::var("USERS").map_or(Ok(1), |users| users.parse())?;
        let others = (1..users).map(|number: usize| format!("dev:bench-{number}"));
        let owners = std::iter::once("dev:bench".to_owned()).chain(others).collect();
        Ok(Self { pool: options.connect_lazy(&url)?, owners, calls: Arc::default() })
    }

    /// The user of the next call.
    fn owner(&self) -> &str {
        &self.owners[self.calls.fetch_add(1, Ordering::Relaxed) % self.owners.len()]
    }

    pub async fn list(&self, input: ListInput) -> sqlx::Result<Page> {
        let limit = usize::from(input.limit);
        let mut rows: Vec<Row> = sqlx::query_as(LIST)
            .bind(1_i32)
            .bind(EXCERPT as i32 + 1)
            .bind(self.owner())
            .bind(limit as i64 + 1)
            .fetch_all(&self.pool)
            .await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|(id, .., created_at, _, _)| cursor(*created_at, *id));
        let notes = rows.into_iter().map(|(id, title, tags, created_at, updated_at, beginning)| {
            Summary { id, title, excerpt: excerpt(beginning), tags: tags.0, created_at, updated_at }
        });
        Ok(Page { notes: notes.collect(), next_cursor })
    }

    pub async fn create(&self, input: CreateInput) -> sqlx::Result<Note> {
        let now = Utc::now().trunc_subsecs(6);
        let seconds = now.timestamp().unsigned_abs();
        let time = Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos());
        let id = Uuid::new_v7(time);
        let CreateInput { title, body } = input;
        let owner = self.owner();
        let inserted = sqlx::query(INSERT)
            .bind(id)
            .bind(owner)
            .bind(&title)
            .bind(&body)
            .bind(Json(Vec::<String>::new()))
            .bind(now)
            .bind(now)
            .bind(vector(owner, &title, &body))
            .bind(1_i32)
            .bind(QUOTA.0)
            .bind(QUOTA.1)
            .execute(&self.pool)
            .await?;
        if inserted.rows_affected() == 0 {
            return Err(sqlx::Error::RowNotFound);
        }
        Ok(Note { id, title, body, tags: Vec::new(), created_at: now, updated_at: now })
    }
}

/// The words of a note without tags, in the syntax of `tsvector`.
fn vector(owner: &str, title: &str, body: &str) -> String {
    let mut positions: HashMap<String, String> = HashMap::new();
    let mut position = 0;
    for (text, weight) in [(title, "A"), (body, "")] {
        let _ = words::for_each_word(text, |word| {
            position += 1;
            let positions = positions.entry(word.lexeme.to_owned()).or_default();
            let separator = if positions.is_empty() { ':' } else { ',' };
            write!(positions, "{separator}{position}{weight}").expect("writes to a string");
            ControlFlow::Continue(())
        });
        position += 1;
    }
    let mut vector = format!("'={owner}'");
    for (word, positions) in &positions {
        write!(vector, " '{word}'{positions}").expect("writes to a string");
    }
    vector
}

fn excerpt(mut beginning: String) -> String {
    if let Some((end, _)) = beginning.char_indices().nth(EXCERPT) {
        beginning.truncate(end);
        beginning.pop();
        beginning.push('…');
    }
    beginning
}

fn cursor(created_at: DateTime<Utc>, id: Uuid) -> String {
    let mut bytes = [1; 25];
    bytes[1..9].copy_from_slice(&created_at.timestamp_micros().to_be_bytes());
    bytes[9..].copy_from_slice(id.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The address to listen on: `PORT` of 127.0.0.1.
pub fn address() -> anyhow::Result<SocketAddr> {
    let port = env::var("PORT").context("PORT is missing")?;
    Ok(([127, 0, 0, 1], port.parse()?).into())
}

/// Serves an axum application at [`address`].
pub async fn serve(app: axum::Router) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address()?).await?;
    // Otherwise each event stream waits 40 ms for an acknowledgement.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("{error}");
        }
    });
    axum::serve(listener, app).await?;
    Ok(())
}
