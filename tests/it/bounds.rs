//! What one person can make the store and an instance hold is bounded, on every instance.

use std::time::Duration;

use app::{config::RedisSettings, redis::usage::measure};
use futures_util::future::join_all;
use mcp::store::{MAX_SESSIONS_PER_USER, MAX_SUBSCRIPTION_BYTES, MAX_URI_BYTES};
use platform::secret::Secret;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    client::{Page, Web},
    cluster::{Cluster, Database, Setup},
    eventually, in_time,
    redis::Server,
    schema::Revision,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

const REVISION: Revision = Revision::November2025;

/// Far more than anything that a client has to say.
const OVERLONG: usize = 2 * 1024 * 1024;

fn overlong() -> String {
    "x".repeat(OVERLONG)
}

/// Enough calls for an attack: the quota is not what is tested.
async fn two_instances(server: &Server) -> Cluster {
    let setup = Setup::new(Database::Sqlite).instances(2).with("RATE_LIMIT_PER_MINUTE", "100000");
    setup.on_redis_at(server.url()).start().await
}

/// Bytes that a Redis server uses for data, its own tables included.
async fn used(server: &Server) -> u64 {
    let info = server.run("INFO memory").await;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
    line.expect("Redis says what it uses").trim().parse().expect("a number")
}

fn initialize(params: &Value) -> Value {
    let mut whole = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "attack", "version": "1" },
    });
    for (name, value) in params.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": whole })
}

async fn posted(cluster: &Cluster, instance: usize, token: &str, body: &Value) -> Page {
    Page::read(cluster.web(instance).post(token, body.to_string())).await
}

/// The message of a JSON-RPC error, empty if it is none.
fn refusal(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_says_of_itself_is_kept_whole_when_it_is_overlong() {
    let server = Server::start().await;
    let cluster = two_instances(&server).await;
    let token = cluster.token("ada").await;
    let cases = [
        ("a name", json!({ "clientInfo": { "name": overlong(), "version": "1" } }), None),
        ("a title", json!({ "clientInfo": { "name": "a", "title": overlong() } }), None),
        ("a version", json!({ "clientInfo": { "name": "a", "version": overlong() } }), None),
        ("a field", json!({ "clientInfo": { "name": "a", "description": overlong() } }), None),
        ("an icon", json!({ "clientInfo": { "icons": [{ "src": overlong() }] } }), None),
        ("metadata", json!({ "_meta": { "x": overlong() } }), None),
        ("a revision", json!({ "protocolVersion": overlong() }), None),
        (
            "a field of sampling",
            json!({ "capabilities": { "sampling": { "x": overlong() } } }),
            Some("`capabilities` has"),
        ),
        (
            "an extension",
            json!({ "capabilities": { "extensions": { overlong(): {} } } }),
            Some("`capabilities` has"),
        ),
    ];
    for (index, (what, params, refused)) in cases.iter().enumerate() {
        let before = used(&server).await;
        let answer = posted(&cluster, index % 2, &token, &initialize(params)).await;
        let kept = used(&server).await.saturating_sub(before);
        assert!(kept < 512 * 1024, "{what}: {kept} bytes are kept");
        match refused {
            None => assert!(answer.json()["result"].is_object(), "{what}: {}", answer.text()),
            Some(why) => assert!(refusal(&answer.json()).contains(why), "{what}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_session_sends_is_kept_when_it_is_overlong() {
    let server = Server::start().await;
    let cluster = two_instances(&server).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let uri = format!("items://by-id/{}", overlong());
    let mut with_id = ada.body("ping", Value::Null);
    with_id["id"] = json!(overlong());
    let cases = [
        ("a URI", ada.body("resources/subscribe", json!({ "uri": uri })), "the maximum is 1024"),
        ("a request id", with_id, "the maximum is 256"),
    ];
    for (index, (what, body, why)) in cases.iter().enumerate() {
        let before = used(&server).await;
        let answer = ada.at(cluster.web(index % 2)).send_on_purpose(body).await;
        assert!(refusal(&answer.json()).contains(why), "{what}");
        let kept = used(&server).await.saturating_sub(before);
        assert!(kept < 512 * 1024, "{what}: {kept} bytes are kept");
    }
    assert_eq!(ada.call("ping", Value::Null).await.status, 200, "the session is as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_follows_so_many_bytes_of_uris_wherever_it_asks() {
    let server = Server::start().await;
    let cluster = two_instances(&server).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let mut followed = 0;
    for number in 0..2 * MAX_SUBSCRIPTION_BYTES / MAX_URI_BYTES {
        let uri = format!("items://by-id/{number:0>1010}");
        assert_eq!(uri.len(), MAX_URI_BYTES);
        let there = ada.at(cluster.web(number % 2));
        let answer = there.call("resources/subscribe", json!({ "uri": uri })).await.message;
        if answer["result"].is_object() {
            followed += uri.len();
        } else {
            let message = refusal(&answer);
            assert!(message.contains("unsubscribe from some first"), "{message}");
        }
    }
    assert_eq!(followed, MAX_SUBSCRIPTION_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_sessions_are_bounded_when_two_instances_race() {
    let server = Server::start().await;
    let cluster = two_instances(&server).await;
    let bob = cluster.web(0).legacy(cluster.token("bob").await, REVISION).await;
    let token = cluster.token("ada").await;
    let first = cluster.web(0).legacy(&token, REVISION).await;
    let body = initialize(&json!({}));
    let racing = (0..2 * MAX_SESSIONS_PER_USER).map(|n| posted(&cluster, n % 2, &token, &body));
    for answer in join_all(racing).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let expected = format!(":{}", MAX_SESSIONS_PER_USER + 1);
    eventually("only ada's sessions and the one of bob are left", async || {
        let count = r#"EVAL "return #redis.call('keys', '*:session')" 0"#;
        (server.run(count).await.trim() == expected).then_some(())
    })
    .await;
    assert_eq!(bob.call("ping", Value::Null).await.status, 200, "somebody else notices nothing");
    let ended = first.send_on_purpose(&first.body("ping", Value::Null)).await;
    assert_eq!(ended.status, StatusCode::NOT_FOUND, "the longest idle one went");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_store_survives_somebody_who_says_much() {
    let server = Server::start().await;
    server.run("CONFIG SET maxmemory 24mb").await;
    server.run("CONFIG SET maxmemory-policy noeviction").await;
    let cluster = two_instances(&server).await;
    let token = cluster.token("mallory").await;
    let large = initialize(&json!({ "clientInfo": { "name": overlong(), "version": "1" } }));
    for number in 0..60 {
        posted(&cluster, number % 2, &token, &large).await;
    }
    let small = initialize(&json!({}));
    for number in 0..3 * MAX_SESSIONS_PER_USER {
        posted(&cluster, number % 2, &token, &small).await;
    }
    let ada = cluster.web(1).legacy(cluster.token("ada").await, REVISION).await;
    assert_eq!(ada.call("ping", Value::Null).await.status, 200);
    assert!(used(&server).await < 8 * 1024 * 1024);
}

fn listen(uris: &[String]) -> Value {
    json!({ "notifications": { "resourceSubscriptions": uris } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_streams_are_bounded_and_calls_still_pass() {
    let cluster = Setup::new(Database::Sqlite)
        .instances(1)
        .with("RATE_LIMIT_PER_MINUTE", "100000")
        .start()
        .await;
    let token = cluster.token("mallory").await;
    let mallory = cluster.web(0).modern(&token);
    for uris in [
        vec![format!("items://by-id/{}", overlong())],
        (0..100).map(|number| format!("items://by-id/{number:0>1010}")).collect(),
    ] {
        let body = mallory.body("subscriptions/listen", listen(&uris));
        let refused = mallory.send_on_purpose(&body).await;
        assert_eq!(refused.status, 400);
        assert!(refusal(&refused.message).contains("at most"), "{:#}", refused.message);
    }

    let opened = async || mallory.open("subscriptions/listen", listen(&[])).await;
    let mut open = Vec::new();
    let refused = loop {
        let stream = opened().await;
        if stream.status() != StatusCode::OK {
            break stream;
        }
        open.push(stream);
        assert!(open.len() < 1_000, "streams of one person are not bounded");
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(mallory.tool("items_list", json!({})).await.status, 200, "a call still passes");
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let theirs = ada.open("subscriptions/listen", listen(&[])).await;
    assert_eq!(theirs.status(), StatusCode::OK, "somebody else's stream opens");

    open.truncate(open.len() / 2);
    eventually("a closed stream makes room", async || {
        (opened().await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

/// A request whose body is announced and begun, and not ended.
async fn unfinished(web: &Web, token: &str, sent: usize) -> TcpStream {
    let address = web.origin().strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).await.expect("the instance accepts");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: 4194304\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the head is taken");
    // The other side may refuse and close while this is written.
    let _refused = stream.write_all(&vec![b' '; sent]).await;
    stream
}

/// The status of an answer that has arrived, if one has.
async fn answered(stream: &mut TcpStream) -> Option<String> {
    let mut line = [0; 12];
    let reading = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut line));
    reading.await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&line[9..]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_of_one_person_are_bounded_and_keep_nobody_else_out() {
    let setup = Setup::new(Database::Sqlite).instances(1).with("RATE_LIMIT_PER_MINUTE", "100000");
    let cluster = setup.start().await;
    let (web, token) = (cluster.web(0), cluster.token("mallory").await);
    let most = 3 * 1024 * 1024;
    let mut bodies = join_all((0..40).map(|_| unfinished(web, &token, most))).await;
    let mut refused = 0;
    eventually("most of the bodies are refused", async || {
        for stream in &mut bodies {
            if let Some(status) = answered(stream).await {
                assert_eq!(status, "429");
                refused += 1;
            }
        }
        // 16 MiB are held, in bodies of 3 MiB and parts of some.
        (refused >= 20).then_some(())
    })
    .await;
    let ada = web.modern(cluster.token("ada").await);
    let title = "x".repeat(200);
    let created = ada.tool("items_create", json!({ "title": title, "body": "" })).await;
    assert_eq!(created.status, 200, "{:#}", created.message);
    drop(bodies);
    let mallory = web.modern(&token);
    eventually("what was held is given back", async || {
        let large = json!({ "text": "x".repeat(2 * 1024 * 1024) });
        let body = mallory.body("tools/call", json!({ "name": "items_list", "arguments": large }));
        (mallory.send_on_purpose(&body).await.status != 429).then_some(())
    })
    .await;
}

/// The length of an answer that the kernel cannot take whole: Linux and macOS buffer at most 4 MiB for a
/// connection whose other end does not read.
const UNREAD_BYTES: usize = 6 * 1024 * 1024;

/// Sends a request as a client with a small receive buffer, and reads no more of the response than
/// shows that the answer has begun. Returns the status and the connection.
async fn begun(web: &Web, head: &str, body: &str) -> (String, TcpStream) {
    let address = web.origin().strip_prefix("http://").expect("plain HTTP");
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_recv_buffer_size(4096).expect("the system allows a small buffer");
    let address = address.parse().expect("the origin is an address");
    let mut stream = socket.connect(address).await.expect("the instance accepts");
    let length = body.len();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut response = String::new();
    while !response.contains("\"jsonrpc\"") {
        let mut part = [0; 256];
        let read = in_time("the answer begins", stream.read(&mut part)).await;
        let read = read.expect("the instance does not break off");
        assert_ne!(read, 0, "the response ends before an answer: {response}");
        response.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    (response[9..12].to_owned(), stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_do_not_fill_the_store() {
    let server = Server::start().await;
    let setup = Setup::new(Database::Sqlite).instances(2);
    let cluster = setup.on_redis_at(server.url()).start().await;
    let token = cluster.token("mallory").await;
    let mallory = cluster.web(0).legacy(&token, REVISION).await;
    // Without JSON among what is accepted, every answer is a stream, which the store keeps until the
    // client has it.
    let head = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: text/event-stream\r\nMcp-Session-Id: {}\r\nMcp-Protocol-Version: 2025-11-25\r\n",
        mallory.session()
    );
    let mut unread = Vec::new();
    for number in 0..30 {
        let arguments = json!({ "bytes": UNREAD_BYTES });
        let call = json!({ "name": "test_long_text", "arguments": arguments });
        let body = mallory.body("tools/call", call).to_string();
        let (status, stream) = begun(cluster.web(number % 2), &head, &body).await;
        assert_eq!(status, "200", "an exhausted budget never refuses a call");
        unread.push(stream);
    }
    let kept = used(&server).await;
    // The budget is 32 MiB: room for five of these answers.
    assert!(kept > 5 * UNREAD_BYTES as u64, "only {kept} bytes wait to be read");
    assert!(kept < 80 * 1024 * 1024, "one person holds {kept} bytes");
    let ada = cluster.web(1).legacy(cluster.token("ada").await, REVISION).await;
    assert_eq!(ada.call("ping", Value::Null).await.status, 200);
}

/// What every key of the cluster on a server begins with.
async fn prefix(server: &Server) -> String {
    let key = server.run("RANDOMKEY").await;
    let key = key.lines().nth(1).expect("there are keys");
    format!("{}:", key.split(':').next().expect("a key has a prefix"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_noticed_and_who_fills_it_can_be_told() {
    let server = Server::start().await;
    let cluster = two_instances(&server).await;
    let token = cluster.token("mallory").await;
    for number in 0..20 {
        posted(&cluster, number % 2, &token, &initialize(&json!({}))).await;
    }
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let health = cluster.web(1).get("/healthz").await;
    assert_eq!(health.json()["warning"], Value::Null);

    server.run("CONFIG SET maxmemory 1mb").await;
    let refused = posted(&cluster, 1, &token, &initialize(&json!({}))).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let health = cluster.web(1).get("/healthz").await;
    assert_eq!(health.status, 200, "another instance would be no better off");
    let warning = health.json()["warning"].as_str().unwrap_or_default().to_owned();
    assert!(warning.contains("Redis is full"), "{warning}");
    assert_eq!(ada.call("ping", Value::Null).await.status, 200, "open sessions go on");

    let settings = RedisSettings { url: Secret::new(server.url()), prefix: prefix(&server).await };
    let usage = measure(&settings).await.expect("Redis can be read");
    assert_eq!(usage.max, 1024 * 1024);
    assert!(usage.used > usage.max && !usage.is_partial);
    let [(first, most), (second, least)] = usage.people.as_slice() else {
        panic!("two people have sessions: {:?}", usage.people);
    };
    assert_eq!((first.as_str(), most.sessions), ("dev:mallory", 20));
    assert_eq!((second.as_str(), least.sessions), ("dev:ada", 1));
    assert!(most.bytes > least.bytes && least.bytes > 0);

    server.run("CONFIG SET maxmemory 0").await;
    let again = posted(&cluster, 1, &token, &initialize(&json!({}))).await;
    assert_eq!(again.status, 200, "{}", again.text());
}
