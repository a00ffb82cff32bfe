//! Client metadata documents: validated when they are fetched, cached for a limited time, and
//! stored as a snapshot.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use oauth::client::{self, Client, ClientError, ClientKind};
use serde_json::{Value, json};

use crate::{
    host::Reply,
    world::{PUBLIC, World, document},
};

const URL: &str = "https://app.example.com/client";

async fn find(world: &World, url: &str) -> Result<Client, ClientError> {
    client::find(world.app.oauth(), url).await
}

async fn refused(world: &World, url: &str) -> bool {
    let found = find(world, url).await;
    matches!(found, Err(ClientError::Refused(_) | ClientError::Unreachable { .. }))
}

fn serve(world: &World, document: Value) {
    world.documents.answer(move |_| Reply::json(200, &document));
}

#[tokio::test]
async fn a_document_identifies_a_client() {
    let world = World::new().await;
    let client = find(&world, URL).await.unwrap();
    assert_eq!(client.name.as_str(), "Document App");
    assert!(client.may_refresh);
    let host = "app.example.com".to_owned();
    assert_eq!(client.kind, ClientKind::MetadataDocument { host });
    assert_eq!(client::find_snapshot(world.app.oauth(), URL).await, Ok(client));
    let [request] = &world.documents.seen()[..] else {
        panic!("expected exactly one request");
    };
    assert_eq!(request.method, "GET");
    assert!(request.head.contains("accept: application/json"), "{}", request.head);
    assert!(!request.head.contains("cookie") && !request.head.contains("authorization"));
}

#[tokio::test]
async fn an_invalid_url_is_never_resolved() {
    let world = World::new().await;
    for url in [
        "http://app.example.com/client",
        "HTTPS://app.example.com/client",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/a/../c",
        "https://app.example.com/%2e%2e/c",
        "https://app.example.com/c#x",
        "https://me@app.example.com/c",
        "https://app.example.com:8443/c",
        "https://127.0.0.1/c",
        "https://[::1]/c",
        "https://2130706433/c",
        "https://0177.0.0.1/c",
        "https://localhost/c",
        &format!("https://app.example.com/{}", "a".repeat(500)),
    ] {
        assert!(refused(&world, url).await, "{url}");
    }
    assert_eq!(world.resolver.lookups.load(Ordering::Relaxed), 0);
    assert_eq!(world.documents.connections(), 0);
}

#[tokio::test]
async fn internal_addresses_are_never_connected_to() {
    let world = World::new().await;
    for internal in [
        &["10.0.0.1"][..],
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["100.64.0.1"],
        &["0.0.0.0"],
        &["224.0.0.1"],
        &["::1"],
        &["fc00::1"],
        &["fe80::1"],
        &["::ffff:10.0.0.1"],
        &["64:ff9b::a00:1"],
        &["2002:a00:1::"],
        &["2001:0:a00:1::"],
        &[PUBLIC, "10.0.0.1"],
        &["fd00::1", PUBLIC],
        &[],
    ] {
        world.resolver.set("app.example.com", &[internal]);
        assert!(refused(&world, URL).await, "{internal:?}");
        // So that the rate limit of the host is not the cause.
        world.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(world.documents.connections(), 0);
    for public in [PUBLIC, "2606:4700::1111", "64:ff9b::5db8:d822"] {
        world.resolver.set("app.example.com", &[&[public]]);
        assert!(find(&world, URL).await.is_ok(), "{public}");
        world.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(world.documents.connections(), 3);
}

#[tokio::test]
async fn the_checked_address_is_used_for_the_connection() {
    let world = World::new().await;
    world.resolver.set("app.example.com", &[&[PUBLIC], &["127.0.0.1"]]);
    assert!(find(&world, URL).await.is_ok());
    assert_eq!(world.resolver.lookups.load(Ordering::Relaxed), 1, "the name was resolved once");
    // The next fetch resolves the name again, for a new connection.
    world.clock.advance(Duration::from_hours(25));
    assert!(find(&world, URL).await.is_ok(), "the snapshot of the first document is used");
    assert_eq!(world.documents.connections(), 1, "the internal address was not connected to");
    assert_eq!(world.resolver.lookups.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn invalid_responses_are_rejected_within_the_limits() {
    let large = format!("{}{}", document(URL), " ".repeat(5_121));
    let body = document(URL).to_string();
    for reply in [
        Reply::With(301, "location: https://app.example.com/other\r\n", String::new()),
        Reply::With(302, "location: http://127.0.0.1/\r\n", String::new()),
        Reply::Answer(204, "application/json", String::new()),
        Reply::Answer(404, "application/json", body.clone()),
        Reply::Answer(500, "application/json", body.clone()),
        Reply::Answer(200, "text/html", body.clone()),
        Reply::With(200, "", body.clone()),
        Reply::With(
            200,
            "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            "\u{1f}x".into(),
        ),
        Reply::Answer(200, "application/json", large),
        Reply::Endless,
    ] {
        let world = World::new().await;
        world.documents.answer(move |_| reply.clone());
        let began = Instant::now();
        assert!(refused(&world, URL).await);
        assert!(began.elapsed() < Duration::from_secs(6));
        assert_eq!(
            world.documents.seen().len(),
            1,
            "redirects are not followed, and nothing is retried"
        );
    }
}

#[tokio::test]
async fn a_slow_host_times_out_after_five_seconds() {
    let world = World::new().await;
    for reply in [Reply::Silence, Reply::Trickle] {
        world.documents.answer(move |_| reply.clone());
        let began = Instant::now();
        assert!(refused(&world, URL).await);
        assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_rejected() {
    let world = World::new().await;
    assert!(refused(&world, "https://elsewhere.example.com/c").await);
    assert!(world.documents.seen().is_empty());
}

#[tokio::test]
async fn invalid_documents_are_rejected() {
    let change = |member: &str, value: Value| {
        let mut document = document(URL);
        document[member] = value;
        document
    };
    for (document, is_valid) in [
        (document(URL), true),
        (json!([document(URL)]), false),
        (json!("text"), false),
        (document("https://app.example.com/Client"), false),
        (document("https://app.example.com/client/"), false),
        (document("https://app.example.com/client?"), false),
        (change("client_id", json!(null)), false),
        (change("client_secret", json!("x")), false),
        (change("client_secret_expires_at", json!(0)), false),
        (change("redirect_uris", json!(null)), false),
        (change("redirect_uris", json!([])), false),
        (change("redirect_uris", json!([1])), false),
        (change("redirect_uris", json!(["myapp://cb"])), false),
        (change("redirect_uris", json!(["myapp://cb", "http://localhost/cb"])), true),
        (change("response_types", json!(["token"])), false),
        (change("grant_types", json!(["client_credentials"])), false),
        (change("token_endpoint_auth_method", json!("client_secret_basic")), false),
        (change("token_endpoint_auth_method", json!("client_secret_post")), false),
        (change("token_endpoint_auth_method", json!("private_key_jwt")), false),
        (change("client_secret", json!(null)), true),
        (change("client_secret_expires_at", json!(null)), true),
        (change("client_name", json!(null)), true),
        (change("grant_types", json!(null)), true),
        (change("response_types", json!(null)), true),
        (change("scope", json!(null)), true),
        (change("scope", json!("openid")), true),
        (change("token_endpoint_auth_method", json!(null)), true),
        (change("token_endpoint_auth_method", json!("")), true),
        (change("jwks", json!(null)), true),
        (change("jwks", json!({"keys": [{"kty": "EC", "d": null}]})), true),
        (change("jwks", json!({"keys": [{"kty": "EC", "d": "x"}]})), false),
        (change("client_name", json!(7)), true),
    ] {
        let world = World::new().await;
        serve(&world, document.clone());
        assert_eq!(!refused(&world, URL).await, is_valid, "{document}");
    }
    // A client that prefers `private_key_jwt` but supports `none` is accepted.
    let world = World::new().await;
    let mut prefers = change("token_endpoint_auth_method", json!("private_key_jwt"));
    prefers["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt", "none"]);
    serve(&world, prefers);
    assert!(find(&world, URL).await.is_ok());
}

#[tokio::test]
async fn failures_are_not_cached() {
    let world = World::new().await;
    world.documents.answer(|_| Reply::Answer(500, "text/plain", String::new()));
    assert!(refused(&world, URL).await);
    serve(&world, document(URL));
    assert!(find(&world, URL).await.is_ok());
}

#[tokio::test]
async fn documents_are_cached_as_their_headers_say_within_limits() {
    for (control, minutes) in [
        ("", 5),
        ("cache-control: max-age=0\r\n", 1),
        ("cache-control: no-store\r\n", 1),
        ("cache-control: private, max-age=600\r\n", 10),
        ("cache-control: max-age=31536000\r\n", 24 * 60),
        ("cache-control: max-age=99999999999999999999\r\n", 24 * 60),
        ("cache-control: max-age=x\r\n", 1),
    ] {
        let world = World::new().await;
        let head: &'static str = format!("content-type: application/json\r\n{control}").leak();
        world.documents.answer(move |_| Reply::With(200, head, document(URL).to_string()));
        find(&world, URL).await.unwrap();
        world.clock.advance(Duration::from_secs(minutes * 60 - 1));
        find(&world, URL).await.unwrap();
        assert_eq!(world.documents.seen().len(), 1, "{control}");
        world.clock.advance(Duration::from_secs(1));
        find(&world, URL).await.unwrap();
        assert_eq!(world.documents.seen().len(), 2, "{control}");
    }
}

#[tokio::test]
async fn the_snapshot_outlives_the_document() {
    let world = World::new().await;
    let before = find(&world, URL).await.unwrap();
    let mut renamed = document(URL);
    renamed["client_name"] = json!("Another Name");
    serve(&world, renamed);
    let snapshot = client::find_snapshot(world.app.oauth(), URL).await.unwrap();
    assert_eq!(snapshot, before, "the snapshot is used without fetching");

    world.clock.advance(Duration::from_mins(5));
    let after = find(&world, URL).await.unwrap();
    assert_eq!(after.name.as_str(), "Another Name");
    assert_ne!(after.metadata_hash, before.metadata_hash);
    assert_eq!(client::find_snapshot(world.app.oauth(), URL).await, Ok(after.clone()));

    world.documents.answer(|_| Reply::Answer(404, "text/plain", String::new()));
    world.clock.advance(Duration::from_hours(1));
    assert!(refused(&world, URL).await);
    assert_eq!(client::find_snapshot(world.app.oauth(), URL).await, Ok(after));
    let unknown = "https://app.example.com/unknown";
    let unknown = client::find_snapshot(world.app.oauth(), unknown).await;
    assert_eq!(unknown, Err(ClientError::Unknown));
}

#[tokio::test]
async fn concurrent_requests_share_one_fetch_per_instance() {
    let world = Arc::new(World::new().await);
    let services = [world.app.clone(), world.another().await];
    let requests: Vec<_> = (0..200)
        .map(|number| {
            let app = services[number % 2].clone();
            tokio::spawn(async move { client::find(app.oauth(), URL).await.is_ok() })
        })
        .collect();
    for request in requests {
        assert!(request.await.unwrap());
    }
    let fetches = world.documents.seen().len();
    assert!((1..=services.len()).contains(&fetches), "{fetches}");
}

#[tokio::test]
async fn at_most_ten_documents_per_minute_are_fetched_from_a_host() {
    let world = World::new().await;
    for number in 0..30 {
        drop(find(&world, &format!("{URL}/{number}")).await);
    }
    assert_eq!(world.documents.seen().len(), 10);
    let busy = find(&world, &format!("{URL}/x")).await;
    assert!(matches!(busy, Err(ClientError::TooMany(_))), "{busy:?}");
    // Cached documents still work, and another host has its own limit.
    assert!(find(&world, &format!("{URL}/0")).await.is_ok());
    world.documents.answer(|_| Reply::json(200, &document("https://other.example.com/c")));
    assert!(find(&world, "https://other.example.com/c").await.is_ok());
}
