//! The official Rust client signs in from nothing but an address, and later goes on by itself.

use std::time::Duration;

use rmcp::{
    ClientLifecycleMode, ClientServiceExt as _, RoleClient,
    model::{CallToolRequestParams, ProtocolVersion},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tests::{
    browser::{Browser, REDIRECT_URI},
    cluster::{Cluster, Database, Setup},
    github::GitHub,
    in_time,
};

/// Longer than any access token is good for.
const TOO_LONG: Duration = Duration::from_hours(2);

async fn call(client: &RunningService<RoleClient, ()>, name: &'static str, input: Value) -> Value {
    let Value::Object(input) = input else { panic!("arguments are an object") };
    let params = CallToolRequestParams::new(name).with_arguments(input);
    let result = in_time("a tool answers", client.call_tool(params)).await.expect("it answers");
    assert_ne!(result.is_error, Some(true), "{result:?}");
    result.structured_content.expect("our tools answer with structure")
}

async fn signs_in(cluster: &Cluster, lifecycle: ClientLifecycleMode) {
    let mut state = OAuthState::new(cluster.web(0).mcp(), None).await.expect("the address is good");
    let request = AuthorizationRequest::new(REDIRECT_URI).with_client_name("The Rust client");
    state.start_authorization(request).await.expect("the client finds out how and registers");
    let address = state.get_authorization_url().await.expect("there is a page to open");
    let back = Browser::new(cluster).follow(&address).await;
    state.handle_callback_url(&back).await.expect("the client gets tokens");

    let manager = state.into_authorization_manager().expect("the client is authorized");
    let http = AuthClient::new(reqwest::Client::default(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(cluster.web(0).mcp());
    let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
    let client = ().serve_with_lifecycle(transport, lifecycle).await.expect("the client connects");

    let tools = client.list_all_tools().await.expect("the tools are listed");
    assert!(tools.iter().any(|tool| tool.name == "items_create"));
    let item = json!({ "title": "Groceries", "body": "Milk" });
    let id = call(&client, "items_create", item).await["id"].clone();

    let before = http.get_access_token().await.expect("the client has a token");
    cluster.clock().advance(TOO_LONG);
    let read = call(&client, "items_get", json!({ "id": id })).await;
    assert_eq!(read["body"], "Milk");
    let after = http.get_access_token().await.expect("the client has a token");
    assert_ne!(before, after, "the token was replaced without the person");

    client.cancel().await.expect("the client ends");
}

#[tokio::test]
async fn the_rust_client_signs_in_with_github() {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Postgres).with_github(&github);
    signs_in(&setup.start().await, ClientLifecycleMode::Initialize).await;
}

#[tokio::test]
async fn the_rust_client_signs_in_on_ones_own_machine() {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = ClientLifecycleMode::Discover { preferred_versions };
    signs_in(&Cluster::on_sqlite(1).await, lifecycle).await;
}
