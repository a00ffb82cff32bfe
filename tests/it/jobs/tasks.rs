//! The tasks extension of 2026-07-28.

use serde_json::json;
use tests::fixtures::at_gate;

use super::{accept, cluster, until};

#[tokio::test]
async fn a_client_with_tasks_gets_a_handle_that_every_instance_knows() {
    let cluster = cluster(3, 2).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    let discovered = ada.call("server/discover", json!({})).await;
    let extensions = &discovered.result()["capabilities"]["extensions"];
    assert!(extensions.get("io.modelcontextprotocol/tasks").is_some(), "{extensions}");

    let made = ada.call("tools/call", at_gate("test_job_gate", "a", 1)).await;
    assert_eq!(made.result()["resultType"], "task");
    assert_eq!(made.result()["status"], "working");
    let task = &made.result()["taskId"];
    cluster.gate("a").reached(1).await;
    let elsewhere = ada.at(cluster.web(1));
    until(&elsewhere, task, "working").await;
    cluster.gate("a").step();
    let done = until(&ada.at(cluster.web(2)), task, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "passed 1 times, 0 of them before");
}

#[tokio::test]
async fn a_question_is_answered_after_the_worker_that_asked_is_gone() {
    let mut cluster = cluster(2, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    let made = ada.tool("multi_input", json!({})).await;
    let task = &made.result()["taskId"];
    let asking = until(&ada, task, "input_required").await;
    assert_eq!(asking["inputRequests"]["name"]["method"], "elicitation/create");
    cluster.end_workers().await;

    let elsewhere = ada.at(cluster.web(1));
    let wrong = json!({ "taskId": task, "inputResponses": { "name": 12345 } });
    assert_eq!(elsewhere.call("tasks/update", wrong).await.code(), -32602);
    let one = json!({ "name": accept(&json!({ "name": "Ada" })), "unknown": true });
    let update = json!({ "taskId": task, "inputResponses": one });
    assert_eq!(elsewhere.call("tasks/update", update).await.result()["resultType"], "complete");
    let asking = until(&ada, task, "input_required").await;
    assert!(asking["inputRequests"].get("name").is_none(), "it was answered: {asking}");
    let other = json!({ "confirm": accept(&json!({ "confirm": true })) });
    ada.call("tasks/update", json!({ "taskId": task, "inputResponses": other })).await;

    cluster.start_worker().await;
    let done = until(&ada, task, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "Ada: true");
}

#[tokio::test]
async fn a_listen_stream_hears_of_its_tasks_and_of_no_others() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    let bob = cluster.web(0).modern(cluster.token("bob").await).with_tasks();
    let his = bob.tool("confirm_delete", json!({ "filename": "his" })).await;
    let hers = ada.tool("confirm_delete", json!({ "filename": "hers" })).await;
    let (his, hers) = (&his.result()["taskId"], &hers.result()["taskId"]);
    let listening = ada.at(cluster.web(1));
    let (mut stream, honoured) = listening.listen(json!({ "taskIds": [his, hers] })).await;
    assert_eq!(honoured["taskIds"], json!([hers]), "somebody else's task does not exist");

    let asking = loop {
        let heard = stream.expect("notifications/tasks").await;
        assert_eq!(&heard["params"]["taskId"], hers);
        if heard["params"]["status"] == "input_required" {
            break heard;
        }
    };
    assert!(asking["params"]["inputRequests"].get("confirm").is_some(), "{asking}");
    let responses = json!({ "confirm": { "action": "decline" } });
    ada.call("tasks/update", json!({ "taskId": hers, "inputResponses": responses })).await;
    let done = loop {
        let heard = stream.expect("notifications/tasks").await;
        if heard["params"]["status"] == "completed" {
            break heard;
        }
    };
    assert_eq!(done["params"]["result"]["content"][0]["text"], "Kept hers");
}

#[tokio::test]
async fn somebody_elses_task_does_not_exist() {
    let cluster = cluster(1, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    let bob = cluster.web(0).modern(cluster.token("bob").await).with_tasks();
    let made = ada.tool("confirm_delete", json!({ "filename": "f" })).await;
    let task = &made.result()["taskId"];
    until(&ada, task, "input_required").await;
    let responses = json!({ "confirm": accept(&json!({ "confirm": true })) });
    for (method, params) in [
        ("tasks/get", json!({ "taskId": task })),
        ("tasks/cancel", json!({ "taskId": task })),
        ("tasks/update", json!({ "taskId": task, "inputResponses": responses })),
    ] {
        assert_eq!(bob.call(method, params).await.code(), -32602, "{method}");
    }
    until(&ada, task, "input_required").await;
}

#[tokio::test]
async fn tasks_are_for_clients_that_declare_them_with_the_request() {
    let cluster = cluster(1, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let refused = ada.tool("failing_job", json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, -32021));
    let needed = &refused.message["error"]["data"]["requiredCapabilities"]["extensions"];
    assert!(needed.get("io.modelcontextprotocol/tasks").is_some(), "{needed}");

    let made = ada.with_tasks().tool("failing_job", json!({})).await;
    let task = &made.result()["taskId"];
    assert_eq!(ada.call("tasks/get", json!({ "taskId": task })).await.code(), -32021);
    let listen = json!({ "notifications": { "taskIds": [task] } });
    assert_eq!(ada.call("subscriptions/listen", listen).await.code(), -32021);
    for removed in ["tasks/result", "tasks/list"] {
        let params = json!({ "taskId": task });
        assert_eq!(ada.with_tasks().call(removed, params).await.code(), -32601, "{removed}");
    }
    // A tool that says that it failed has given a result.
    let done = until(&ada.with_tasks(), task, "completed").await;
    assert_eq!(done["result"]["isError"], true);
}

#[tokio::test]
async fn what_is_asked_before_a_job_is_asked_before_there_is_a_task() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    let call = |more| {
        let mut params = json!({ "name": "test_tool_with_task", "arguments": {} });
        if let serde_json::Value::Object(more) = more {
            params.as_object_mut().unwrap().extend(more);
        }
        params
    };
    let asked = ada.call("tools/call", call(json!({}))).await;
    assert_eq!(asked.result()["resultType"], "input_required");
    let again = call(json!({
        "requestState": asked.result()["requestState"],
        "inputResponses": { "user_name": accept(&json!({ "name": "Ada" })) },
    }));
    let made = ada.at(cluster.web(1)).call("tools/call", again).await;
    assert_eq!(made.result()["resultType"], "task");
    let done = until(&ada, &made.result()["taskId"], "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "Worked for Ada");
}
