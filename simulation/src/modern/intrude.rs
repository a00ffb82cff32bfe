//! Another user who presents the ids and states of a modern client.

use std::collections::BTreeMap;

use super::{
    ANY, Request,
    call::input_responses,
    wire::{Answer, Meaning},
};
use crate::{
    client::{Client, INTRUDER},
    properties::Property,
    random::Random,
};

impl Client {
    /// Another user presents the ids and states of this client.
    pub(crate) async fn intrude_modern(&self, random: &mut Random) {
        let seen = self.seen();
        let answers =
            input_responses(&BTreeMap::from([("first".to_owned(), "intruder".to_owned())]));
        if let Some(task) = &seen.task {
            for (method, more) in [
                ("tasks/get", String::new()),
                ("tasks/update", format!(r#""inputResponses":{answers},"#)),
                ("tasks/cancel", String::new()),
            ] {
                let params = format!(r#""taskId":"{task}",{more}"#);
                self.try_as_intruder(random, method, task, &params).await;
            }
            self.listen_as_intruder(random, task).await;
        }
        if let Some((tool, arguments, state)) = &seen.state {
            let name = tool.name();
            let params = format!(
                r#""name":"{name}","arguments":{arguments},"requestState":"{state}","inputResponses":{answers},"#
            );
            self.try_as_intruder(random, "tools/call", name, &params).await;
        }
    }

    async fn try_as_intruder(
        &self,
        random: &mut Random,
        method: &'static str,
        name: &str,
        params: &str,
    ) {
        let request = Request { method, name: Some(name), params, has_tasks: true, accept: ANY };
        let answer = self.ask_modern(random, INTRUDER, request).await;
        if !matches!(answer, None | Some(Answer::Complete(Err(_)))) {
            let what = format!("{method} of another user: {answer:?}");
            self.world().violated(Property::UsersAreSeparate, what);
        }
    }

    async fn listen_as_intruder(&self, random: &mut Random, task: &str) {
        let params = format!(r#""notifications":{{"taskIds":["{task}"]}},"#);
        let request = Request {
            method: "subscriptions/listen",
            name: None,
            params: &params,
            has_tasks: true,
            accept: "text/event-stream",
        };
        let mut response = self.send_modern(random, INTRUDER, request).await;
        match response.next(self).await {
            Some(Meaning::Acknowledged(tasks)) if !tasks.is_empty() => {
                let what = format!("another user listens to {tasks:?}");
                self.world().violated(Property::UsersAreSeparate, what);
            }
            _ => {}
        }
    }
}
