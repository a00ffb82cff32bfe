//! Rate limits per user: the same at all instances, and the content of a refusal.

use std::time::Duration;

use mcp::{RateDecision, RequestCost};
use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Cluster, Database, Setup},
    eventually,
    relay::Relay,
    schema::Revision,
};

use crate::{jobs_store::new_job, world::user};

const MEBIBYTE: usize = 1024 * 1024;

/// A limit that is quickly used up.
const LIMIT: u32 = 20;

fn limited(instances: usize) -> Setup {
    Setup::new(Database::Sqlite)
        .instances(instances)
        .with("RATE_LIMIT_PER_MINUTE", LIMIT.to_string())
}

async fn list_notes(client: &Modern) -> Answer {
    client.tool("items_list", json!({})).await
}

/// How many of so many calls are answered, when the instances take turns.
async fn allowed(cluster: &Cluster, user: &str, calls: u32) -> u32 {
    let ada = cluster.web(0).modern(cluster.token(user).await);
    let mut allowed = 0;
    for number in 0..calls {
        let answer = list_notes(&ada.at(cluster.web(number as usize % 2))).await;
        match answer.status.as_u16() {
            200 => allowed += 1,
            429 => {}
            status => panic!("{status}: {:#}", answer.message),
        }
    }
    allowed
}

async fn two_allow_what_one_would(setup: Setup) {
    let cluster = setup.start().await;
    assert_eq!(allowed(&cluster, "ada", 3 * LIMIT).await, LIMIT);
    assert_eq!(allowed(&cluster, "bob", LIMIT).await, LIMIT, "everybody has a share of their own");
    cluster.clock().advance(Duration::from_secs(30));
    assert_eq!(allowed(&cluster, "ada", LIMIT).await, LIMIT / 2, "it grows back evenly");
    cluster.clock().advance(Duration::from_mins(5));
    assert_eq!(allowed(&cluster, "ada", 2 * LIMIT).await, LIMIT, "up to the whole share");
}

#[tokio::test]
async fn two_instances_together_allow_what_one_would_in_this_process() {
    two_allow_what_one_would(limited(2)).await;
}

#[tokio::test]
async fn two_instances_together_allow_what_one_would_over_redis() {
    two_allow_what_one_would(limited(2).on_redis().await).await;
}

#[tokio::test]
async fn a_refusal_tells_a_program_and_a_model_when_to_come_back() {
    let cluster = limited(1).on_redis().await.start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let first = list_notes(&ada).await;
    assert_eq!(first.header("ratelimit-policy"), r#""calls";q=20;w=60"#);
    assert_eq!(first.header("ratelimit"), r#""calls";r=19;t=3"#);
    assert_eq!(first.header("retry-after"), "");
    for _ in 1..LIMIT {
        assert_eq!(list_notes(&ada).await.status, 200);
    }
    let body = ada.body("tools/call", json!({ "name": "items_list", "arguments": {} }));
    let refused = ada.send_on_purpose(&body).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "3");
    assert_eq!(refused.header("ratelimit"), r#""calls";r=0;t=3"#);
    assert_eq!(refused.header("ratelimit-policy"), r#""calls";q=20;w=60"#);
    assert_eq!(refused.message["id"], body["id"]);
    let code = refused.code();
    assert!(!(-32_768..=-32_000).contains(&code), "{code} is reserved");
    let message = refused.message["error"]["message"].as_str().expect("a sentence");
    assert!(message.contains("wait 3 seconds, then try again"), "{message}");
    assert_eq!(refused.message["error"]["data"]["retryAfterSeconds"], 3);

    cluster.clock().advance(Duration::from_secs(3));
    assert_eq!(list_notes(&ada).await.status, 200, "whoever waits as told gets through");
    assert_eq!(list_notes(&ada).await.status, 429);
}

#[tokio::test]
async fn connecting_may_come_ten_times_as_often_and_does_not_use_up_calls() {
    let cluster = limited(1).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    for number in 0..10 * LIMIT {
        let answer = ada.call("tools/list", Value::Null).await;
        assert_eq!(answer.status, 200, "list {number}");
        assert!(answer.header("ratelimit").starts_with(r#""light";r="#));
    }
    assert_eq!(ada.call("tools/list", Value::Null).await.status, 429);
    assert_eq!(ada.call("server/discover", Value::Null).await.status, 429);
    assert_eq!(list_notes(&ada).await.status, 200);

    let bob = cluster.web(0).legacy(cluster.token("bob").await, Revision::November2025).await;
    for _ in 0..LIMIT {
        assert_eq!(bob.tool("items_list", json!({})).await.status, 200);
    }
    assert_eq!(bob.tool("items_list", json!({})).await.status, 429);
    assert_eq!(bob.call("ping", Value::Null).await.status, 200, "a session stays alive");
    assert_eq!(bob.notify("notifications/roots/list_changed", Value::Null).await, 202);
    assert_eq!(bob.end().await, 204);
}

#[tokio::test]
async fn nothing_that_a_person_does_keeps_a_client_from_connecting() {
    let setup = Setup::new(Database::Sqlite).with("RATE_LIMIT_PER_MINUTE", "1");
    let cluster = setup.start().await;
    let web = cluster.web(0);
    let token = cluster.token("ada").await;
    let ada = web.modern(&token);
    let session = web.legacy(&token, Revision::November2025).await;

    let page = async || {
        let params = json!({ "cursor": "MToxOg" });
        ada.call("resources/list", params).await.status.as_u16()
    };
    while page().await != 429 {}
    let progress = json!({ "progressToken": 1, "progress": 1 });
    assert_eq!(session.notify("notifications/progress", progress).await, 429);
    while list_notes(&ada).await.status != 429 {}

    for _ in 0..5 {
        for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            assert_eq!(ada.call(method, Value::Null).await.status, 200, "{method}");
        }
        assert_eq!(ada.call("server/discover", Value::Null).await.status, 200);
        let another = web.legacy(&token, Revision::November2025).await;
        for method in ["tools/list", "prompts/list", "resources/list", "ping"] {
            assert_eq!(another.call(method, Value::Null).await.status, 200, "{method}");
        }
        let level = json!({ "level": "warning" });
        assert_eq!(another.call("logging/setLevel", level).await.status, 200);
        assert_eq!(another.listen().await.status(), 200);
        assert_eq!(another.end().await, 204);
    }
}

#[tokio::test]
async fn a_batch_counts_each_of_its_requests() {
    let cluster = limited(1).start().await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::March2025).await;
    let calls = |many: u32| -> Vec<Value> {
        let list = json!({ "name": "items_list", "arguments": {} });
        (0..many).map(|_| ada.body("tools/call", list.clone())).collect()
    };
    assert_eq!(ada.batch(&calls(LIMIT - 1)).await.status(), 200);
    let refused = ada.send_on_purpose(&Value::Array(calls(2))).await;
    assert_eq!(refused.status, 429, "a batch is served as a whole or not at all");
    assert_eq!(ada.batch(&calls(1)).await.status(), 200);
    assert_eq!(ada.send_on_purpose(&Value::Array(calls(1))).await.status, 429);
}

#[tokio::test]
async fn no_limit_is_no_limit() {
    let setup = Setup::new(Database::Sqlite).with("RATE_LIMIT_PER_MINUTE", "0");
    let cluster = setup.start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let answer = list_notes(&ada).await;
    assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (200, ""));
}

#[tokio::test]
async fn guesses_at_tokens_are_counted_for_a_network_over_all_instances() {
    let setup = Setup::new(Database::Sqlite).instances(2).with("TRUSTED_PROXY_HOPS", "1");
    let cluster = setup.on_redis().await.start().await;
    let guess = async |network: &str, instance: usize| {
        let request = cluster.web(instance).post("a-guess", "{}");
        let page = tests::client::Page::read(request.header("x-forwarded-for", network)).await;
        (page.status.as_u16(), page.header("retry-after").to_owned())
    };
    for number in 0..60 {
        assert_eq!(guess("203.0.113.7", number % 2).await.0, 401, "guess {number}");
    }
    for instance in 0..2 {
        assert_eq!(guess("203.0.113.7", instance).await, (429, "1".to_owned()));
    }
    assert_eq!(guess("203.0.113.8", 0).await.0, 401);
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let ada = ada.with_header("x-forwarded-for", "203.0.113.7");
    assert_eq!(list_notes(&ada).await.status, 200, "a good token is no guess");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_session_waits_for_redis_once() {
    let relay = Relay::to(tests::redis::shared().await).await;
    let cluster = limited(1).on_redis_at(relay.url()).start().await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    // The scripts are known to the server, and the connection is there.
    assert_eq!(ada.tool("items_list", json!({})).await.status, 200);

    relay.hold();
    let calling = tokio::spawn({
        let ada = ada.clone();
        async move { ada.tool("items_list", json!({})).await }
    });
    let mut asked = String::new();
    eventually("the session and the share are asked for before either is answered", async || {
        asked.push_str(&relay.asked());
        (asked.contains("HGETALL") && asked.contains("EVALSHA")).then_some(())
    })
    .await;
    relay.release();
    let answer = calling.await.expect("the call does not panic");
    assert_eq!(answer.status, 200);
    assert_eq!(relay.asked(), "", "and nothing else is asked for before the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_instance_counts_for_itself_until_it_is_back() {
    let relay = Relay::to(tests::redis::shared().await).await;
    let cluster = limited(2).on_redis_at(relay.url()).start().await;
    assert_eq!(allowed(&cluster, "ada", 2 * LIMIT).await, LIMIT);

    relay.cut().await;
    assert_eq!(allowed(&cluster, "ada", 4 * LIMIT).await, 2 * LIMIT, "each has a whole share");
    relay.mend();
    eventually("they count together again", async || {
        cluster.clock().advance(Duration::from_mins(2));
        (allowed(&cluster, "ada", 4 * LIMIT).await == LIMIT).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_storage_quota_holds_without_a_rate_limit() {
    let setup = Setup::new(Database::Sqlite).instances(2).with("RATE_LIMIT_PER_MINUTE", "0");
    let cluster = setup.start().await;
    let limiter = |index| {
        let settings = app::mcp_settings(cluster.service_of(index));
        settings.rate_limiter.expect("the storage quota has no switch")
    };
    let ada = new_job(&user("ada")).call.caller;
    let calls = RequestCost { calls: 1_000_000, light: 0, followups: 0 };
    assert!(matches!(limiter(0).check(&ada, calls).await, RateDecision::Allowed(None)));
    assert!(limiter(0).reserve_storage(&ada, 20 * MEBIBYTE).await);
    assert!(!limiter(0).reserve_storage(&ada, 20 * MEBIBYTE).await, "32 MiB are the quota");
    let bob = new_job(&user("bob")).call.caller;
    assert!(limiter(1).reserve_storage(&bob, 20 * MEBIBYTE).await, "each user has one");
}
