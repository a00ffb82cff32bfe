//! What is checked about modern clients when a schedule has ended.

use std::sync::Arc;

use super::{
    checks::{allowed_delay, children, may_fail},
    client::Client,
    cluster::Cluster,
    plan::Plan,
    properties::Property,
    record::{Fate, ModernRecord},
};

/// How long the cancellation of a job may take whose client has closed its connection, in
/// milliseconds: the time for which it is retried, and delays.
const CANCELLED_WITHIN: u64 = 12_000;

/// How long a change may take to a stream, in milliseconds.
const UPDATED_WITHIN: u64 = 5_000;

/// Checks the calls and streams of all clients.
pub(super) fn calls(cluster: &Cluster, plan: &Plan, clients: &[Arc<Client>]) {
    for client in clients {
        for record in client.modern_calls() {
            effects(cluster, &record);
            outcomes(cluster, plan, &record);
            ends_with_its_connection(cluster, plan, &record);
        }
        updates(cluster, plan, client);
    }
}

fn effects(cluster: &Cluster, record: &ModernRecord) {
    let ModernRecord { key, tool, steps, responses, answers, complete_requests, .. } = record;
    if !tool.has_effect() {
        return;
    }
    let world = &cluster.world;
    let effects = world.effects(key);
    // A job continues however often its client answers. A call that runs in the instance runs in each
    // request that has all answers.
    let most = if tool.is_job() { 1 } else { *complete_requests };
    if effects.len() > most {
        let what = format!("{key} took effect as {effects:?}, at most {most} times");
        world.violated(Property::EffectAtMostOnce, what);
    }
    let successes: Vec<_> = responses.iter().filter_map(|it| it.as_ref().ok()).collect();
    for success in &successes {
        let expected = successes.iter().filter(|other| *other == success).count();
        let found = effects.iter().filter(|effect| effect == success).count();
        let is_expected = if tool.is_job() { found == 1 } else { found >= expected };
        if !is_expected {
            let what = format!("{key} was answered with {responses:?}, effects are {effects:?}");
            world.violated(Property::AcknowledgedEffect, what);
            break;
        }
    }
    let values = effects.iter().flat_map(|effect| effect.split(' ')).filter(|it| *it != "done");
    for value in values {
        if value == "intruder" {
            let what = format!("{key} was answered by another user");
            world.violated(Property::UsersAreSeparate, what);
        } else if !answers.iter().any(|answer| answer == value) {
            let what = format!("{key} took effect as {value}, the answers were {answers:?}");
            world.violated(Property::OneAnswer, what);
        }
    }
    children(cluster, *tool, key, *steps, !successes.is_empty());
}

/// Checks that a call was not lost or delayed without a reason.
fn outcomes(cluster: &Cluster, plan: &Plan, record: &ModernRecord) {
    let ModernRecord { key, tool, responses, fate, duration, needed, .. } = record;
    for error in responses.iter().filter_map(|it| it.as_ref().err()) {
        if !may_fail(cluster, plan, key, error) {
            let what = format!("{key} failed after {duration} ms: {error}");
            cluster.world.violated(Property::OnlyLostWithInstance, what);
        }
    }
    let is_late = *duration > needed + allowed_delay(*tool);
    if plan.is_prompt() && *fate == Fate::Answered && !record.is_task && is_late {
        let what = format!("{key} took {duration} ms instead of {needed} ms");
        cluster.world.violated(Property::Prompt, what);
    }
}

/// Checks that a call does not continue when its client has closed its connection, and a task when its
/// cancellation was acknowledged.
fn ends_with_its_connection(cluster: &Cluster, plan: &Plan, record: &ModernRecord) {
    let ModernRecord { key, tool, is_repeated, closed_at, is_task, .. } = record;
    let Some(closed_at) = closed_at.filter(|_| !is_repeated) else {
        return;
    };
    let allowed = match (tool.is_job(), is_task) {
        (false, _) | (true, true) => 0,
        (true, false) if plan.loses_no_call() && plan.has_reliable_store() => CANCELLED_WITHIN,
        (true, false) => return, // the instance that would cancel the job may have died
    };
    if let Some(at) = cluster.world.last_effect(key)
        && at > closed_at + allowed
    {
        let what = format!("{key} took effect at {at} ms, and was cancelled at {closed_at} ms");
        cluster.world.violated(Property::CancelledIsSilent, what);
    }
}

/// Checks the updates that were sent on `subscriptions/listen` streams.
fn updates(cluster: &Cluster, plan: &Plan, client: &Client) {
    let touched = client.touched();
    for listened in client.listened() {
        let (began, ended) = listened.open;
        let is_before = |update: &u64| touched.iter().any(|(touched, _)| touched <= update);
        // After an interruption, a client is told of changes that may have happened.
        if plan.keeps_signals()
            && let Some(at) = listened.updates.iter().find(|update| !is_before(update))
        {
            let what = format!("client {}: an update at {at} ms before any", client.number);
            cluster.world.violated(Property::UsersAreSeparate, what);
        }
        let is_told = |touched: u64| listened.updates.iter().any(|update| *update >= touched);
        let mut due = touched.iter().filter(|(touched, is_certain)| {
            *is_certain && *touched > began && *touched + UPDATED_WITHIN < ended
        });
        if plan.is_prompt()
            && let Some((at, _)) = due.find(|(touched, _)| !is_told(*touched))
        {
            let what = format!("client {} was not told of its change at {at} ms", client.number);
            cluster.world.violated(Property::Prompt, what);
        }
    }
}
