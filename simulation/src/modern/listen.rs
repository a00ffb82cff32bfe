//! Streams for changes of a modern client (`subscriptions/listen`).

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    Request, Response,
    wire::{Meaning, Task},
};
use crate::{
    client::{Client, RETRY},
    properties::Property,
    random::Random,
    record::ListenRecord,
    tools::URI,
    world::pass,
};

/// Listens for changes of the resource for some milliseconds.
pub(crate) async fn listen(client: Arc<Client>, length: u64, mut random: Random) {
    let until = Instant::now() + Duration::from_millis(length);
    let params = format!(r#""notifications":{{"resourceSubscriptions":["{URI}"]}},"#);
    while Instant::now() < until {
        let mut response = open(&client, &mut random, &params).await;
        if let Ok(Some(Meaning::Acknowledged(_))) = timeout_at(until, response.next(&client)).await
        {
            let began = client.world().now();
            let mut updates = Vec::new();
            while let Ok(Some(meaning)) = timeout_at(until, response.next(&client)).await {
                match meaning {
                    Meaning::Updated(uri, Some(to)) if uri == URI && to == response.id => {
                        updates.push(client.world().now());
                    }
                    // The instance shuts down.
                    Meaning::Response(id, _) => response.check_id(&client, &id),
                    other => {
                        let what = format!("client {} listens: {other:?}", client.number);
                        client.world().violated(Property::UsersAreSeparate, what);
                    }
                }
            }
            let open = (began, client.world().now());
            client.record_listened(ListenRecord { open, updates });
        }
        drop(response);
        pass(random.between(1, RETRY)).await;
    }
}

async fn open(client: &Client, random: &mut Random, params: &str) -> Response {
    let request = Request {
        method: "subscriptions/listen",
        name: None,
        params,
        has_tasks: true,
        accept: "text/event-stream",
    };
    client.send_modern(random, &client.user(), request).await
}

/// A stream that tells of the changes of one task.
pub(super) struct TaskStream {
    response: Response,
}

impl TaskStream {
    /// Opens the stream. `None`: it could not be opened.
    pub(super) async fn open(client: &Client, random: &mut Random, task: &str) -> Option<Self> {
        let params = format!(r#""notifications":{{"taskIds":["{task}"]}},"#);
        let mut response = open(client, random, &params).await;
        match response.next(client).await? {
            Meaning::Acknowledged(tasks) if tasks == [task] => Some(Self { response }),
            other => {
                let what = format!("client {} listens for {task}: {other:?}", client.number);
                client.world().violated(Property::EveryWaitEnds, what);
                None
            }
        }
    }

    /// Waits for the next state of the task. `None`: the stream has ended.
    pub(super) async fn next(&mut self, client: &Client, task: &str) -> Option<Task> {
        match self.response.next(client).await? {
            Meaning::TaskChanged(changed, Some(to))
                if changed.id == task && to == self.response.id =>
            {
                Some(changed)
            }
            // The instance shuts down.
            Meaning::Response(id, _) => {
                self.response.check_id(client, &id);
                None
            }
            other => {
                let what = format!("client {} listens for {task}: {other:?}", client.number);
                client.world().violated(Property::UsersAreSeparate, what);
                None
            }
        }
    }
}
