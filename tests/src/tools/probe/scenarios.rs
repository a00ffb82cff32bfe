//! The scenarios. Each has a session of its own.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    Setup,
    client::{Endpoint, Event, Events, Session, pause},
    instances::Instances,
    report::{Outcome, Row},
};

/// How long the end of a call is waited for after its instance was killed.
const END: Duration = Duration::from_mins(2);

/// How long progress and questions are waited for.
const SOON: Duration = Duration::from_secs(15);

/// How long nothing must happen after a cancellation. Longer than the slow tool should run.
const QUIET: Duration = Duration::from_secs(12);

/// How often both instances are called with one session.
const CALLS: usize = 100;

/// How many idle sessions are created to measure their memory.
const SESSIONS: u32 = 1_000;

/// The number of progress messages after which a call is disturbed.
const STEPS: usize = 3;

/// Runs all scenarios.
pub(super) async fn run(
    setup: &Setup,
    instances: &mut Instances,
    mut done: impl FnMut(Row),
) -> anyhow::Result<()> {
    let mut row = |scenario, outcome: anyhow::Result<Outcome>| {
        let outcome = outcome.unwrap_or_else(|error| Outcome::No(format!("{error:#}")));
        let worked = matches!(outcome, Outcome::Yes(_));
        done(Row { scenario, outcome });
        worked
    };
    row("2026-07-28 and sessions of 2025-11-25 at one address", both_eras(setup).await);
    row("memory of an idle session", memory(setup, instances).await);
    row("a session made on A is used on A and B in turn", shared_session(setup).await);
    row("A dies (kill -9) while a call runs: it ends on B", killed(setup, instances, false).await);
    row("the same, the client's socket being cut before", killed(setup, instances, true).await);
    let answered =
        row("a question asked on A is answered on B", question(setup, instances, false).await);
    row("the same, A being dead when the answer comes", question(setup, instances, true).await);
    let waiting = if answered {
        cancelled_question(setup).await
    } else {
        Ok(Outcome::NotRun("answers on B have no effect".to_owned()))
    };
    row("a call that waits for an answer is cancelled at B", waiting);
    row("a running call is cancelled at B", cancelled_call(setup).await);
    row("the worker of a task dies (kill -9): the task completes", task(setup, instances).await);
    Ok(())
}

async fn both_eras(setup: &Setup) -> anyhow::Result<Outcome> {
    setup.a.session().await?;
    let status = setup.a.discover().await?;
    Ok(if status.is_success() {
        Outcome::Yes("both are answered".to_owned())
    } else {
        Outcome::No(format!("`server/discover` of 2026-07-28 is answered with {status}"))
    })
}

async fn shared_session(setup: &Setup) -> anyhow::Result<Outcome> {
    let session = setup.a.session().await?;
    let mut failed = 0;
    let mut why = None;
    for call in 0..2 * CALLS {
        let at = if call % 2 == 0 { &setup.b } else { &setup.a };
        if let Err(error) = session.call(at, "tools/list", json!({})).await {
            failed += 1;
            why.get_or_insert(error);
        }
    }
    Ok(match why {
        None => Outcome::Yes(format!("{} calls", 2 * CALLS)),
        Some(why) => Outcome::No(format!("{failed} of {} calls fail: {why:#}", 2 * CALLS)),
    })
}

/// Calls the slow tool at A and reads its first progress messages.
async fn running(setup: &Setup, session: &Session) -> anyhow::Result<(i64, Events)> {
    let (id, mut events) = session.tool(&setup.a, &setup.slow).await?;
    for _ in 0..STEPS {
        let progress =
            events.find(SOON, |event| event.is("notifications/progress") || event.answers(id));
        let event = progress.await.context("the call sends no progress on its stream")?;
        anyhow::ensure!(!event.answers(id), "the call ends too early: {}", shown(&event));
    }
    Ok((id, events))
}

/// Resumes a stream at an instance until the response of a request arrives.
async fn resumed(
    session: &Session,
    at: &Endpoint,
    id: i64,
    last: Option<String>,
) -> anyhow::Result<Outcome> {
    let Some(mut last) = last else {
        return Ok(Outcome::No("the events have no ids, so the client cannot resume".to_owned()));
    };
    let began = Instant::now();
    while began.elapsed() < END {
        let mut events = match session.get(at, Some(&last)).await {
            Ok(events) => events,
            Err(error) => return Ok(Outcome::No(format!("{error:#}"))),
        };
        let found = events.find(END.saturating_sub(began.elapsed()), |it| it.answers(id)).await;
        if let Some(event) = found {
            let seconds = began.elapsed().as_secs_f64();
            return Ok(Outcome::Yes(format!("{} after {seconds:.1} s", shown(&event))));
        }
        last = events.last.unwrap_or(last);
        pause(Duration::from_millis(500)).await;
    }
    Ok(Outcome::No(format!("no response within {} s", END.as_secs())))
}

async fn killed(
    setup: &Setup,
    instances: &mut Instances,
    cut_before: bool,
) -> anyhow::Result<Outcome> {
    if !instances.can_kill() {
        return Ok(Outcome::NotRun("needs --kill-a and --start-a".to_owned()));
    }
    let session = setup.a.session().await?;
    let (id, events) = running(setup, &session).await?;
    let last = events.last.clone();
    if cut_before {
        drop(events);
        pause(Duration::from_secs(1)).await;
        instances.kill_a().await?;
    } else {
        instances.kill_a().await?;
        drop(events);
    }
    let outcome = resumed(&session, &setup.b, id, last).await;
    instances.start_a().await?;
    setup.a.ready().await?;
    outcome
}

/// A question and where its call can be resumed.
struct Asked {
    id: i64,
    question: Value,
    events: Events,
    /// The stream of the session, on which some servers ask.
    _listening: Option<Events>,
}

/// Calls the tool that asks at A, and waits for the question on its stream or on that of the session.
async fn asked(setup: &Setup, session: &Session) -> anyhow::Result<Asked> {
    let mut listening = session.get(&setup.a, None).await.ok();
    let (id, mut events) = session.tool(&setup.a, &setup.ask).await?;
    let is_question = |event: &Event| event.is("elicitation/create") || event.answers(id);
    let found = match &mut listening {
        Some(other) => tokio::select! {
            Some(found) = events.find(SOON, is_question) => Some(found),
            Some(found) = other.find(SOON, is_question) => Some(found),
            else => None,
        },
        None => events.find(SOON, is_question).await,
    };
    let found = found.context("no question arrives")?;
    anyhow::ensure!(!found.answers(id), "the call does not ask: {}", shown(&found));
    let question = found.message.context("a question is a message")?;
    Ok(Asked { id, question, events, _listening: listening })
}

/// Accepts a form with a value for each field.
fn acceptance(question: &Value) -> Value {
    let schema = &question["params"]["requestedSchema"];
    let fields = schema["properties"].as_object().into_iter().flatten();
    let content: serde_json::Map<String, Value> = fields
        .map(|(name, field)| {
            let value = match (field["enum"].get(0), field["type"].as_str()) {
                (Some(first), _) => first.clone(),
                (None, Some("boolean")) => json!(true),
                (None, Some("integer" | "number")) => json!(1),
                (None, _) if field["format"] == "email" => json!("probe@example.com"),
                (None, _) => json!("probe"),
            };
            (name.clone(), value)
        })
        .collect();
    let result = json!({ "action": "accept", "content": content });
    json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
}

async fn question(
    setup: &Setup,
    instances: &mut Instances,
    killed: bool,
) -> anyhow::Result<Outcome> {
    if killed && !instances.can_kill() {
        return Ok(Outcome::NotRun("needs --kill-a and --start-a".to_owned()));
    }
    let session = setup.a.session().await?;
    let mut asked = asked(setup, &session).await?;
    let last = asked.events.last.clone();
    if killed {
        instances.kill_a().await?;
    }
    let posted = session.post(&setup.b, &acceptance(&asked.question)).await;
    let outcome = match posted {
        Ok(status) if !status.is_success() => {
            Ok(Outcome::No(format!("the answer is refused with {status}")))
        }
        Err(error) => Err(error),
        Ok(_) if killed => {
            drop(asked.events);
            resumed(&session, &setup.b, asked.id, last).await
        }
        Ok(_) => {
            let began = Instant::now();
            let answer = asked.events.find(SOON, |event| event.answers(asked.id)).await;
            Ok(match answer {
                Some(event) => {
                    let millis = began.elapsed().as_millis();
                    Outcome::Yes(format!("{} after {millis} ms", shown(&event)))
                }
                None => Outcome::No(format!("the call does not end within {} s", SOON.as_secs())),
            })
        }
    };
    if killed {
        instances.start_a().await?;
        setup.a.ready().await?;
    }
    outcome
}

fn cancellation(id: i64) -> Value {
    let params = json!({ "requestId": id, "reason": "The user no longer wants it." });
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
}

async fn cancelled_question(setup: &Setup) -> anyhow::Result<Outcome> {
    let session = setup.a.session().await?;
    let mut asked = asked(setup, &session).await?;
    session.post(&setup.b, &cancellation(asked.id)).await?;
    pause(Duration::from_secs(1)).await;
    session.post(&setup.a, &acceptance(&asked.question)).await?;
    let late = asked.events.find(SOON, |event| event.answers(asked.id)).await;
    Ok(match late {
        None => Outcome::Yes("the late answer has no effect".to_owned()),
        Some(event) => Outcome::No(format!("the call ends with {}", shown(&event))),
    })
}

async fn cancelled_call(setup: &Setup) -> anyhow::Result<Outcome> {
    let session = setup.a.session().await?;
    let (id, mut events) = running(setup, &session).await?;
    session.post(&setup.b, &cancellation(id)).await?;
    // What was on its way.
    let ended = events.find(Duration::from_secs(2), |event| event.answers(id)).await;
    if let Some(event) = ended
        && event.message.as_ref().is_some_and(|message| message.get("result").is_some())
    {
        let why = format!("the call ended too early to tell, with {}", shown(&event));
        return Ok(Outcome::NotRun(why));
    }
    let later = events.find(QUIET, |it| it.is("notifications/progress") || it.answers(id)).await;
    Ok(match later {
        None => Outcome::Yes("it is silent from then on".to_owned()),
        Some(event) => Outcome::No(format!("it goes on: {}", shown(&event))),
    })
}

async fn task(setup: &Setup, instances: &mut Instances) -> anyhow::Result<Outcome> {
    if !instances.can_restart_worker() {
        return Ok(Outcome::NotRun("needs --kill-a or --kill-worker".to_owned()));
    }
    let session = setup.a.session().await?;
    let params = json!({
        "name": setup.task.name, "arguments": setup.task.arguments, "task": { "ttl": 600_000 },
    });
    let created = session.call(&setup.a, "tools/call", params).await?;
    let Some(id) = created["result"]["task"]["taskId"].as_str().map(str::to_owned) else {
        return Ok(Outcome::NotRun(format!("the server creates no task: {created}")));
    };
    pause(Duration::from_secs(1)).await;
    let began = Instant::now();
    instances.restart_worker().await?;
    let mut status = Value::Null;
    while began.elapsed() < END {
        let task = session.call(&setup.b, "tasks/get", json!({ "taskId": id })).await?;
        status = task["result"]["status"].clone();
        let seconds = began.elapsed().as_secs_f64();
        match status.as_str() {
            Some("completed") => {
                return Ok(Outcome::Yes(format!("completed after {seconds:.1} s")));
            }
            Some("failed" | "cancelled") => break,
            None => return Ok(Outcome::No(format!("`tasks/get` at B: {task}"))),
            Some(_) => pause(Duration::from_millis(200)).await,
        }
    }
    Ok(Outcome::No(format!("the task is {status} after {} s", began.elapsed().as_secs())))
}

async fn memory(setup: &Setup, instances: &mut Instances) -> anyhow::Result<Outcome> {
    let Some(pid) = instances.pid_a() else {
        return Ok(Outcome::NotRun("needs --pid-a".to_owned()));
    };
    let open = async |count: u32| -> anyhow::Result<()> {
        let opening = stream::iter(0..count).map(|_| setup.a.session()).buffer_unordered(16);
        let opened: Vec<_> = opening.collect().await;
        opened.into_iter().try_for_each(|session| session.map(drop))
    };
    // The first sessions also pay for what is allocated once.
    open(SESSIONS / 10).await?;
    let before = resident(pid)?;
    open(SESSIONS).await?;
    pause(Duration::from_secs(1)).await;
    let grown = resident(pid)?.saturating_sub(before);
    let each = f64::from(grown) / f64::from(SESSIONS);
    Ok(Outcome::Measured(format!("{each:.1} KiB ({SESSIONS} sessions)")))
}

/// The resident memory of a process in KiB.
fn resident(pid: u32) -> anyhow::Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|it| it.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("the process has no resident memory")?.parse()?)
}

/// The essence of a message.
fn shown(event: &Event) -> String {
    let Some(message) = &event.message else { return "nothing".to_owned() };
    let kind = match (message.get("error"), message.get("method")) {
        (Some(_), _) => "an error",
        (None, Some(_)) => "progress",
        (None, None) if message["result"]["isError"] == true => "an error of the tool",
        (None, None) => "the result",
    };
    let text = message["error"]["message"]
        .as_str()
        .or_else(|| message["result"]["content"][0]["text"].as_str())
        .unwrap_or_default();
    let text: String = text.chars().take(80).collect();
    if text.is_empty() { kind.to_owned() } else { format!("{kind} (“{text}”)") }
}
