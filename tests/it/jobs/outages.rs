//! Jobs when the response of the database is lost, so that the product does not know whether the statement
//! was executed.

use entity::jobs;
use sea_orm::{Database, EntityTrait as _};
use serde_json::{Value, json};
use tests::{
    client::{Legacy, Stream},
    cluster::{self, Cluster, Setup},
    fixtures::at_gate,
    postgres,
    relay::Relay,
    schema::Revision,
};
use url::Url;

/// Starts the fixtures on a database behind a relay.
async fn cluster(database: &str, workers: usize) -> (Cluster, Relay) {
    let mut url: Url = database.parse().unwrap();
    let relay = Relay::to(&url.socket_addrs(|| Some(5432)).unwrap()[0].to_string()).await;
    url.set_port(Some(relay.port())).unwrap();
    let setup = Setup::new(cluster::Database::Postgres).with("DATABASE_URL", url);
    (setup.workers(workers).start().await, relay)
}

/// Drops the responses that are held, and their connections.
async fn lose_answers(relay: &Relay) {
    relay.cut().await;
    relay.release();
    relay.mend();
}

#[tokio::test]
async fn a_job_is_made_once_though_nobody_hears_that_it_was() {
    let database = postgres::fresh_database(&tests::fixtures::product()).await;
    let (cluster, relay) = cluster(&database, 0).await;
    let beside = Database::connect(database).await.unwrap();
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    // Lost is the response to the commit: the job is there, and the web instance does not know it.
    relay.hold_once_asked("COMMIT");
    let call = ada.tool("slow_compute", json!({ "label": "a label" }));
    let breaks = async {
        tests::eventually("the job is kept", async || {
            let kept = jobs::Entity::find().one(&beside).await.unwrap();
            kept.map(drop)
        })
        .await;
        lose_answers(&relay).await;
    };
    let (made, ()) = tokio::join!(call, breaks);
    let kept = jobs::Entity::find().all(&beside).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(kept, [made.result()["taskId"].as_str().unwrap()]);
}

/// A session whose job waits at the gate `a`: its client, the call, and the stream that waits.
async fn waiting(cluster: &Cluster) -> (Legacy, Value, Stream) {
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let call = ada.body("tools/call", at_gate("test_job_gate", "a", 1));
    let stream = ada.send(&call).await;
    cluster.gate("a").reached(1).await;
    (ada, call, stream)
}

#[tokio::test]
async fn a_session_that_cancels_meanwhile_has_cancelled() {
    let (cluster, relay) =
        cluster(&postgres::fresh_database(&tests::fixtures::product()).await, 1).await;
    let (ada, call, mut stream) = waiting(&cluster).await;
    let first = stream.expect("notifications/progress").await;
    let said = first["params"]["message"].as_str().unwrap();
    let job = said.split_once("as job ").unwrap().1.split_once('.').unwrap().0;

    relay.asked();
    // Not earlier: on a slow machine the connection is pinged first, and that answer must pass.
    relay.hold_once_asked(job);
    let cancel = ada.notify("notifications/cancelled", json!({ "requestId": call["id"] }));
    let breaks = async {
        tests::eventually("the database is asked for the job", async || {
            relay.asked().contains(job).then_some(())
        })
        .await;
        lose_answers(&relay).await;
    };
    let (status, ()) = tokio::join!(cancel, breaks);
    assert_eq!(status, 202);
    cluster.gate("a").stopped(1).await;
    let rest = stream.rest().await;
    assert!(rest.iter().all(|event| event.message.is_none()), "no answer: {rest:#?}");
}

#[tokio::test]
async fn a_cancel_that_cannot_be_kept_is_refused_and_can_be_sent_again() {
    let (cluster, relay) =
        cluster(&postgres::fresh_database(&tests::fixtures::product()).await, 1).await;
    let (ada, call, mut stream) = waiting(&cluster).await;
    stream.expect("notifications/progress").await;
    let cancelled = json!({ "requestId": call["id"] });
    relay.cut().await;
    assert_eq!(ada.notify("notifications/cancelled", cancelled.clone()).await, 503);
    relay.mend();
    tests::eventually("the cancel is taken", async || {
        let status = ada.notify("notifications/cancelled", cancelled.clone()).await;
        (status == 202).then_some(())
    })
    .await;
    cluster.gate("a").stopped(1).await;
    let rest = stream.rest().await;
    assert!(rest.iter().all(|event| event.message.is_none()), "no answer: {rest:#?}");
}
