//! What users write is encrypted wherever it only passes through: in Redis, and in the queue of jobs.

use std::{
    fmt::Write as _,
    sync::{Arc, LazyLock, Mutex},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use futures_util::StreamExt as _;
use redis::{Client, Value as Stored, aio::MultiplexedConnection};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use tests::{
    client::{Event, Legacy, Stream},
    cluster::{Cluster, Database, Setup},
    eventually,
    redis::Server,
    schema::Revision,
};

/// A word in every title, body, argument and answer of the story.
const MARKER: &str = "zwetschgenknoedelrezept";

/// The columns of a job that hold content.
const COLUMNS: [&str; 7] =
    ["arguments", "answers", "questions", "checkpoint", "outcome", "message", "error"];

/// The tables that are not searched, with the reason.
const EXCLUDED: [(&str, &str); 4] = [
    ("notes", "the product's own table: the notes, in plain text, because SQL searches them"),
    ("exports", "downloads: kept for an hour, until the user has fetched them"),
    ("export_chunks", "downloads"),
    ("written", "of this test; searched row by row"),
];

const OLD: &str = "an-old-secret-of-more-than-thirty-two-bytes";
const NEW: &str = "a-new-secret-of-more-than-thirty-two-bytes";

fn sampled() -> Value {
    let content = json!({ "type": "text", "text": format!("About {MARKER}.") });
    json!({ "role": "assistant", "model": "theirs", "content": content })
}

fn document() -> String {
    json!([{ "title": MARKER, "body": format!("Plums and {MARKER}"), "tags": [MARKER] }])
        .to_string()
}

fn import() -> Value {
    json!({
        "name": "notes_import",
        "arguments": { "text": document() },
        "_meta": { "progressToken": "import" },
    })
}

#[expect(clippy::needless_pass_by_value, reason = "each test writes the content in the call")]
fn accepted(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

/// The next question of a stream.
async fn question(stream: &mut Stream) -> Event {
    loop {
        let event = stream.next_message().await;
        if event.message.as_ref().is_some_and(|it| it.get("id").is_some()) {
            return event;
        }
    }
}

/// Answers a question at one instance and returns what else the stream says at another one.
async fn answer(
    asked: &Event,
    result: Value,
    answering: &Legacy,
    following: &Legacy,
) -> Vec<Value> {
    let mut stream = following.resume(asked.id.as_deref().unwrap()).await;
    let message = asked.message.as_ref().unwrap();
    assert_eq!(answering.respond(message, result).await, 202);
    stream.rest().await.into_iter().filter_map(|event| event.message).collect()
}

/// Records every version of every job in the table `written`, because a row keeps its content only for a while.
async fn record_jobs(cluster: &Cluster) {
    let sql = "CREATE TABLE written (line text);
        CREATE FUNCTION record_job() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO written VALUES (to_jsonb(NEW)::text); RETURN NEW; END';
        CREATE TRIGGER record_job AFTER INSERT OR UPDATE ON jobs
            FOR EACH ROW EXECUTE FUNCTION record_job()";
    cluster.app().db().execute_unprepared(sql).await.unwrap();
}

/// The first column of all rows.
async fn lines(cluster: &Cluster, sql: &str) -> Vec<String> {
    let db = cluster.app().db();
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get("", "line").unwrap()).collect()
}

/// All bytes of a reply.
fn flatten(value: Stored, bytes: &mut Vec<u8>) {
    match value {
        Stored::BulkString(text) => bytes.extend(text),
        Stored::SimpleString(text) => bytes.extend(text.into_bytes()),
        Stored::Array(values) | Stored::Set(values) => {
            for value in values {
                flatten(value, bytes);
            }
        }
        Stored::Map(fields) => {
            for (name, value) in fields {
                flatten(name, bytes);
                flatten(value, bytes);
            }
        }
        Stored::Nil | Stored::Int(_) | Stored::Okay | Stored::Double(_) => {}
        other => panic!("an unexpected reply: {other:?}"),
    }
}

/// All keys and values of a server.
async fn dump(redis: &mut MultiplexedConnection) -> Vec<u8> {
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query_async(redis).await.unwrap();
    let mut dumped = Vec::new();
    for key in keys {
        dumped.extend(key.as_bytes());
        let kind: String = ::redis::cmd("TYPE").arg(&key).query_async(redis).await.unwrap();
        let mut read = match kind.as_str() {
            "string" => ::redis::cmd("GET"),
            "hash" => ::redis::cmd("HGETALL"),
            "set" => ::redis::cmd("SMEMBERS"),
            "zset" => ::redis::cmd("ZRANGE"),
            "stream" => ::redis::cmd("XRANGE"),
            "none" => continue,
            other => panic!("{key} is a {other}"),
        };
        read.arg(&key);
        match kind.as_str() {
            "zset" => drop(read.arg(0).arg(-1)),
            "stream" => drop(read.arg("-").arg("+")),
            _ => {}
        }
        flatten(read.query_async(redis).await.unwrap(), &mut dumped);
    }
    dumped
}

/// Whether the marker occurs, as it is, in hexadecimal, or within something in base64.
fn tells(bytes: &[u8]) -> bool {
    static FORMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(forms);
    FORMS.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// The forms in which the marker may occur.
fn forms() -> Vec<Vec<u8>> {
    let mut hexadecimal = String::new();
    for byte in MARKER.bytes() {
        write!(hexadecimal, "{byte:02x}").expect("a text accepts everything");
    }
    let mut forms = vec![MARKER.as_bytes().to_vec(), hexadecimal.into_bytes()];
    for before in 0..3 {
        let text = [&vec![0; before][..], MARKER.as_bytes()].concat();
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            // Without the characters that depend on the neighbors.
            let inner = &encoded.as_bytes()[(before * 8).div_ceil(6)..encoded.len() - 1];
            forms.push(inner.to_vec());
        }
    }
    forms
}

/// The commands that a server receives from now on, with those of its scripts.
async fn monitor(client: &Client) -> Arc<Mutex<Vec<String>>> {
    let monitor = client.get_async_monitor().await.unwrap();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let into = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut lines = monitor.into_on_message::<String>();
        while let Some(line) = lines.next().await {
            into.lock().unwrap().push(line);
        }
    });
    seen
}

#[test]
fn the_marker_is_found_in_every_form() {
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{MARKER} and more");
        assert!(tells(text.as_bytes()) && tells(STANDARD_NO_PAD.encode(&text).as_bytes()));
        assert!(tells(URL_SAFE_NO_PAD.encode(text).as_bytes()));
    }
    assert!(!tells(b"something else"));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_the_queue_never_see_what_a_user_writes() {
    let server = Server::start().await;
    let setup = Setup::new(Database::Postgres).product(notes::product).instances(2).workers(1);
    let cluster = setup.on_redis_at(server.url()).start().await;
    record_jobs(&cluster).await;
    let client = Client::open(server.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let seen = monitor(&client).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).legacy(&token, Revision::November2025).await;
    let elsewhere = ada.at(cluster.web(1));

    let draft = json!({ "title": MARKER, "body": "Plums", "tags": [MARKER] });
    let note = ada.tool("notes_create", draft).await.output()["id"].clone();
    let found = ada.tool("notes_search", json!({ "query": MARKER })).await;
    assert_eq!(found.output()["notes"][0]["title"], MARKER);

    // A question of a call, answered at another instance.
    let delete = json!({ "name": "notes_delete", "arguments": { "id": note } });
    let mut stream = ada.open("tools/call", delete).await;
    let asked = question(&mut stream).await;
    assert!(asked.message.as_ref().unwrap().to_string().contains(MARKER));
    drop(stream);
    assert!(!tells(&dump(&mut redis).await), "a call waits");
    let rest = answer(&asked, accepted(json!({ "confirm": false })), &ada, &elsewhere).await;
    assert!(rest.last().unwrap()["result"].is_object(), "{rest:?}");

    // A job that asks, with progress.
    let mut stream = ada.open("tools/call", import()).await;
    let asked = question(&mut stream).await;
    drop(stream);
    assert!(!tells(&dump(&mut redis).await), "a job waits");
    let keep = accepted(json!({ "existing": "keep_both" }));
    let rest = answer(&asked, keep, &ada, &elsewhere).await;
    assert_eq!(rest.last().unwrap()["result"]["structuredContent"]["created"], 1, "{rest:?}");

    // A job with the content of notes in its question, its answer and its result.
    let digest = json!({ "name": "notes_digest", "arguments": { "tag": MARKER } });
    let mut stream = ada.open("tools/call", digest).await;
    let asked = question(&mut stream).await;
    assert!(asked.message.as_ref().unwrap().to_string().contains("Plums"));
    drop(stream);
    let rest = answer(&asked, sampled(), &elsewhere, &ada).await;
    assert!(rest.last().unwrap().to_string().contains(MARKER), "{rest:?}");

    // Cancelled while they wait for an answer: a call, and a job.
    for call in [json!({ "name": "notes_delete", "arguments": { "id": note } }), import()] {
        let cancelled = ada.body("tools/call", call);
        let mut stream = ada.send(&cancelled).await;
        question(&mut stream).await;
        drop(stream);
        let reason = format!("No more {MARKER}");
        let params = json!({ "requestId": cancelled["id"], "reason": reason });
        assert_eq!(elsewhere.notify("notifications/cancelled", params).await, 202);
    }
    assert!(!tells(&dump(&mut redis).await), "calls were cancelled");

    // A modern client brings back the state of its call, and of its job.
    let asking = cluster.web(0).modern(&token);
    let delete = json!({ "name": "notes_delete", "arguments": { "id": note } });
    for (call, key, content) in [
        (delete, "confirm", json!({ "confirm": false })),
        (import(), "existing", json!({ "existing": "skip" })),
    ] {
        let asked = asking.call("tools/call", call.clone()).await;
        let questions = asked.result()["inputRequests"].to_string();
        assert!(questions.contains(MARKER), "{questions}");
        assert!(!tells(&dump(&mut redis).await), "a modern call waits");
        let state = asked.result()["requestState"].as_str().unwrap();
        assert!(!tells(state.as_bytes()), "{state}");
        let mut again = call;
        again["requestState"] = state.into();
        again["inputResponses"] = json!({ key: accepted(content) });
        asking.at(cluster.web(1)).call("tools/call", again).await.output();
    }

    // The other ways to wait for a job: an open call, whose messages are on the bus, and a task.
    let modern = cluster.web(1).modern(&token).with_capabilities(json!({}));
    modern.call("tools/call", import()).await.output();
    let task = cluster.web(0).modern(&token).with_capabilities(json!({})).with_tasks();
    let export = task.tool("notes_export", json!({ "tag": MARKER })).await;
    let id = export.result()["taskId"].clone();
    eventually("the export is done", async || {
        let read = task.call("tasks/get", json!({ "taskId": id })).await;
        (read.result()["status"] == "completed").then_some(())
    })
    .await;

    assert!(!tells(&dump(&mut redis).await), "after everything");
    let seen = seen.lock().unwrap().clone();
    for command in ["EVALSHA", "XADD", "PUBLISH", "JobChanged"] {
        assert!(seen.iter().any(|line| line.contains(command)), "{command} was not seen");
    }
    for line in &seen {
        assert!(!tells(line.as_bytes()), "{line}");
    }
    let written = lines(&cluster, "SELECT line FROM written").await;
    for line in &written {
        assert!(!tells(line.as_bytes()), "{line}");
        let job: Value = serde_json::from_str(line).unwrap();
        for column in COLUMNS {
            let value = &job[column];
            let sealed = value.as_str().is_none_or(|text| text.starts_with("sealed:1:"));
            assert!(sealed, "{column}: {value}");
        }
    }
    for column in ["arguments", "answers", "questions", "checkpoint", "outcome"] {
        let used = written.iter().any(|line| line.contains(&format!("\"{column}\": \"sealed:1:")));
        assert!(used, "no job had {column}");
    }
    let sql = "SELECT table_name::text AS line FROM information_schema.tables
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let tables = lines(&cluster, sql).await;
    assert!(tables.contains(&"jobs".to_owned()), "{tables:?}");
    for table in tables {
        let rows = format!("SELECT to_jsonb(t)::text AS line FROM {table} t");
        let rows = lines(&cluster, &rows).await;
        let told = rows.iter().any(|row| tells(row.as_bytes()));
        match EXCLUDED.iter().find(|(excluded, _)| *excluded == table) {
            None => assert!(!told, "{table}"),
            Some((_, reason)) if table == "notes" => assert!(told, "{table}: {reason}"),
            Some(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_in_flight_survive_a_change_of_the_secret() {
    let server = Server::start().await;
    let setup = Setup::new(Database::Postgres).product(notes::product).workers(1);
    // The first step of a rotation: everything can open what the new secret seals.
    let setup = setup.with("JWT_SIGNING_SECRET", format!("{OLD},{NEW}"));
    let mut cluster = setup.on_redis_at(server.url()).start().await;
    let changed = format!("{NEW},{OLD}");
    let second = cluster.join(&[("JWT_SIGNING_SECRET", &changed)]).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let after = ada.at(cluster.web(second));
    let draft = json!({ "title": MARKER, "body": "Plums" });
    let note = ada.tool("notes_create", draft).await.output()["id"].clone();

    for (asking, answering) in [(&ada, &after), (&after, &ada)] {
        // A call, and a job whose worker has not got the second step yet.
        let delete = json!({ "name": "notes_delete", "arguments": { "id": note } });
        let mut stream = asking.open("tools/call", delete).await;
        let asked = question(&mut stream).await;
        drop(stream);
        let refused = accepted(json!({ "confirm": false }));
        let rest = answer(&asked, refused, answering, answering).await;
        assert!(rest.last().unwrap()["result"].is_object(), "{rest:?}");

        let mut stream = asking.open("tools/call", import()).await;
        let asked = question(&mut stream).await;
        drop(stream);
        let keep = accepted(json!({ "existing": "skip" }));
        let rest = answer(&asked, keep, answering, answering).await;
        let done = &rest.last().unwrap()["result"]["structuredContent"];
        assert_eq!(done["skipped"], 1, "{rest:?}");
    }
}

/// A process with another secret, as after a change in one step.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_the_key_asks_clients_to_call_again() {
    let server = Server::start().await;
    let setup = Setup::new(Database::Postgres).product(notes::product).workers(1);
    let mut cluster = setup.on_redis_at(server.url()).start().await;
    let stranger = cluster.join(&[("JWT_SIGNING_SECRET", NEW)]).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).legacy(&token, Revision::November2025).await;
    let elsewhere = ada.at(cluster.web(stranger));
    let note = ada.tool("notes_create", json!({ "title": MARKER, "body": "" })).await;
    let note = note.output()["id"].clone();

    // Its session is there, and the stream of its call has expired.
    let delete = json!({ "name": "notes_delete", "arguments": { "id": note } });
    let mut stream = ada.open("tools/call", delete.clone()).await;
    let asked = question(&mut stream).await;
    drop(stream);
    let first = format!("{}.0", asked.id.as_deref().unwrap().rsplit_once('.').unwrap().0);
    let mut refused = elsewhere.get(Some(&first)).await;
    assert_eq!(refused.status(), 400);
    let error = refused.message().await;
    assert!(error["error"]["message"].as_str().unwrap().contains("call again"), "{error}");
    let mut replayed = ada.resume(&first).await;
    assert_eq!(question(&mut replayed).await.id, asked.id);

    // Its answer cannot be read: the call ends with an error.
    let agreed = accepted(json!({ "confirm": true }));
    assert_eq!(elsewhere.respond(asked.message.as_ref().unwrap(), agreed).await, 202);
    let rest: Vec<_> = replayed.rest().await.into_iter().filter_map(|it| it.message).collect();
    let error = rest.last().unwrap()["error"]["message"].as_str().unwrap();
    assert!(error.contains("the call was lost"), "{rest:?}");
    ada.tool("notes_get", json!({ "id": note })).await.output();

    // A job that it queued fails at once, and a call that it serves alone goes on.
    let modern = cluster.web(stranger).modern(&token).with_capabilities(json!({}));
    let failed = modern.call("tools/call", import()).await;
    assert!(failed.tool_error().contains("can no longer read"), "{}", failed.tool_error());
    let listed = modern.tool("jobs_list", json!({})).await;
    assert_eq!(listed.output()["jobs"][0]["status"], "failed", "{:?}", listed.output());
    let mut stream = elsewhere.open("tools/call", delete).await;
    let asked = question(&mut stream).await;
    let kept = accepted(json!({ "confirm": false }));
    assert_eq!(elsewhere.respond(asked.message.as_ref().unwrap(), kept).await, 202);
    let rest = stream.rest().await;
    let answer = rest.last().unwrap().message.as_ref().unwrap();
    assert_eq!(answer["result"]["structuredContent"]["deleted"], false, "{answer}");
}
