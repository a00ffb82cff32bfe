//! What is checked when a schedule has ended.

use std::sync::Arc;

use mcp::store::{EventNumber, StreamKey, Topic};

use super::{
    client::Client,
    cluster::{Cluster, Instance},
    message::Meaning,
    node::Phase,
    plan::{Plan, ToolKind},
    properties::Property,
    record::{CallRecord, Fate},
    store::StreamRecord,
    tools,
    world::pass,
};

/// How long calls that no client follows may still run, in milliseconds.
const LAST_CALLS: u64 = 45_000;

/// How long an instance may still try to create the job of a call that no client follows, in
/// milliseconds.
const LAST_STARTS: u64 = 8_000;

/// How long jobs that no client follows may still run, in milliseconds: several leases.
const LAST_JOBS: u64 = 150_000;

/// The interval at which they are checked, in milliseconds.
const CHECK: u64 = 1_000;

/// Longer than the lifetime of every entry of a store, in milliseconds.
const EVERYTHING_EXPIRED: u64 = 25 * 3_600 * 1_000;

/// The longest time that the network and the instances need for a response without faults, in
/// milliseconds: shorter than the interval of keep-alives.
const PROMPT: u64 = 8_000;

/// How long claims may delay a job, in milliseconds: it is due by the clock of the instance that
/// created it, and claimed by that of a worker.
const CLAIMS: u64 = 24_000;

/// Part of the error of a call that was lost with its instance.
const LOST: &str = "the call was lost";

/// Part of the error of a call that asks a client that accepts no event streams.
const NO_QUESTIONS: &str = "needs a client that supports form elicitation";

/// Part of the result of a task that its client has cancelled.
const CANCELLED: &str = "cancelled";

/// Part of the error of a call for which its user has too many jobs: it has no effect.
const TOO_MANY_JOBS: &str = "unfinished job";

/// Checks the calls of all clients.
pub(super) async fn calls(cluster: &Arc<Cluster>, plan: &Plan, clients: &[Arc<Client>]) {
    let records: Vec<_> = clients.iter().flat_map(|client| client.calls()).collect();
    for record in &records {
        effects(cluster, record);
        outcome(cluster, plan, record);
    }
    for (key, stream) in cluster.store.streams() {
        let Some(log) = read(cluster, &key).await else {
            continue; // its session has ended
        };
        responses(cluster, &stream, &log);
        let of_stream = |record: &&CallRecord| {
            record.session == key.session.as_str()
                && record.stream.as_deref() == Some(key.stream.as_str())
        };
        if let Some(record) = records.iter().find(of_stream) {
            delivered(cluster, record, &log);
            if plan.has_reliable_store() {
                stays_cancelled(cluster, record, &log);
            }
        }
    }
}

/// The events of a stream. `None`: it was deleted.
async fn read(cluster: &Arc<Cluster>, key: &StreamKey) -> Option<Vec<(EventNumber, String)>> {
    let page = cluster.store.direct().log.read(key, 0, usize::MAX).await.ok().flatten()?;
    Some(page.events.into_iter().map(|(number, event)| (number, event.to_string())).collect())
}

fn effects(cluster: &Cluster, record: &CallRecord) {
    let CallRecord { key, tool, steps, response, answers, .. } = record;
    if !tool.has_effect() {
        return;
    }
    let world = &cluster.world;
    let effects = world.effects(key);
    if effects.len() > 1 {
        world.violated(Property::EffectAtMostOnce, format!("{key} took effect as {effects:?}"));
    }
    if let Some(Ok(text)) = response
        && effects.as_slice() != [text.clone()]
    {
        let what = format!("{key} was answered with {text:?}, effects are {effects:?}");
        world.violated(Property::AcknowledgedEffect, what);
    }
    let values = effects.iter().flat_map(|effect| effect.split(' ')).filter(|it| *it != "done");
    for value in values {
        if value == "intruder" {
            let what = format!("{key} was answered by another user");
            world.violated(Property::UsersAreSeparate, what);
        } else if !answers.iter().any(|answer| answer.value == value && !answer.is_late) {
            let what = format!("{key} took effect as {value}, the answers were {answers:?}");
            world.violated(Property::OneAnswer, what);
        }
    }
    children(cluster, *tool, key, *steps, matches!(response, Some(Ok(_))));
}

/// Checks the effects of the children of a call.
pub(super) fn children(
    cluster: &Cluster,
    tool: ToolKind,
    key: &str,
    steps: u64,
    is_acknowledged: bool,
) {
    if tool != ToolKind::Family {
        return;
    }
    for index in 0..tools::family_size(steps) {
        let key = tools::child_key(key, index);
        let effects = cluster.world.effects(&key);
        if effects.len() > 1 {
            let what = format!("{key} took effect as {effects:?}");
            cluster.world.violated(Property::EffectAtMostOnce, what);
        }
        if effects.is_empty() && is_acknowledged {
            let what = format!("{key} has no effect, but its parent has ended");
            cluster.world.violated(Property::AcknowledgedEffect, what);
        }
    }
}

/// Whether a call may end with this error. Checks that it had no effect if the error says so.
pub(super) fn may_fail(cluster: &Cluster, plan: &Plan, key: &str, error: &str) -> bool {
    if error.contains(TOO_MANY_JOBS) {
        let effects = cluster.world.effects(key);
        if !effects.is_empty() {
            let what = format!("{key} was refused, and took effect as {effects:?}");
            cluster.world.violated(Property::AcknowledgedEffect, what);
        }
        return plan.has_small_quota();
    }
    let is_harmful = error.contains(LOST) || plan.has_reliable_store();
    let is_expected = error.contains(NO_QUESTIONS) || error.contains(CANCELLED);
    is_expected || !plan.loses_no_call() || !is_harmful
}

/// How much longer than needed a call may take without faults, in milliseconds.
pub(super) fn allowed_delay(tool: ToolKind) -> u64 {
    match tool {
        ToolKind::Family => PROMPT + 3 * CLAIMS,
        _ if tool.is_job() => PROMPT + CLAIMS,
        _ => PROMPT,
    }
}

/// Checks that a call was not lost or delayed without a reason.
fn outcome(cluster: &Cluster, plan: &Plan, record: &CallRecord) {
    let CallRecord { key, tool, response, fate, duration, needed, .. } = record;
    if let Some(Err(error)) = response
        && !may_fail(cluster, plan, key, error)
    {
        let what = format!("{key} failed after {duration} ms: {error}");
        cluster.world.violated(Property::OnlyLostWithInstance, what);
    }
    if plan.is_prompt() && *fate == Fate::Answered && *duration > needed + allowed_delay(*tool) {
        let what = format!("{key} took {duration} ms instead of {needed} ms");
        cluster.world.violated(Property::Prompt, what);
    }
}

/// Checks that a call is not answered after its cancellation was acknowledged.
fn stays_cancelled(cluster: &Cluster, record: &CallRecord, log: &[(EventNumber, String)]) {
    let Some(last) = record.cancelled_after else {
        return;
    };
    let later = log.iter().find(|(number, event)| {
        *number > last && matches!(Meaning::of(event), Some(Meaning::Response(..)))
    });
    if let Some((number, response)) = later {
        let what = format!("{}: {response} as event {number}, after {last}", record.key);
        cluster.world.violated(Property::CancelledIsSilent, what);
    }
}

/// Checks the responses in the log of a stream.
fn responses(cluster: &Cluster, stream: &StreamRecord, log: &[(EventNumber, String)]) {
    for request in &stream.requests {
        let id = serde_json::to_string(request).unwrap_or_default();
        let responses = log.iter().filter(
            |(_, event)| matches!(Meaning::of(event), Some(Meaning::Response(to, _)) if to == id),
        );
        let numbers: Vec<_> = responses.map(|(number, _)| *number).collect();
        if numbers.len() > 1 {
            let what = format!("request {id} has the responses {numbers:?}");
            cluster.world.violated(Property::OneResponse, what);
        }
        let cancelled = stream.cancelled.iter().find(|(cancelled, _)| cancelled == request);
        if let Some((_, last)) = cancelled
            && numbers.iter().any(|number| number > last)
        {
            let what = format!("request {id} was answered after its cancellation");
            cluster.world.violated(Property::CancelledIsSilent, what);
        }
    }
}

/// Compares what a client has received with the log of the stream.
fn delivered(cluster: &Cluster, record: &CallRecord, log: &[(EventNumber, String)]) {
    let CallRecord { key, events, fate, .. } = record;
    let logged = log.iter().map(|(_, event)| event);
    let is_prefix = logged.clone().take(events.len()).eq(events);
    let is_complete = logged.eq(events);
    let is_expected = match fate {
        Fate::Answered => is_complete,
        Fate::Cancelled | Fate::Unknown | Fate::Lost => is_prefix,
    };
    if !is_expected {
        let what = format!("{key} ({fate:?}) received {events:?}, the log has {log:?}");
        cluster.world.violated(Property::EventsOnceInOrder, what);
    }
}

/// Checks that all jobs end, and ends the workers.
pub(super) async fn jobs(cluster: &Cluster, plan: &Plan) {
    if plan.workers > 0 {
        pass(LAST_STARTS).await;
    }
    let until = cluster.world.now() + LAST_JOBS;
    while cluster.queue.unfinished() > 0 && cluster.world.now() < until {
        pass(CHECK).await;
    }
    let unfinished = cluster.queue.unfinished();
    if unfinished > 0 {
        let what = format!("{unfinished} jobs have not ended");
        cluster.world.violated(Property::EveryWaitEnds, what);
    }
    let reclaimed = cluster.queue.reclaimed();
    if reclaimed > 0 && plan.loses_no_job() {
        let what = format!("{reclaimed} leases of jobs have expired");
        cluster.world.violated(Property::OnlyLostWithInstance, what);
    }
    for worker in cluster.workers() {
        worker.node.kill();
        worker.shut_down();
    }
}

/// Checks that instances whose sessions are idle hold nothing.
pub(super) async fn idle(cluster: &Cluster) {
    let until = cluster.world.now() + LAST_CALLS;
    for Instance { node, engine } in cluster.instances() {
        loop {
            let topics = node.fanout.topics();
            let is_idle = topics.iter().all(|topic| matches!(topic, Topic::Control));
            if (is_idle && engine.busy() == 0) || node.phase() != Phase::Running {
                break;
            }
            if cluster.world.now() >= until {
                let what = format!("{}: {} tasks, {topics:?}", node.name, engine.busy());
                cluster.world.violated(Property::IdleSessionsAreFree, what);
                break;
            }
            pass(CHECK).await;
        }
    }
}

/// Checks that the stores are empty in the end. Ends all processes.
pub(super) async fn expiry(cluster: &Cluster) {
    cluster.world.end();
    for Instance { node, .. } in cluster.instances() {
        node.kill();
    }
    pass(EVERYTHING_EXPIRED).await;
    let entries = cluster.store.entries();
    if entries > 0 {
        let what = format!("{entries} entries of the stores are left");
        cluster.world.violated(Property::EverythingExpires, what);
    }
}
