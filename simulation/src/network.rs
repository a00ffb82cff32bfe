//! The network between clients and instances: an HTTP request is a task of the instance, and ends with
//! the connection.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode};
use mcp::{Caller, ReplyBody};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    cluster::{Cluster, Instance},
    random::Random,
    world::pass,
};

/// The most parts of a response that are on the way.
const IN_FLIGHT: usize = 64;

/// An HTTP request.
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Get,
    Delete,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) session: Option<String>,
    pub(super) is_events: bool,
}

enum Part {
    Head(Head),
    Body(Bytes),
}

/// An open connection. Dropping it closes the connection, as a client does that disconnects.
pub(super) struct Connection {
    parts: mpsc::Receiver<Part>,
    task: Option<AbortHandle>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Connection {
    /// Sends a request to an instance that a load balancer chooses.
    pub(super) async fn open(
        cluster: &Arc<Cluster>,
        random: &mut Random,
        caller: Caller,
        request: HttpRequest,
    ) -> Self {
        let rates = &cluster.world.rates;
        let is_calm = cluster.world.is_calm();
        let (sender, parts) = mpsc::channel(IN_FLIGHT);
        if !is_calm {
            let delay = if random.chance(rates.delay) { random.below(rates.longest) } else { 0 };
            pass(delay).await;
        }
        let is_lost = !is_calm && random.chance(rates.lose_request);
        let instance = cluster.choose(random).filter(|_| !is_lost);
        let Some(instance) = instance else {
            return Self { parts, task: None };
        };
        let is_cut = !is_calm && random.chance(rates.cut);
        let cut_after = is_cut.then(|| random.below(6));
        let node = Arc::clone(&instance.node);
        let task = node.run(serve(instance, caller, request, sender, cut_after));
        Self { parts, task: Some(task) }
    }

    /// Waits for the head of the response. `None`: the connection was lost.
    pub(super) async fn head(&mut self) -> Option<Head> {
        match self.parts.recv().await? {
            Part::Head(head) => Some(head),
            Part::Body(_) => None,
        }
    }

    /// Waits for the next part of the body. `None`: it has ended, or the connection was lost.
    pub(super) async fn chunk(&mut self) -> Option<Bytes> {
        match self.parts.recv().await? {
            Part::Head(_) => None,
            Part::Body(bytes) => Some(bytes),
        }
    }
}

/// Serves a request. `cut_after`: the connection is cut after this number of parts.
async fn serve(
    Instance { node, engine }: Instance,
    caller: Caller,
    HttpRequest { method, headers, body }: HttpRequest,
    sender: mpsc::Sender<Part>,
    mut cut_after: Option<u64>,
) {
    let mut send = async |part: Part| {
        let world = &node.world;
        let delay = node.draw(|random| {
            let is_late = !world.is_calm() && random.chance(world.rates.delay);
            if is_late { random.below(world.rates.longest) } else { 0 }
        });
        pass(delay).await;
        match &mut cut_after {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                sender.send(part).await.is_ok()
            }
            None => sender.send(part).await.is_ok(),
        }
    };
    let reply = match method {
        Method::Post => engine.post(caller, &headers, body).await,
        Method::Get => engine.get(caller, &headers).await,
        Method::Delete => engine.delete(caller, &headers).await,
    };
    let head = Head {
        status: reply.status,
        session: reply.session,
        is_events: matches!(reply.body, ReplyBody::Events(_)),
    };
    if !send(Part::Head(head)).await {
        return;
    }
    match reply.body {
        ReplyBody::Empty => {}
        ReplyBody::Json(body) | ReplyBody::InsufficientScope { body, .. } => {
            send(Part::Body(body.into())).await;
        }
        ReplyBody::Events(mut events) => {
            while let Some(chunk) = events.next().await {
                if !send(Part::Body(chunk)).await {
                    return;
                }
            }
        }
    }
}

/// Builds headers.
pub(super) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("simulated headers are ASCII");
    pairs.iter().map(|(name, text)| (http::HeaderName::from_static(name), value(text))).collect()
}
