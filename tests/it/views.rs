//! Views (MCP Apps): a client that declares them sees them on every instance, and for any other client
//! they do not exist.

use serde_json::{Value, json};
use tests::{
    client::{Answer, Legacy, Modern},
    cluster::{Cluster, Database, Setup},
    eventually,
    fixtures::at_gate,
    schema::Revision,
};

on_both_databases!(a_view_finds_the_job_of_its_call_on_another_instance);

const VIEW: &str = "ui://items/list.html";
const VIEW_ONLY: &str = "jobs_status";

/// The capabilities of a host that shows views.
fn with_views() -> Value {
    let settings = json!({ "mimeTypes": ["text/html;profile=mcp-app"] });
    json!({ "extensions": { "io.modelcontextprotocol/ui": settings } })
}

/// The capabilities of clients that do not show views of this kind.
fn without_views() -> [Value; 2] {
    let other = json!({ "mimeTypes": ["text/uri-list"] });
    [json!({}), json!({ "extensions": { "io.modelcontextprotocol/ui": other } })]
}

/// A client of either era.
enum Client {
    Modern(Modern),
    Legacy(Legacy),
}

impl Client {
    async fn call(&self, method: &str, params: Value) -> Answer {
        match self {
            Self::Modern(client) => client.call(method, params).await,
            Self::Legacy(client) => client.call(method, params).await,
        }
    }

    /// The capabilities of the server.
    async fn server(&self) -> Value {
        match self {
            Self::Modern(client) => {
                let discovered = client.call("server/discover", json!({})).await;
                discovered.result()["capabilities"].clone()
            }
            Self::Legacy(client) => client.hello()["capabilities"].clone(),
        }
    }

    async fn tools(&self) -> Vec<Value> {
        let listed = self.call("tools/list", json!({})).await;
        listed.result()["tools"].as_array().unwrap().clone()
    }

    async fn resources(&self) -> Vec<Value> {
        let listed = self.call("resources/list", json!({})).await;
        listed.result()["resources"].as_array().unwrap().clone()
    }
}

/// Clients of all revisions with these capabilities, which connect to the first instance and then send
/// their requests to the second.
async fn clients(cluster: &Cluster, capabilities: &Value) -> Vec<Client> {
    let token = cluster.token("ada").await;
    let modern = cluster.web(1).modern(&token).with_capabilities(capabilities.clone());
    let mut clients = vec![Client::Modern(modern)];
    for revision in Revision::LEGACY {
        let connected = cluster.web(0).legacy_with(&token, revision, capabilities.clone()).await;
        let moved = connected.at(cluster.web(1));
        clients.push(Client::Legacy(moved.without_streams()));
        clients.push(Client::Legacy(moved));
    }
    clients
}

#[tokio::test]
async fn a_client_that_declares_views_sees_them_on_every_instance() {
    let cluster = Cluster::on_postgres(2).await;
    for client in clients(&cluster, &with_views()).await {
        let extensions = &client.server().await["extensions"];
        assert_eq!(extensions["io.modelcontextprotocol/ui"], json!({}));

        let tools = client.tools().await;
        let meta = |name| &tools.iter().find(|tool| tool["name"] == name).unwrap()["_meta"];
        assert_eq!(meta("items_list"), &json!({ "ui": { "resourceUri": VIEW } }));
        assert_eq!(meta(VIEW_ONLY), &json!({ "ui": { "visibility": ["app"] } }));
        assert_eq!(meta("items_create"), &Value::Null);

        let resources = client.resources().await;
        let listed = resources.iter().find(|entry| entry["uri"] == VIEW).unwrap();
        assert_eq!(listed["mimeType"], "text/html;profile=mcp-app");
        assert_eq!(listed["_meta"], json!({ "ui": { "prefersBorder": true } }));

        let read = client.call("resources/read", json!({ "uri": VIEW })).await;
        let contents = &read.result()["contents"][0];
        assert_eq!(contents["uri"], VIEW);
        assert_eq!(contents["mimeType"], "text/html;profile=mcp-app");
        assert_eq!(contents["_meta"], listed["_meta"]);
        let html = contents["text"].as_str().unwrap();
        assert!(html.starts_with("<!doctype html>"), "{html}");
        assert_eq!(html.len(), usize::try_from(listed["size"].as_u64().unwrap()).unwrap());

        let unknown =
            client.call("resources/read", json!({ "uri": "ui://items/other.html" })).await;
        assert!([-32002, -32602].contains(&unknown.code()));
        let call = json!({ "name": VIEW_ONLY, "arguments": { "tool": "items_import" } });
        assert_eq!(client.call("tools/call", call).await.result()["content"][0]["text"], "{}");
    }
}

#[tokio::test]
async fn for_any_other_client_views_do_not_exist() {
    let cluster = Cluster::on_postgres(2).await;
    for capabilities in without_views() {
        for client in clients(&cluster, &capabilities).await {
            let extensions = &client.server().await["extensions"];
            assert!(extensions.get("io.modelcontextprotocol/ui").is_none(), "{extensions}");
            for tool in client.tools().await {
                assert!(tool.get("_meta").is_none(), "{tool}");
                assert_ne!(tool["name"], VIEW_ONLY);
            }
            for resource in client.resources().await {
                assert!(!resource["uri"].as_str().unwrap().starts_with("ui:"), "{resource}");
                assert!(resource.get("_meta").is_none(), "{resource}");
            }
            let read = client.call("resources/read", json!({ "uri": VIEW })).await;
            let unknown = json!({ "uri": "ui://items/other.html" });
            assert_eq!(read.code(), client.call("resources/read", unknown).await.code());

            let call = json!({ "name": VIEW_ONLY, "arguments": { "tool": "items_import" } });
            let refused = client.call("tools/call", call).await;
            let missing = client.call("tools/call", json!({ "name": "no_tool" })).await;
            assert_eq!(refused.code(), missing.code());
        }
    }
}

/// Caches that several clients share must not pass the list on to clients without views.
#[tokio::test]
async fn a_list_with_views_is_not_cached_for_others() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    for (capabilities, scope) in [(json!({}), "public"), (with_views(), "private")] {
        let client = ada.with_capabilities(capabilities);
        for method in ["tools/list", "server/discover"] {
            let answer = client.call(method, json!({})).await;
            assert_eq!(answer.result()["cacheScope"], scope, "{method}");
        }
    }
}

#[tokio::test]
async fn polling_by_views_does_not_use_up_the_calls_of_the_user() {
    let setup = Setup::new(Database::Sqlite).with("RATE_LIMIT_PER_MINUTE", "3");
    let cluster = setup.start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_capabilities(with_views());
    for _ in 0..10 {
        ada.tool(VIEW_ONLY, json!({ "tool": "items_import" })).await.output();
    }
    for _ in 0..3 {
        ada.tool("items_list", json!({})).await.output();
    }
    assert_eq!(ada.tool("items_list", json!({})).await.status, 429);
}

async fn a_view_finds_the_job_of_its_call_on_another_instance(database: Database) {
    let cluster = Setup::new(database).instances(2).workers(1).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let gate = cluster.gate("a");
    let mut call = ada.open("tools/call", at_gate("test_job_gate", "a", 2)).await;
    gate.reached(1).await;
    gate.step();
    gate.reached(2).await;

    let views = |user| {
        let web = cluster.web(1).clone();
        let token = cluster.token(user);
        async move { web.modern(token.await).with_capabilities(with_views()) }
    };
    let view = views("ada").await;
    let at_gate = at_gate("test_job_gate", "a", 2);
    let wanted = json!({ "tool": at_gate["name"], "arguments": at_gate["arguments"] });
    let found = eventually("the progress is stored", async || {
        let found = view.tool(VIEW_ONLY, wanted.clone()).await;
        let job = found.output()["job"].clone();
        (job["progress"]["done"] == 1.0).then_some(job)
    })
    .await;
    assert_eq!(found["status"], "running");
    assert_eq!(found["progress"]["total"], 2.0);

    // Other arguments, another tool and another user have no such job.
    let arguments = json!({ "gate": "a", "steps": 3 });
    for other in [
        json!({ "tool": "test_job_gate", "arguments": arguments }),
        json!({ "tool": "items_import", "arguments": at_gate["arguments"] }),
    ] {
        assert_eq!(view.tool(VIEW_ONLY, other).await.output(), &json!({}));
    }
    let stranger = views("bob").await;
    assert_eq!(stranger.tool(VIEW_ONLY, wanted.clone()).await.output(), &json!({}));
    let by_id = json!({ "id": found["id"] });
    let refused = stranger.tool(VIEW_ONLY, by_id.clone()).await;
    assert!(refused.tool_error().contains("no such job"), "{}", refused.tool_error());
    let refused = view.tool(VIEW_ONLY, json!({})).await;
    assert!(refused.tool_error().contains("Set `id`"), "{}", refused.tool_error());

    gate.step();
    call.rest().await;
    assert_eq!(view.tool(VIEW_ONLY, wanted).await.output(), &json!({}), "it has ended");
    let ended = view.tool(VIEW_ONLY, by_id).await;
    assert_eq!(ended.output()["job"]["status"], "completed");
}
