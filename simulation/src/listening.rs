//! The standalone stream of a session, as its client follows it.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::{
    client::{Client, RETRY, Session},
    network::{Connection, Method},
    properties::Property,
    random::Random,
    sse,
    world::pass,
};

/// Opens the standalone stream, and follows it for some milliseconds.
pub(super) async fn listen(client: Arc<Client>, length: u64, mut random: Random) {
    let session = client.session(&mut random).await;
    let until = Instant::now() + Duration::from_millis(length);
    let mut listening = Listening { client, session, last: None };
    while Instant::now() < until {
        let last = listening.last.map(|last| format!("get.{last}"));
        let mut extra = vec![("accept", "text/event-stream")];
        extra.extend(last.as_deref().map(|last| ("last-event-id", last)));
        let Listening { client, session, .. } = &listening;
        let request = (Method::Get, extra.as_slice());
        let user = client.user();
        let mut connection = client.send(&mut random, session, &user, request, String::new()).await;
        if !listening.read(&mut random, &mut connection, until).await {
            return;
        }
        drop(connection);
        pass(random.between(1, RETRY)).await;
    }
}

struct Listening {
    client: Arc<Client>,
    session: Arc<Session>,
    /// The number of the last event. `None`: the client has not seen an event id.
    last: Option<u64>,
}

impl Listening {
    /// Reads events until a moment, or until the connection ends. `false`: the session is lost.
    async fn read(
        &mut self,
        random: &mut Random,
        connection: &mut Connection,
        until: Instant,
    ) -> bool {
        match self.client.head(connection).await.map(|head| head.status) {
            Some(StatusCode::OK) => {}
            Some(StatusCode::NOT_FOUND) => {
                self.client.lost(&self.session);
                return false;
            }
            _ => return true,
        }
        while let Ok(Some(chunk)) = timeout_at(until, connection.chunk()).await {
            for event in sse::events(&String::from_utf8_lossy(&chunk)) {
                let Some((id, data)) = event.id.zip(event.data) else {
                    continue;
                };
                self.client.see_event(id);
                self.on_event(id, data);
            }
            if !self.client.world().is_calm() && random.chance(30) {
                break; // the client disconnects
            }
        }
        true
    }

    fn on_event(&mut self, id: &str, data: &str) {
        let number = id.strip_prefix("get.").and_then(|number| number.parse::<u64>().ok());
        let expected = match (self.last, data.is_empty()) {
            (Some(last), true) => Some(last),
            (Some(last), false) => Some(last + 1),
            (None, _) => number,
        };
        if number.is_none() || number != expected {
            if self.session.may_be_lost(&self.client.cluster) {
                return;
            }
            let number = self.client.number;
            let what = format!("client {number} listens: event {id} after {:?}", self.last);
            self.client.world().violated(Property::EventsOnceInOrder, what);
        }
        self.last = number;
    }
}
