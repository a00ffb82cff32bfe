//! The keys in Redis after all operations of clients: their prefixes, their lifetimes, and the format marks
//! by which another version of the program recognizes their values.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use app::Dependencies;
use mcp::{Stores, store::redis::Connection};
use oauth::used_ids::{IdKind, UsedId};
use platform::clock::SystemClock;
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp},
    cluster::{Cluster, Database, Setup},
    dpop::{DpopKey, token_request},
    github::GitHub,
    redis::{Server, content_keys, fresh_prefix},
    schema::Revision,
};

/// The fields of a hash that begin with its format; any of them will do.
const FORMATTED: [&str; 3] = ["format", "call", "session"];

/// The kinds of keys that this leaves behind, at least.
const KINDS: [&str; 14] = [
    "ask",
    "call",
    "cimd",
    "dpop",
    "log",
    "meta",
    "oauth:gh",
    "oauth:jti",
    "oauth:pend",
    "rl",
    "session",
    "sessions",
    "streams",
    "waiting",
];

/// The kinds of keys whose values are encrypted.
const SEALED: [&str; 5] = ["call", "log", "oauth:gh", "oauth:pend", "running"];

/// The lifetime that Redis reports for a key that does not exist.
const EXPIRED: i64 = -2;

/// A session that follows, listens and is asked something, at three instances.
async fn talk(cluster: &Cluster) {
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    ada.call("logging/setLevel", json!({ "level": "debug" })).await.result();
    let watched = json!({ "uri": "test://watched-resource" });
    ada.at(cluster.web(1)).call("resources/subscribe", watched).await.result();
    let mut standalone = ada.at(cluster.web(2)).listen().await;
    let trigger = json!({ "name": "test_trigger_tool_change", "arguments": {} });
    ada.call("tools/call", trigger).await.result();
    standalone.expect("notifications/tools/list_changed").await;
    let ask = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
    let mut stream = ada.at(cluster.web(1)).open("tools/call", ask).await;
    stream.expect("elicitation/create").await;
    cluster.web(2).modern(cluster.token("bob").await).call("tools/list", Value::Null).await;
}

/// Starts two sign-ins and does not finish them.
async fn sign_in(cluster: &Cluster) {
    let client_app = ClientApp::register(cluster.web(0)).await;
    let browser = Browser::new(cluster);
    browser.to_consent(&client_app.asks()).await;
    browser.at(cluster.web(1)).to_callback(&client_app.asks()).await;
}

/// Keeps a client metadata document, which would need a host with TLS, and the id of an assertion, which
/// would need a client with a key.
async fn fetch(url: &str) {
    let connection = Connection::new(url, &fresh_prefix()).expect("the URL is good");
    let stores = Stores::in_redis(&connection, Duration::from_mins(1), content_keys());
    let bus = stores.expect("the URL is good").bus;
    let given = Dependencies::in_redis(Arc::new(SystemClock), bus, &connection, content_keys());
    let used = UsedId::new(IdKind::Assertion, "https://a.example", "an id");
    given.oauth.used_ids.record(&used, Duration::from_mins(1)).await.expect("stored");
    given.oauth.documents.put("https://a.example/x", b"{}".to_vec(), Duration::from_mins(1)).await;
}

/// Gets tokens that are bound to a key.
async fn bind(cluster: &Cluster) {
    let (web, key) = (cluster.web(0), DpopKey::generate());
    let code = ClientApp::register(web).await.code(&Browser::new(cluster)).await;
    let url = format!("{}/token", web.origin());
    let proof = key.sign(&key.proof(cluster.clock(), "POST", &url));
    assert_eq!(token_request(cluster.web(1), &code.form(), &[&proof]).await.status, 200);
}

/// What a key is for.
fn kind(key: &str) -> String {
    let (prefix, rest) = key.split_once(':').expect("a key has a prefix");
    assert!(prefix.starts_with("test-"), "{key} is not ours");
    if let Some(rest) = rest.strip_prefix("mcp:{") {
        let (_session, rest) = rest.split_once("}:").expect("the session is the hash tag");
        return rest.split(':').next().unwrap_or_default().to_owned();
    }
    let parts: Vec<&str> = rest.split(':').collect();
    match parts.as_slice() {
        ["oauth", kind, _] => format!("oauth:{kind}"),
        ["rl", _bucket, _] => "rl".to_owned(),
        ["cimd", _] => "cimd".to_owned(),
        ["dpop", _] => "dpop".to_owned(),
        ["sessions", ..] => "sessions".to_owned(),
        ["catalog"] => "catalog".to_owned(),
        _ => panic!("nobody knows what {key} is for"),
    }
}

/// The longest permitted lifetime of a key.
fn longest(kind: &str) -> Duration {
    match kind {
        // One for a whole deployment, which outlives its idle times.
        "catalog" => Duration::from_hours(30 * 24),
        _ => Duration::from_hours(24),
    }
}

/// The values of a key that begin with their format: none if the key has expired.
async fn values(redis: &mut MultiplexedConnection, key: &str) -> Vec<Vec<u8>> {
    let kind: String = ::redis::cmd("TYPE").arg(key).query_async(redis).await.unwrap();
    match kind.as_str() {
        "string" => Vec::from_iter(redis.get::<_, Option<Vec<u8>>>(key).await.unwrap()),
        "zset" => redis.zrange(key, 0, -1).await.unwrap(),
        "set" => redis.smembers(key).await.unwrap(),
        "hash" => {
            let fields: Vec<(String, Vec<u8>)> = redis.hgetall(key).await.unwrap();
            let formatted = fields.into_iter().filter(|it| FORMATTED.contains(&it.0.as_str()));
            formatted.map(|it| it.1).collect()
        }
        "stream" => {
            let events: ::redis::streams::StreamRangeReply = redis.xrange_all(key).await.unwrap();
            events.ids.iter().map(|it| it.get("m").expect("an event has a message")).collect()
        }
        "none" => Vec::new(),
        other => panic!("{key} is a {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_the_prefix_and_a_lifetime_and_every_value_a_format() {
    let (server, github) = (Server::start().await, GitHub::start().await);
    let setup = Setup::new(Database::Sqlite).instances(3).with("DPOP", "allowed");
    let cluster = setup.on_redis_at(server.url()).with_github(&github).start().await;
    talk(&cluster).await;
    sign_in(&cluster).await;
    bind(&cluster).await;
    fetch(server.url()).await;

    let client = ::redis::Client::open(server.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    let mut kinds = BTreeSet::new();
    for key in &keys {
        let values = values(&mut redis, key).await;
        let lifetime: i64 = redis.pttl(key).await.unwrap();
        // The key has expired since the keys were listed: a rate limit that is hardly used needs milliseconds.
        if lifetime == EXPIRED {
            continue;
        }
        let longest = longest(&kind(key)).as_millis();
        let bounded = u128::try_from(lifetime).is_ok_and(|it| it <= longest);
        assert!(bounded, "{key} is kept for {lifetime} ms");
        assert!(!values.is_empty(), "{key} has a format");
        for value in values {
            let format = if SEALED.contains(&&*kind(key)) { b'2' } else { b'1' };
            let text = String::from_utf8_lossy(&value);
            assert_eq!(value.first(), Some(&format), "{key}: {text:?}");
        }
        kinds.insert(kind(key));
    }
    let missing: Vec<_> = KINDS.iter().filter(|it| !kinds.contains(**it)).collect();
    assert!(missing.is_empty(), "nothing was kept as {missing:?}, only as {kinds:?}");
}
