//! A session belongs to one user, is known to every instance, and ends once.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    client::{Legacy, Page},
    cluster::Cluster,
    schema::Revision,
};

const REVISION: Revision = Revision::November2025;

/// The statuses of everything that can be done with a session.
async fn statuses(session: &Legacy) -> Vec<u16> {
    let ping = session.send_on_purpose(&session.body("ping", Value::Null)).await;
    let notified = session.notify("notifications/initialized", Value::Null).await;
    let stream = session.get(None).await;
    let resumed = session.get(Some("get.0")).await;
    let ended = session.end().await;
    vec![
        ping.status.as_u16(),
        notified.as_u16(),
        stream.status().as_u16(),
        resumed.status().as_u16(),
        ended.as_u16(),
    ]
}

#[tokio::test]
async fn a_session_that_never_was_is_not_found() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let mut other = ada.session().to_owned();
    let last = if other.pop() == Some('A') { 'Q' } else { 'A' };
    other.push(last);
    for unknown in [other.as_str(), "nonsense", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(statuses(&ada.with_session(unknown)).await, [404; 5], "{unknown}");
    }
    assert_eq!(ada.call("ping", Value::Null).await.status, 200);
}

#[tokio::test]
async fn somebody_elses_session_is_not_found() {
    let cluster = Cluster::on_postgres(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let stolen = ada.presented_with(cluster.token("bob").await);
    for instance in [0, 1] {
        assert_eq!(statuses(&stolen.at(cluster.web(instance))).await, [404; 5]);
    }
    assert_eq!(ada.call("ping", Value::Null).await.status, 200, "and nothing happened to it");
}

#[tokio::test]
async fn every_instance_serves_a_session_and_knows_when_it_has_ended() {
    let cluster = Cluster::on_postgres(3).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let everywhere = [0, 1, 2].map(|instance| ada.at(cluster.web(instance)));
    for there in &everywhere {
        assert_eq!(there.call("ping", Value::Null).await.status, 200);
    }
    let mut open = everywhere[2].listen().await;
    assert_eq!(open.status(), 200);

    assert!(everywhere[1].end().await.is_success());
    open.rest().await;
    for there in &everywhere {
        assert_eq!(statuses(there).await, [404; 5]);
    }
}

#[tokio::test]
async fn a_message_without_a_session_is_a_mistake_that_is_explained() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    for body in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": "x", "result": {} }),
    ] {
        let refused = Page::read(cluster.web(0).post(&token, body.to_string())).await;
        assert_eq!(refused.status, 400, "{body}");
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("Mcp-Session-Id"), "{message}");
    }
    for method in [Method::GET, Method::DELETE] {
        let request = cluster
            .web(0)
            .request(method, "/mcp")
            .bearer_auth(&token)
            .header("accept", "text/event-stream");
        assert_eq!(Page::read(request).await.status, 400);
    }
}

#[tokio::test]
async fn every_session_has_an_id_of_its_own() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..20 {
        let session = cluster.web(0).legacy(&token, REVISION).await.session().to_owned();
        assert!(session.len() >= 22, "128 bits of chance need more than `{session}`");
        assert!(ids.insert(session));
    }
}

#[tokio::test]
async fn a_modern_request_knows_no_session() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster
        .web(0)
        .modern(cluster.token("ada").await)
        .with_header("mcp-session-id", "whatever")
        .with_header("last-event-id", "get.7");
    let served = ada.call("tools/list", Value::Null).await;
    assert_eq!(served.status, 200);
    assert_eq!(served.header("mcp-session-id"), "");
    for method in [Method::GET, Method::DELETE] {
        let request = cluster
            .web(0)
            .request(method, "/mcp")
            .bearer_auth(cluster.token("ada").await)
            .header("accept", "text/event-stream")
            .header("mcp-protocol-version", "2026-07-28");
        let refused = Page::read(request).await;
        assert_eq!(refused.status, 405);
        assert!(refused.header("allow").contains("POST"));
    }
}
