//! A question that one instance asked can be answered at another, and the call continues.

use serde_json::{Value, json};
use tests::{client::Legacy, processes::Fleet};

use super::{REVISION, told};

fn ask() -> Value {
    json!({ "name": "test_elicitation", "arguments": { "message": "Who are you?" } })
}

fn form(name: &str) -> Value {
    let content = json!({ "username": name, "email": "a@example.com" });
    json!({ "action": "accept", "content": content })
}

async fn created(ada: &Legacy) -> String {
    let draft = json!({ "title": "Old", "body": "To be deleted." });
    let item = ada.tool("items_create", draft).await;
    item.output()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_question_outlives_the_instance_that_asked_it() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let item = created(&ada).await;
    let delete = json!({ "name": "items_delete", "arguments": { "id": item } });
    let mut asking = ada.open("tools/call", delete).await;
    let asked = asking.next_message().await;
    fleet.kill(0).await;

    let question = asked.message.unwrap();
    let (b, c) = (ada.at(fleet.web(1)), ada.at(fleet.web(2)));
    let mut following = b.resume(asked.id.as_deref().unwrap()).await;
    let confirmed = json!({ "action": "accept", "content": { "confirm": true } });
    let fields = &question["params"]["requestedSchema"]["properties"];
    let field = fields.as_object().unwrap().keys().next().unwrap();
    assert_eq!(confirmed["content"].as_object().unwrap().keys().next(), Some(field), "{fields:#}");
    assert_eq!(c.respond(&question, confirmed).await, 202);
    let answer = following.next_message().await.message.unwrap();
    assert_ne!(answer["result"]["isError"], true, "{answer:#}");
    let gone = b.tool("items_get", json!({ "id": item })).await;
    assert!(!gone.tool_error().is_empty());
}

#[tokio::test]
async fn an_answer_counts_once_and_only_from_whom_it_was_asked() {
    let fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let hers_too = fleet.web(1).legacy(&token, REVISION).await;
    let bob = fleet.web(2).legacy(fleet.token("bob").await, REVISION).await;
    let mut asking = ada.open("tools/call", ask()).await;
    let asked = asking.next_message().await;
    let question = asked.message.unwrap();

    let answer = |name| json!({ "jsonrpc": "2.0", "id": question["id"], "result": form(name) });
    let foreign = hers_too.send_on_purpose(&answer("another session")).await;
    assert_eq!(foreign.status, 202);
    assert_eq!(bob.send_on_purpose(&answer("another user")).await.status, 202);
    let stolen = ada.presented_with(fleet.token("bob").await).at(fleet.web(1));
    assert_eq!(stolen.send_on_purpose(&answer("a stolen session")).await.status, 404);
    let (first, second) = (ada.at(fleet.web(1)), ada.at(fleet.web(2)));
    let (one, two) =
        tokio::join!(first.respond(&question, form("Ada")), second.respond(&question, form("Ada")));
    assert_eq!((one.as_u16(), two.as_u16()), (202, 202));
    let answers = asking.rest().await;
    assert_eq!(answers.iter().filter(|it| it.message.is_some()).count(), 1, "{answers:#?}");
    assert!(told(&answers)[0].contains("\"Ada\""), "{answers:#?}");

    assert_eq!(first.send_on_purpose(&answer("too late")).await.status, 202);
    let again = second.resume(asked.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(told(&again), told(&answers), "nothing has changed");
}

#[tokio::test]
async fn rounds_of_questions_go_on_while_instances_come_and_go() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let call = json!({ "name": "test_input_required_result_multi_round", "arguments": {} });
    let mut stream = ada.open("tools/call", call).await;
    let mut rounds = 0;
    let answer = loop {
        let event = stream.next_message().await;
        let message = event.message.unwrap();
        if message.get("method").is_none() {
            break message;
        }
        // The instance that asked dies before the answer arrives; the next instance receives it.
        let asker = rounds % fleet.len();
        let next = (rounds + 1) % fleet.len();
        fleet.kill(asker).await;
        stream = ada.at(fleet.web(next)).resume(event.id.as_deref().unwrap()).await;
        let fields = message["params"]["requestedSchema"]["properties"].as_object().unwrap();
        let content: Value = fields.keys().map(|it| (it.clone(), json!("blue"))).collect();
        let accepted = json!({ "action": "accept", "content": content });
        assert_eq!(ada.at(fleet.web(next)).respond(&message, accepted).await, 202);
        fleet.start_again(asker).await;
        rounds += 1;
    };
    assert!(rounds >= 2, "{answer:#}");
    assert_ne!(answer["result"]["isError"], true, "{answer:#}");
}
