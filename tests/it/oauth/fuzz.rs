//! N135: what strangers send, a few hundred times in every run. The targets in `fuzz` send more, with
//! an eye on which code it reaches.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use tests::{documents, strangers::Strangers};

/// How many inputs of each kind: a second or two.
const CASES: u32 = 256;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

/// Pieces of requests, in every order.
fn parameters() -> impl Strategy<Value = Vec<u8>> {
    let names = select(vec![
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "resource",
        "prompt",
        "request",
        "request_uri",
        "response_mode",
        "grant_type",
        "code",
        "code_verifier",
        "refresh_token",
        "client_secret",
        "token",
    ]);
    let known = select(vec![
        "code",
        "an-app",
        "http://127.0.0.1:33418/callback",
        "items:read",
        "S256",
        "none",
        "mac_",
        "mrt_",
        "mcl_",
        "authorization_code",
        "refresh_token",
        "%00",
        "%ff%fe",
        "%",
        "+",
        "http://127.0.0.1/mcp",
        "https://n.example.com/%2e%2e/",
    ]);
    let value = prop_oneof![known.prop_map(str::to_owned), "\\PC{0,60}", "[A-Za-z0-9_-]{43}"];
    vec((names, value), 0..12).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&").into_bytes()
    })
}

/// Something right with a few bytes changed.
fn nearly(right: impl Into<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let right = right.into();
    vec((any::<prop::sample::Index>(), any::<u8>()), 1..4).prop_map(move |changes| {
        let mut bytes = right.clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

/// JSON of any shape, with the members that mean something.
fn metadata() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        select(vec![
            "none",
            "code",
            "https://a.example/cb",
            "http://127.0.0.1/",
            "ES256",
            "at+jwt"
        ])
        .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("\\PC{0,8}", inner), 0..3).prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    });
    let names = select(vec![
        "client_id",
        "client_name",
        "redirect_uris",
        "grant_types",
        "response_types",
        "jwks",
        "token_endpoint_auth_method",
        "token_endpoint_auth_methods_supported",
        "scope",
        "application_type",
        "typ",
        "alg",
        "kid",
        "crit",
        "b64",
    ]);
    vec((names, value), 0..8).prop_map(|pairs| {
        Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

#[test]
fn n135_no_query_is_too_much() {
    let target = Strangers::new();
    let near = nearly(Strangers::good_query());
    let inputs = prop_oneof![vec(any::<u8>(), 0..300), parameters(), near];
    proptest!(cases(), |(query in inputs)| target.ask(&query));
}

#[test]
fn n135_no_form_is_too_much() {
    let target = Strangers::new();
    let right = "grant_type=authorization_code&client_id=an-app&code=mac_x&code_verifier=x";
    let inputs = prop_oneof![vec(any::<u8>(), 0..300), parameters(), nearly(right)];
    proptest!(cases(), |(form in inputs)| target.exchange(&form));
}

#[test]
fn n135_no_document_is_too_much() {
    let target = Strangers::new();
    let right = documents::document("https://n0.example.com/client").to_string();
    let any_json = metadata().prop_map(|it| it.to_string().into_bytes());
    let inputs = prop_oneof![vec(any::<u8>(), 0..300), any_json, nearly(right)];
    proptest!(cases(), |(document in inputs)| target.introduce(&document));
}

#[test]
fn n135_no_header_of_a_token_is_too_much() {
    let target = Strangers::new();
    let right = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "unknown" }).to_string();
    let any_json = metadata().prop_map(|it| it.to_string().into_bytes());
    let inputs = prop_oneof![vec(any::<u8>(), 0..300), any_json, nearly(right)];
    proptest!(cases(), |(header in inputs)| target.present(&header));
}
