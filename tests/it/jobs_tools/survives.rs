//! An import of 10,000 notes while everything that could run it is killed, and its client follows.

use std::time::{Duration, Instant};

use rand::{RngExt as _, seq::SliceRandom as _};
use serde_json::{Value, json};
use tests::{
    client::Stream,
    processes::{Fleet, Kind, Plan},
    schema::Revision,
};

use super::titles;

const NOTES: usize = 10_000;

/// How long the client listens to a stream that says nothing before it comes back for the rest.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the client follows before the test fails. A job whose worker was killed is taken over
/// after its lease, so each round of deaths costs most of a minute.
const PATIENCE: Duration = Duration::from_mins(6);

#[tokio::test]
async fn ten_thousand_notes_are_imported_whatever_dies() {
    let mut fleet = Plan::new(Kind::Product).workers(2).start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).modern(token.clone()).with_capabilities(json!({}));
    let session = fleet.web(0).legacy_with(token, Revision::November2025, json!({})).await;
    let notes: Vec<Value> = (0..NOTES)
        .map(|it| json!({ "title": format!("Note {it:05}"), "body": format!("Number {it}.") }))
        .collect();
    let call = json!({
        "name": "notes_import",
        "arguments": { "text": Value::Array(notes).to_string() },
        "_meta": { "progressToken": "import" },
    });
    // At the first sign of life, and somewhere later.
    let mut deaths = vec![f64::from(rand::rng().random_range(2_000..9_000)), 1.0];
    let deadline = Instant::now() + PATIENCE;

    let mut stream = session.open("tools/call", call).await;
    let mut seen = String::new();
    // The first progress of a job is 0: it has begun.
    let mut done = -1.0;
    let result = loop {
        assert!(Instant::now() < deadline, "{done} notes after {PATIENCE:?}");
        let Some(event) = next(&mut stream).await else {
            let anywhere = rand::rng().random_range(0..fleet.len());
            stream = session.at(fleet.web(anywhere)).resume(&seen).await;
            continue;
        };
        seen = event.id.unwrap_or(seen);
        let Some(message) = event.message else { continue };
        if let Some(result) = message.get("result") {
            break result.clone();
        }
        assert!(message.get("error").is_none(), "{message:#}");
        let Some(progress) = message["params"]["progress"].as_f64() else { continue };
        assert!(progress > done, "{progress} after {done}");
        done = progress;
        if deaths.last().is_some_and(|it| *it <= done) {
            deaths.pop();
            kill_everybody(&mut fleet).await;
            let listed = ada.tool("jobs_list", json!({})).await;
            let status = &listed.output()["jobs"][0]["status"];
            assert_ne!(status, "failed", "{}", listed.output());
        }
    };
    assert!(deaths.is_empty(), "nobody died at {deaths:?}");
    assert_eq!(result["structuredContent"]["created"], NOTES, "{result:#}");
    let expected: Vec<_> = (0..NOTES).map(|it| format!("Note {it:05}")).collect();
    assert_eq!(titles(&ada).await, expected, "each exactly once");
}

/// The next event; nothing when the stream has ended or says nothing for a while.
async fn next(stream: &mut Stream) -> Option<tests::client::Event> {
    tokio::time::timeout(SILENCE, stream.next()).await.ok().flatten()
}

/// `kill -9` for all instances and all workers, in any order; then all are started again.
async fn kill_everybody(fleet: &mut Fleet) {
    #[derive(Clone, Copy)]
    enum Victim {
        Instance(usize),
        Worker(usize),
    }
    let instances = (0..fleet.len()).map(Victim::Instance);
    let mut victims: Vec<_> = instances.chain((0..2).map(Victim::Worker)).collect();
    victims.shuffle(&mut rand::rng());
    for victim in &victims {
        match *victim {
            Victim::Instance(index) => fleet.kill(index).await,
            Victim::Worker(index) => fleet.worker(index).kill().await,
        }
    }
    for victim in victims {
        match victim {
            Victim::Instance(index) => fleet.start_again(index).await,
            Victim::Worker(index) => fleet.worker(index).start_again(),
        }
    }
}
