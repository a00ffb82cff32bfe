//! A Redis whose replica is promoted.
//!
//! The address of Redis stays the same and leads to the promoted server, as with the failover of a managed
//! Redis; here a proxy does what the DNS name does there.

use serde_json::{Value, json};
use tests::{
    client::Legacy,
    eventually,
    processes::{Fleet, Kind, Persistence, Plan, Redis, Wire},
};

use crate::{REVISION, item, shown};

/// A primary with a replica, a proxy to the primary, and instances that use the proxy.
struct Pair {
    fleet: Fleet,
    primary: Redis,
    replica: Redis,
    wire: Wire,
}

impl Pair {
    async fn start() -> Self {
        let primary = Redis::alone(Persistence::None).await;
        let replica = Redis::alone(Persistence::None).await;
        follow(&replica, &primary).await;
        let wire = Wire::to(primary.address()).await;
        let plan = Plan::new(Kind::Fixtures).instances(2);
        let fleet = plan.with("REDIS_URL", format!("redis://{}", wire.address())).start().await;
        Self { fleet, primary, replica, wire }
    }

    /// Waits until the replica has everything that the primary has acknowledged.
    async fn is_in_step(&self) {
        let answer = self.primary.command("PING").await.unwrap();
        assert_eq!(answer, "+PONG");
        eventually("the replica has the newest writes", async || {
            let keys = [&self.primary, &self.replica].map(|it| it.command("DBSIZE"));
            let [ours, theirs] = keys;
            let (ours, theirs) = tokio::join!(ours, theirs);
            (ours.unwrap() == theirs.unwrap()).then_some(())
        })
        .await;
    }

    async fn promote(&self) {
        let answer = self.replica.command("REPLICAOF NO ONE").await.unwrap();
        assert_eq!(answer, "+OK");
        self.wire.lead_to(self.replica.address());
    }
}

/// Makes a server the replica of another one.
async fn follow(replica: &Redis, primary: &Redis) {
    let port = primary.address().port();
    let answer = replica.command(&format!("REPLICAOF 127.0.0.1 {port}")).await.unwrap();
    assert_eq!(answer, "+OK");
    eventually("the replica is connected", async || {
        let writes = replica.command("SET probe x").await.unwrap();
        let reads = replica.command("GET probe").await.unwrap();
        primary.command("SET probe x").await.unwrap();
        (writes.starts_with("-READONLY") && reads == "x").then_some(())
    })
    .await;
}

/// The number of writes that a server has refused because it is a replica.
async fn refused_writes(server: &Redis) -> u64 {
    let info: String = server.query(::redis::cmd("INFO").arg("errorstats")).await.unwrap();
    let count = info.lines().find_map(|it| it.strip_prefix("errorstat_READONLY:count="));
    count.map_or(0, |it| it.parse().unwrap())
}

/// Waits until a session works at every instance.
async fn works(fleet: &Fleet, session: &Legacy) {
    for index in 0..fleet.len() {
        eventually("the session goes on", async || {
            shown::ping(&session.at(fleet.web(index))).await.is_success().then_some(())
        })
        .await;
    }
}

/// A question that a session has been asked.
async fn asked(session: &Legacy) -> (Value, String) {
    let ask = json!({ "name": "test_elicitation", "arguments": { "message": "Who are you?" } });
    let event = session.open("tools/call", ask).await.next_message().await;
    (event.message.unwrap(), event.id.unwrap())
}

/// Answers a question, and reads the result of its call.
async fn answer(session: &Legacy, (question, event): (Value, String)) {
    let content = json!({ "username": "Ada", "email": "ada@example.com" });
    let answer = json!({ "action": "accept", "content": content });
    assert_eq!(session.respond(&question, answer).await, 202);
    let events = session.resume(&event).await.rest().await;
    let result = events.iter().find_map(|it| it.message.as_ref()).unwrap();
    assert!(result.to_string().contains("Ada"), "{result}");
}

#[tokio::test]
async fn sessions_and_questions_go_on_at_a_promoted_replica() {
    let mut pair = Pair::start().await;
    let token = pair.fleet.token("ada").await;
    let ada = pair.fleet.web(0).legacy(&token, REVISION).await;
    let modern = pair.fleet.web(1).modern(&token);
    let question = asked(&ada).await;
    pair.is_in_step().await;

    pair.primary.kill().await;
    let refused = shown::ping(&ada).await;
    assert!(refused.is_told_to_wait(), "{refused:?}");
    let created = shown::modern(&modern, "items_create", item("Tea")).await;
    assert!(created.is_success(), "{created:?}");
    // The address may lead to the replica before it is promoted.
    pair.wire.lead_to(pair.replica.address());
    let before = refused_writes(&pair.replica).await;
    eventually("the replica refuses writes", async || {
        let refused = shown::initialize(pair.fleet.web(0), &token).await;
        assert!(refused.is_told_to_wait(), "{refused:?}");
        (refused_writes(&pair.replica).await > before).then_some(())
    })
    .await;

    pair.promote().await;
    works(&pair.fleet, &ada).await;
    answer(&ada.at(pair.fleet.web(1)), question).await;
    let begun = shown::initialize(pair.fleet.web(1), &token).await;
    assert!(begun.is_success(), "{begun:?}");
}

#[tokio::test]
async fn a_primary_that_has_become_a_replica_is_left() {
    let pair = Pair::start().await;
    let token = pair.fleet.token("ada").await;
    let ada = pair.fleet.web(0).legacy(&token, REVISION).await;
    let question = asked(&ada).await;
    let mut listening = ada.at(pair.fleet.web(1)).listen().await;
    listening.next().await.unwrap();
    pair.is_in_step().await;

    // The connections to the old primary stay open, and it refuses writes from now on.
    pair.promote().await;
    follow(&pair.primary, &pair.replica).await;
    works(&pair.fleet, &ada).await;
    answer(&ada, question).await;
    ada.tool("test_trigger_tool_change", json!({})).await;
    listening.until("notifications/tools/list_changed").await;
    let begun = shown::initialize(pair.fleet.web(1), &token).await;
    assert!(begun.is_success(), "{begun:?}");
}
