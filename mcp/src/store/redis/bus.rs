//! Signals between processes: one pub/sub connection, which fans out to the subscribers here.
//!
//! A channel is subscribed to while anybody here listens to its topic. When the connection was
//! lost, everyone is told that they may have missed something: a signal is only a hint, and whoever
//! gets one reads what is true.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use redis::{Client, aio::PubSubSink};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::sleep,
};

use super::{
    connection::{COMMAND_LIMIT, CONNECT_LIMIT, Connection},
    value::{REDIS, millis, read, unavailable, write},
};
use crate::store::{Bus, CatalogDigest, Fanout, Signal, StoreError, Subscription, Topic};

/// How long to wait before connecting again.
const RECONNECT: Duration = Duration::from_millis(250);

/// How often channels that nobody listens to any more are given up.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// How often the connection for signals is asked for a sign of life: nothing else is sent on it while
/// nothing happens, so a connection that went silent would go unnoticed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long it is known what the newest instance offered. Longer than between most deploys; whoever
/// comes after it is told when its session listens again.
const ANNOUNCEMENT_TTL: Duration = Duration::from_hours(30 * 24);

/// How many signals that could not be published are tried again at once. More than that, and those
/// who listen have lost their connections as well.
const LATE_SIGNALS: usize = 256;

/// How often each of them is tried again, a [`RECONNECT`] apart.
const LATE_ATTEMPTS: usize = 40;

/// How many requests wait for the connection. Whoever comes later waits to request.
const MAX_REQUESTS: usize = 1_024;

/// The bus of one process.
pub(super) struct RedisBus {
    connection: Connection,
    fanout: Fanout,
    requests: mpsc::Sender<SubscribeRequest>,
    /// Room for signals that are tried again.
    late: Arc<Semaphore>,
}

/// Somebody wants to listen to a channel, and waits until it is so.
struct SubscribeRequest {
    channel: String,
    done: oneshot::Sender<()>,
}

impl RedisBus {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let client = Client::open(connection.address()).map_err(unavailable)?;
        let fanout = Fanout::default();
        let (requests, inbox) = mpsc::channel(MAX_REQUESTS);
        let listener = Listener {
            client,
            fanout: fanout.clone(),
            connection: connection.clone(),
            inbox,
            channels: HashSet::new(),
        };
        tokio::spawn(listener.run());
        let late = Arc::new(Semaphore::new(LATE_SIGNALS));
        Ok(Self { connection, fanout, requests, late })
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        let channel = self.connection.channel(&signal.topic());
        pipeline.publish(channel, write(&signal)?).ignore();
        let Err(error) = self.connection.pipeline::<()>(&pipeline).await else {
            return Ok(());
        };
        // Those who listen may have kept their connection, and would not know that they missed
        // something. Whoever publishes does not wait for it.
        let Ok(room) = Arc::clone(&self.late).try_acquire_owned() else {
            return Err(error);
        };
        let connection = self.connection.clone();
        tokio::spawn(async move {
            for _ in 0..LATE_ATTEMPTS {
                sleep(RECONNECT).await;
                if connection.pipeline::<()>(&pipeline).await.is_ok() {
                    break;
                }
            }
            drop(room);
        });
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        let channel = self.connection.channel(&topic);
        // First here, so that what arrives once the channel is open is not lost.
        let subscription = self.fanout.subscribe(topic);
        let (done, listening) = oneshot::channel();
        let request = async {
            self.requests.send(SubscribeRequest { channel, done }).await.map_err(unavailable)?;
            listening.await.map_err(unavailable)
        };
        match tokio::time::timeout(COMMAND_LIMIT, request).await {
            Ok(listening) => listening.map(|()| subscription),
            Err(elapsed) => Err(unavailable(elapsed)),
        }
    }

    async fn announce(&self, catalog: &CatalogDigest) -> Result<Option<CatalogDigest>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("SET")
            .arg(format!("{}catalog", self.connection.prefix()))
            .arg(write(catalog)?)
            .arg("GET")
            .arg("PX")
            .arg(millis(ANNOUNCEMENT_TTL));
        let (before,): (Option<String>,) = self.connection.pipeline(&pipeline).await?;
        // What another version wrote in another format is something else in any case.
        Ok(before.map(|it| read(&it).unwrap_or_default()))
    }
}

/// Holds the pub/sub connection. Ends with the bus.
struct Listener {
    client: Client,
    fanout: Fanout,
    connection: Connection,
    inbox: mpsc::Receiver<SubscribeRequest>,
    /// The channels that are open.
    channels: HashSet<String>,
}

/// Why a connection is left.
enum ListenEnd {
    /// It broke.
    Lost,
    /// The bus is gone.
    BusDropped,
}

impl Listener {
    async fn run(mut self) {
        let mut first = true;
        loop {
            match self.listen(first).await {
                Ok(ListenEnd::BusDropped) => return,
                Ok(ListenEnd::Lost) => {
                    tracing::warn!(
                        dependency = REDIS,
                        "The connection for signals was lost; connecting again"
                    );
                }
                Err(error) => {
                    tracing::warn!(
                        dependency = REDIS, %error,
                        "Could not listen to signals; trying again: {error}"
                    );
                }
            }
            first = false;
            if self.inbox.is_closed() && self.inbox.is_empty() {
                return;
            }
            sleep(RECONNECT).await;
        }
    }

    /// Serves one connection until it ends.
    async fn listen(&mut self, first: bool) -> Result<ListenEnd, StoreError> {
        let connecting = self.client.get_async_pubsub();
        let pubsub =
            tokio::time::timeout(CONNECT_LIMIT, connecting).await.map_err(unavailable)??;
        let (mut sink, mut messages) = pubsub.split();
        let topics = self.fanout.topics();
        self.channels = topics.iter().map(|it| self.connection.channel(it)).collect();
        open(&mut sink, self.channels.iter()).await?;
        if !first {
            tracing::info!(dependency = REDIS, "Signals are heard again");
            self.fanout.missed();
        }
        let mut tidy = tokio::time::interval(TIDY_INTERVAL);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    None => return Ok(ListenEnd::Lost),
                    Some(message) => {
                        let text: String = message.get_payload()?;
                        match read(&text) {
                            Ok(signal) => self.fanout.deliver(signal),
                            Err(error) => {
                                tracing::warn!(error = %error, "A signal cannot be read: {error}");
                            }
                        }
                    }
                },
                request = self.inbox.recv() => match request {
                    None => return Ok(ListenEnd::BusDropped),
                    Some(request) => self.open_requested(&mut sink, request).await?,
                },
                _ = tidy.tick() => self.close_unused(&mut sink).await?,
                _ = heartbeat.tick() => {
                    let beating = sink.ping::<redis::Value>();
                    tokio::time::timeout(COMMAND_LIMIT, beating).await.map_err(unavailable)??;
                }
            }
        }
    }

    /// Opens the channel of a request, and of all others that wait already.
    async fn open_requested(
        &mut self,
        sink: &mut PubSubSink,
        request: SubscribeRequest,
    ) -> Result<(), StoreError> {
        let mut requests = vec![request];
        while let Ok(request) = self.inbox.try_recv() {
            requests.push(request);
        }
        let new: HashSet<&String> = requests
            .iter()
            .map(|it| &it.channel)
            .filter(|it| !self.channels.contains(*it))
            .collect();
        open(sink, new.into_iter()).await?;
        for request in requests {
            self.channels.insert(request.channel);
            if request.done.send(()).is_err() {
                tracing::debug!("Whoever wished to listen has given up");
            }
        }
        Ok(())
    }

    async fn close_unused(&mut self, sink: &mut PubSubSink) -> Result<(), StoreError> {
        let used: HashSet<String> =
            self.fanout.topics().iter().map(|it| self.connection.channel(it)).collect();
        let unused: Vec<String> = self.channels.difference(&used).cloned().collect();
        if !unused.is_empty() {
            let closing = sink.unsubscribe(&unused);
            tokio::time::timeout(COMMAND_LIMIT, closing).await.map_err(unavailable)??;
            self.channels.retain(|it| used.contains(it));
        }
        Ok(())
    }
}

async fn open(
    sink: &mut PubSubSink,
    channels: impl Iterator<Item = &String>,
) -> Result<(), StoreError> {
    let channels: Vec<&String> = channels.collect();
    if channels.is_empty() {
        return Ok(());
    }
    let opening = sink.subscribe(&channels);
    Ok(tokio::time::timeout(COMMAND_LIMIT, opening).await.map_err(unavailable)??)
}
