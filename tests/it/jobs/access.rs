//! Running jobs and calls end when the access that started them ends.

use mcp::UserId;
use oauth::{account, audit::RequestInfo, revoke};
use tests::{cluster::Cluster, fixtures::at_gate, schema::Revision};

use super::{cluster, until};

fn ada() -> UserId {
    UserId::new("dev:ada")
}

async fn revoke_key(cluster: &Cluster, told: bool) {
    let app = cluster.app();
    let keys = app.oauth().keys().list().await.unwrap();
    let kid = &keys.iter().find(|it| it.signs).unwrap().kid;
    let request = RequestInfo::none();
    let revoked = if told {
        revoke::key(app.oauth(), kid, &request).await
    } else {
        app.oauth().keys().revoke(kid, &request).await
    };
    assert!(revoked.unwrap());
}

#[tokio::test]
async fn a_job_that_runs_is_stopped() {
    for way in ["blocked", "deleted", "a revoked key", "a revoked key that nobody was told of"] {
        let cluster = cluster(2, 1).await;
        let (gate, app) = (cluster.gate("a"), cluster.service_of(1).clone());
        let client = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
        let running = client.call("tools/call", at_gate("test_job_gate", "a", 1)).await;
        let running = running.result()["taskId"].clone();
        gate.reached(1).await;
        match way {
            "blocked" => {
                assert!(account::block(app.oauth(), &ada(), &RequestInfo::none()).await.unwrap());
            }
            "deleted" => {
                account::delete(app.oauth(), &ada(), &RequestInfo::none()).await.unwrap();
                // Its row is gone, which the next heartbeat finds.
            }
            _ => revoke_key(&cluster, way == "a revoked key").await,
        }
        gate.stopped(1).await;
        if way == "a revoked key" {
            let again = cluster.web(1).modern(cluster.token("ada").await).with_tasks();
            let task = until(&again, &running, "completed").await;
            let told = task.to_string();
            assert!(told.contains("signing key"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_call_of_a_session_that_runs_is_stopped() {
    let cluster = cluster(2, 0).await;
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let mut stream = session.open("tools/call", at_gate("test_gate", "a", 1)).await;
    cluster.gate("a").reached(1).await;
    account::block(cluster.service_of(1).oauth(), &ada(), &RequestInfo::none()).await.unwrap();
    cluster.gate("a").stopped(1).await;
    stream.rest().await;
}
