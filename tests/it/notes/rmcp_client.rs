//! The official Rust client (rmcp) uses the product, in both eras.
#![expect(deprecated, reason = "rmcp deprecates sampling, which notes_summarize is about")]

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData, RoleClient,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams,
        CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction, Implementation,
        ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams, SamplingMessage,
    },
    service::{NotificationContext, RequestContext, RunningService},
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tests::{
    cluster::{Database, Setup},
    in_time,
};

/// A client handler that answers questions.
#[derive(Default)]
struct Person {
    agrees: Mutex<bool>,
    asked: Mutex<Vec<String>>,
    progress: AtomicUsize,
}

#[derive(Clone)]
struct Client(std::sync::Arc<Person>);

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities =
            serde_json::from_value(json!({ "sampling": {}, "elicitation": {} })).unwrap();
        ClientConfig::new(capabilities, Implementation::new("tests", "1"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        self.0.asked.lock().unwrap().push(message);
        Ok(if *self.0.agrees.lock().unwrap() {
            ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "confirm": true }))
        } else {
            ElicitResult::new(ElicitationAction::Decline)
        })
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let message = SamplingMessage::assistant_text("Buy milk and bread.");
        Ok(CreateMessageResult::new(message, "a model of the test".to_owned()))
    }

    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }
}

/// The structured result of a tool. `None` if it failed.
async fn call(
    client: &RunningService<RoleClient, Client>,
    name: &'static str,
    arguments: Value,
) -> Option<Value> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let params = CallToolRequestParams::new(name).with_arguments(arguments);
    let result = in_time("a tool answers", client.call_tool(params)).await.expect("it answers");
    if result.is_error == Some(true) { None } else { result.structured_content }
}

async fn uses_the_notes(lifecycle: ClientLifecycleMode) {
    let cluster = Setup::new(Database::Sqlite).product(notes::product).start().await;
    let config = StreamableHttpClientTransportConfig::with_uri(cluster.web(0).mcp())
        .auth_header(cluster.token("ada").await);
    let person = std::sync::Arc::new(Person::default());
    let client = Client(person.clone())
        .serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), lifecycle)
        .await
        .expect("the client connects");

    let tools = client.list_all_tools().await.expect("the tools are listed");
    assert!(tools.iter().any(|tool| tool.name == "notes_delete"));

    let note = json!({ "title": "Groceries", "body": "Milk, bread" });
    let id = call(&client, "notes_create", note).await.unwrap()["id"].clone();
    let read = call(&client, "notes_get", json!({ "id": id })).await.unwrap();
    assert_eq!(read["body"], "Milk, bread");
    let uri = format!("notes://by-id/{}", id.as_str().unwrap());
    let resource = client.read_resource(ReadResourceRequestParams::new(uri)).await.unwrap();
    let resource = serde_json::to_value(resource).unwrap();
    assert!(resource["contents"][0]["text"].as_str().unwrap().contains("Milk, bread"));

    let summary = call(&client, "notes_summarize", json!({ "ids": [id] })).await.unwrap();
    assert_eq!(summary["summary"], "Buy milk and bread.");
    assert!(person.progress.load(Ordering::Relaxed) > 0, "progress arrived");

    // This client declines at once, so the server does not know whether the person was asked.
    let kept = call(&client, "notes_delete", json!({ "id": id })).await.unwrap();
    assert!(kept["reason"].as_str().unwrap().contains("without the user"), "{kept}");
    assert!(call(&client, "notes_get", json!({ "id": id })).await.is_some(), "the person declined");
    *person.agrees.lock().unwrap() = true;
    call(&client, "notes_delete", json!({ "id": id })).await;
    assert!(call(&client, "notes_get", json!({ "id": id })).await.is_none(), "the person agreed");
    assert!(person.asked.lock().unwrap().iter().all(|question| question.contains("Groceries")));

    client.cancel().await.expect("the client ends");
}

#[tokio::test]
async fn the_rust_client_with_a_session() {
    uses_the_notes(ClientLifecycleMode::Initialize).await;
}

#[tokio::test]
async fn the_rust_client_without_a_session() {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    uses_the_notes(ClientLifecycleMode::Discover { preferred_versions }).await;
}
