//! `bench-streams` measures the memory per session and per open stream of an instance, and how soon a
//! client that resumes a stream at another instance gets the missed event. It uses two instances with a
//! private PostgreSQL and a private Redis.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tests::{
    client::{Legacy, Stream, Web},
    processes::{Fleet, Kind, Plan},
    schema::Revision,
};

/// Sessions before the measurement, so that one-time allocations are not counted.
const WARM_UP: usize = 2_000;
/// Sessions without an open stream.
const SESSIONS: usize = 10_000;
/// Open streams of one instance.
const STREAMS: usize = 5_000;
/// Calls whose client resumes at another instance.
const RESUMES: usize = 500;
/// Whose they all are: so many that nobody has more sessions than one person may.
const PEOPLE: usize = 300;
/// Concurrent clients.
const CLIENTS: usize = 32;

const REVISION: Revision = Revision::November2025;

pub(crate) async fn main() -> anyhow::Result<()> {
    let mut fleet = Plan::new(Kind::Fixtures).instances(2).with("LOG", "warn").start().await;
    let mut tokens = Vec::new();
    for person in 0..PEOPLE {
        tokens.push(fleet.token(&format!("p{person}")).await);
    }
    sessions(fleet.web(0), &tokens, WARM_UP).await;

    for _ in 0..2 {
        let before = memory(&mut fleet)?;
        sessions(fleet.web(0), &tokens, SESSIONS).await;
        let grown = memory(&mut fleet)? - before;
        println!("{SESSIONS} sessions without a socket: {} bytes each", grown / signed(SESSIONS));
    }

    let sessions = sessions(fleet.web(0), &tokens, STREAMS).await;
    for _ in 0..2 {
        let before = memory(&mut fleet)?;
        let streams = listening(&sessions).await;
        let grown = memory(&mut fleet)? - before;
        println!("{STREAMS} open streams: {} bytes each", grown / signed(STREAMS));
        drop(streams);
        closed(&fleet).await;
    }

    let mut taken = Vec::with_capacity(RESUMES);
    let ada = fleet.web(0).legacy(&tokens[0], REVISION).await;
    let elsewhere = ada.at(fleet.web(1));
    let draft = json!({ "title": "Tea", "body": "Two minutes." });
    let item = ada.tool("items_create", draft).await.output()["id"].clone();
    for _ in 0..RESUMES {
        taken.push(resumed(&ada, &elsewhere, json!({ "id": item })).await?);
    }
    taken.sort();
    let at = |part: usize| taken[(RESUMES * part / 100).min(RESUMES - 1)].as_secs_f64() * 1_000.0;
    println!(
        "from coming back at another instance to the event that was missed, {RESUMES} times: p50 \
         {:.1} ms, p99 {:.1} ms",
        at(50),
        at(99)
    );
    Ok(())
}

/// Initializes `count` sessions.
async fn sessions(web: &Web, tokens: &[String], count: usize) -> Vec<Legacy> {
    stream::iter(0..count)
        .map(|n| web.legacy_with(&tokens[n % tokens.len()], REVISION, json!({})))
        .buffer_unordered(CLIENTS)
        .collect()
        .await
}

/// Opens the stream of every session, and waits for the first event of each.
async fn listening(sessions: &[Legacy]) -> Vec<Stream> {
    stream::iter(sessions)
        .map(|session| async {
            let mut stream = session.listen().await;
            stream.next().await.expect("a stream begins with something to come back to");
            stream
        })
        .buffer_unordered(CLIENTS)
        .collect()
        .await
}

/// Waits until the instance has closed its ends of the streams.
async fn closed(fleet: &Fleet) {
    let port = fleet.ports()[0];
    tests::eventually("the connections are closed", async || {
        let tables = fs::read_to_string("/proc/net/tcp").ok()?;
        let local = format!(":{port:04X} ");
        let open = tables.lines().filter(|line| {
            let mut columns = line.split_whitespace().skip(1);
            // 01 is ESTABLISHED.
            let (ours, _, state) = (columns.next(), columns.next(), columns.next());
            ours.is_some_and(|it| format!("{it} ").ends_with(&local)) && state == Some("01")
        });
        (open.count() < CLIENTS * 2).then_some(())
    })
    .await;
}

/// Loses the connection of a call after its question, and returns the time from the resumption at another
/// instance to that question.
async fn resumed(
    ada: &Legacy,
    elsewhere: &Legacy,
    arguments: serde_json::Value,
) -> anyhow::Result<Duration> {
    let call = json!({ "name": "items_delete", "arguments": arguments });
    let mut stream = ada.open("tools/call", call).await;
    let first = stream.next().await.context("the stream begins")?;
    let last = first.id.context("it begins with something to come back to")?;
    stream.message().await;
    drop(stream);
    let began = Instant::now();
    elsewhere.resume(&last).await.message().await;
    Ok(began.elapsed())
}

/// Resident memory of the first instance in bytes.
fn memory(fleet: &mut Fleet) -> anyhow::Result<i64> {
    let pid = fleet.instance(0).pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("needs Linux")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: i64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
