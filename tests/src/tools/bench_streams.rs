//! `bench-streams` measures the memory per session and per open stream of an instance, and how soon a
//! client that resumes a stream at another instance gets the missed event. It uses two instances with a
//! private PostgreSQL and a private Redis.
//!
//! `bench-streams-client` holds streams open: one process cannot have the sockets of both instances, because
//! many systems limit a process to 20,000 files.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tests::{
    client::{Legacy, Web},
    processes::{Fleet, Kind, Plan},
    schema::Revision,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::spawn_blocking,
};

/// Sessions before the measurement, so that one-time allocations are not counted.
const WARM_UP: usize = 2_000;
/// Sessions without an open stream, of both instances together, if `SESSIONS` is not set.
const SESSIONS: usize = 20_000;
/// Open streams of each instance, if `STREAMS` is not set.
const STREAMS: usize = 10_000;
/// Sessions of each user: fewer than the most that a user may have.
const SESSIONS_PER_USER: usize = 50;
/// Calls whose client resumes at another instance.
const RESUMES: usize = 500;
/// Concurrent clients.
const CLIENTS: usize = 32;
/// How long an instance has for returning memory after its streams have closed.
const SETTLING: Duration = Duration::from_secs(15);

const REVISION: Revision = Revision::November2025;

pub(crate) async fn main() -> anyhow::Result<()> {
    let session_count = number("SESSIONS", SESSIONS)?;
    let stream_count = number("STREAMS", STREAMS)?;
    let mut fleet = Plan::new(Kind::Fixtures).instances(2).with("LOG", "warn").start().await;
    let session_count = session_count.max(2 * stream_count);
    let mut tokens = Vec::new();
    for user in 0..(WARM_UP + session_count).div_ceil(SESSIONS_PER_USER) {
        tokens.push(fleet.token(&format!("p{user}")).await);
    }
    let (warm_up, tokens) = tokens.split_at(WARM_UP / SESSIONS_PER_USER);
    println!("idle: {}", Memory::of(&mut fleet, 0)?);
    sessions(&fleet, warm_up, WARM_UP).await;

    let (before, redis) = (Memory::of(&mut fleet, 0)?, redis_memory(&mut fleet).await?);
    let all = sessions(&fleet, tokens, session_count).await;
    let after = Memory::of(&mut fleet, 0)?;
    let redis = redis_memory(&mut fleet).await? - redis;
    let (count, each) = (all.len(), (after.resident - before.resident) / signed(all.len()));
    println!("{count} sessions without a socket: {each} bytes of an instance for each");
    println!("{count} sessions in Redis: {} bytes for each", redis / signed(count));

    streams(&mut fleet, &all, stream_count).await?;
    resumes(&fleet, &tokens[0]).await
}

/// Opens the streams of both instances, closes them, and opens them again.
async fn streams(fleet: &mut Fleet, sessions: &[Legacy], count: usize) -> anyhow::Result<()> {
    let before = Memory::of(fleet, 0)?;
    for round in 1..=2 {
        let mut clients = Vec::new();
        for instance in 0..2 {
            let share = sessions.iter().skip(instance).step_by(2).take(count);
            clients.push(holding(fleet.ports()[instance], share).await?);
        }
        let open = Memory::of(fleet, 0)?;
        let each = (open.resident - before.resident) / signed(count);
        println!(
            "round {round}: {count} open streams of each instance: {each} bytes for each; {open}"
        );
        for client in &mut clients {
            client.kill()?;
            client.wait()?;
        }
        closed(fleet).await;
        println!("round {round}: after they have closed: {}", Memory::of(fleet, 0)?);
        settle().await;
        println!("round {round}: {SETTLING:?} later: {}", Memory::of(fleet, 0)?);
    }
    Ok(())
}

/// Lets [`SETTLING`] pass without a call.
#[expect(clippy::disallowed_methods, reason = "measures what happens in real time")]
async fn settle() {
    tokio::time::sleep(SETTLING).await;
}

/// Starts a client that opens the streams of `sessions`, and waits until each has its first event.
async fn holding(port: u16, sessions: impl Iterator<Item = &Legacy>) -> anyhow::Result<Child> {
    let lines: Vec<_> =
        sessions.map(|session| format!("{} {}\n", session.token(), session.session())).collect();
    let lines = lines.concat();
    spawn_blocking(move || {
        let mut client = Command::new(env::current_exe()?)
            .args(["bench-streams-client", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = client.stdin.take().context("it is piped")?;
        input.write_all(lines.as_bytes())?;
        drop(input);
        let mut answer = String::new();
        let output = client.stdout.as_mut().context("it is piped")?;
        BufReader::new(output).read_line(&mut answer)?;
        ensure!(answer == "open\n", "the client could not open its streams");
        Ok(client)
    })
    .await?
}

#[derive(clap::Args)]
pub(crate) struct ClientArguments {
    port: u16,
}

/// Opens one stream for each line of the standard input (`TOKEN SESSION`), writes `open`, and keeps them
/// until it is killed.
pub(crate) async fn client(arguments: ClientArguments) -> anyhow::Result<()> {
    let text = io::read_to_string(io::stdin())?;
    let streams: Vec<TcpStream> = stream::iter(text.lines())
        .map(|line| opened(arguments.port, line))
        .buffer_unordered(CLIENTS)
        .try_collect()
        .await?;
    println!("open");
    std::future::pending::<()>().await;
    drop(streams);
    Ok(())
}

/// Opens a stream, and reads up to the end of its first event.
async fn opened(port: u16, line: &str) -> anyhow::Result<TcpStream> {
    let (token, session) = line.split_once(' ').context("a line has a token and a session")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\
         Accept: text/event-stream\r\nMCP-Protocol-Version: {}\r\nMcp-Session-Id: {session}\r\n\r\n",
        REVISION.as_str()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|bytes| bytes == b"\nid:") {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the stream was not opened");
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "the stream was refused");
    Ok(stream)
}

/// Loses connections of calls and resumes their streams at another instance.
async fn resumes(fleet: &Fleet, token: &str) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(RESUMES);
    let ada = fleet.web(0).legacy(token, REVISION).await;
    let elsewhere = ada.at(fleet.web(1));
    let draft = json!({ "title": "Tea", "body": "Two minutes." });
    let item = ada.tool("items_create", draft).await.output()["id"].clone();
    for _ in 0..RESUMES {
        times.push(resumed(&ada, &elsewhere, json!({ "id": item })).await?);
    }
    times.sort();
    let at = |part: usize| times[(RESUMES * part / 100).min(RESUMES - 1)].as_secs_f64() * 1_000.0;
    println!(
        "from coming back at another instance to the event that was missed, {RESUMES} times: p50 \
         {:.1} ms, p99 {:.1} ms",
        at(50),
        at(99)
    );
    Ok(())
}

/// Initializes `count` sessions, at both instances in turn.
async fn sessions(fleet: &Fleet, tokens: &[String], count: usize) -> Vec<Legacy> {
    let webs: [&Web; 2] = [fleet.web(0), fleet.web(1)];
    stream::iter(0..count)
        .map(|n| webs[n % 2].legacy_with(&tokens[n / 2 % tokens.len()], REVISION, json!({})))
        .buffered(CLIENTS)
        .collect()
        .await
}

/// Waits until the instances have closed their ends of the streams.
async fn closed(fleet: &Fleet) {
    let ports = fleet.ports().iter().map(|port| format!(":{port:04X}")).collect::<Vec<_>>();
    tests::eventually("the connections are closed", async || {
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let open = table.lines().filter(|line| {
            let mut columns = line.split_whitespace().skip(1);
            // 01 is ESTABLISHED.
            let (local, _, state) = (columns.next(), columns.next(), columns.next());
            local.is_some_and(|address| ports.iter().any(|port| address.ends_with(port)))
                && state == Some("01")
        });
        (open.count() < CLIENTS * 4).then_some(())
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

/// The memory of a process in bytes.
struct Memory {
    /// All resident pages.
    resident: i64,
    /// Those that are not pages of a file, such as the program.
    anonymous: i64,
}

impl Memory {
    fn of(fleet: &mut Fleet, instance: usize) -> anyhow::Result<Self> {
        let pid = fleet.instance(instance).pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("needs Linux")?;
        let bytes = |name: &str| -> anyhow::Result<i64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.with_context(|| format!("no {name}"))?.trim();
            Ok(kilobytes.trim_end_matches(" kB").parse::<i64>()? * 1024)
        };
        Ok(Self { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (resident, anonymous) = (self.resident >> 10, self.anonymous >> 10);
        write!(f, "{resident} kB resident, {anonymous} kB of it anonymous")
    }
}

/// Returns the memory that Redis uses in bytes.
async fn redis_memory(fleet: &mut Fleet) -> anyhow::Result<i64> {
    let info = fleet.redis().command("INFO memory").await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("Redis reports its memory")?.trim().parse()?)
}

/// Returns the number in an environment variable, or `default`.
fn number(variable: &str, default: usize) -> anyhow::Result<usize> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is not a number")),
        Err(_unset) => Ok(default),
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
