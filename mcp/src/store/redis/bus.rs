//! Signals between processes: one pub/sub connection per process, whose messages are distributed to
//! the subscribers of this process.
//!
//! A channel is subscribed to while its topic has subscribers in this process. After the connection
//! was lost, all subscribers receive [`Received::Missed`](crate::store::Received::Missed): a signal
//! is only a hint, and its receivers read the current state.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future::join_all};
use redis::{Client, Pipeline, aio::PubSubSink};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::sleep,
};

use super::{
    connection::{COMMAND_LIMIT, CONNECT_LIMIT, Connection},
    sealed::Content,
    value::{REDIS, millis, read, unavailable, write},
};
use crate::store::{Bus, CatalogDigest, Fanout, Signal, StoreError, Subscription, Topic};

/// The delay before reconnecting.
const RECONNECT: Duration = Duration::from_millis(250);

/// The interval at which channels without subscribers are unsubscribed.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// The interval of `PING` on the pub/sub connection. An idle subscriber sends nothing else, so an
/// interrupted connection would not be noticed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The TTL of the digest of the newest instance's lists: longer than the time between most deploys.
/// After it, a session learns of changed lists when its standalone stream is opened.
const ANNOUNCEMENT_TTL: Duration = Duration::from_hours(30 * 24);

/// The maximum number of signals that are being retried at the same time. In a longer outage the
/// subscribers lose their connections, too, and need no retries.
const LATE_SIGNALS: usize = 256;

/// The maximum number of retries of a signal, one every [`RECONNECT`].
const LATE_ATTEMPTS: usize = 40;

/// The capacity of the queue of subscribe requests; further callers wait.
const MAX_REQUESTS: usize = 1_024;

/// The bus of one process.
pub(super) struct RedisBus {
    connection: Connection,
    content: Content,
    fanout: Fanout,
    requests: mpsc::Sender<SubscribeRequest>,
    /// Permits for signals that are being retried.
    late: Arc<Semaphore>,
}

/// A request to subscribe to a channel; `done` is notified when it is open.
struct SubscribeRequest {
    channel: String,
    done: oneshot::Sender<()>,
}

impl RedisBus {
    pub(super) fn start(connection: Connection, content: Content) -> Result<Self, StoreError> {
        let client = Client::open(connection.address()).map_err(unavailable)?;
        let fanout = Fanout::default();
        let (requests, inbox) = mpsc::channel(MAX_REQUESTS);
        let listener = Listener {
            client,
            fanout: fanout.clone(),
            connection: connection.clone(),
            content: content.clone(),
            inbox,
            channels: HashSet::new(),
        };
        tokio::spawn(listener.run());
        let late = Arc::new(Semaphore::new(LATE_SIGNALS));
        Ok(Self { connection, content, fanout, requests, late })
    }

    /// Adds the publication of a signal to a pipeline.
    fn add(
        &self,
        pipeline: &mut Pipeline,
        channel: &str,
        signal: &Signal,
    ) -> Result<(), StoreError> {
        let message = if signal.has_content() {
            self.content.write(&Content::of_signal(channel), signal)?
        } else {
            write(signal)?.into_bytes()
        };
        pipeline.publish(channel, message).ignore();
        Ok(())
    }

    /// Sends publications, and retries them in the background if that fails.
    async fn send(&self, pipeline: Pipeline) -> Result<(), StoreError> {
        let Err(error) = self.connection.pipeline::<()>("publish", &pipeline).await else {
            return Ok(());
        };
        // Subscribers whose connection was not interrupted would not notice the lost signal, so it
        // is retried in the background.
        let Ok(permit) = Arc::clone(&self.late).try_acquire_owned() else {
            return Err(error);
        };
        let connection = self.connection.clone();
        tokio::spawn(async move {
            for _ in 0..LATE_ATTEMPTS {
                sleep(RECONNECT).await;
                if connection.pipeline::<()>("publish", &pipeline).await.is_ok() {
                    break;
                }
            }
            drop(permit);
        });
        Ok(())
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        let channel = self.connection.channel(&signal.topic());
        let mut pipeline = redis::pipe();
        self.add(&mut pipeline, &channel, &signal)?;
        self.send(pipeline).await
    }

    async fn publish_all(&self, signals: Vec<Signal>) -> Result<(), StoreError> {
        // In a cluster, a pipeline is sent to the node of its channel.
        let mut pipelines: BTreeMap<String, Pipeline> = BTreeMap::new();
        for signal in signals {
            let channel = self.connection.channel(&signal.topic());
            let pipeline = pipelines.entry(channel.clone()).or_insert_with(redis::pipe);
            self.add(pipeline, &channel, &signal)?;
        }
        let sending = pipelines.into_values().map(|pipeline| self.send(pipeline));
        join_all(sending).await.into_iter().collect()
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        let channel = self.connection.channel(&topic);
        // Before the channel is opened, so that its first message is not lost.
        let subscription = self.fanout.subscribe(topic);
        let (done, listening) = oneshot::channel();
        let request = async {
            self.requests.send(SubscribeRequest { channel, done }).await.map_err(unavailable)?;
            listening.await.map_err(unavailable)
        };
        let confirmed = async {
            tokio::time::timeout(COMMAND_LIMIT, request).await.map_err(unavailable).flatten()
        };
        self.connection.timed("subscribe", confirmed).await.map(|()| subscription)
    }

    async fn have_subscribers(&self, topics: &[Topic]) -> Result<Vec<bool>, StoreError> {
        let channels: Vec<_> = topics.iter().map(|topic| self.connection.channel(topic)).collect();
        let mut count = redis::cmd("PUBSUB");
        // Each node of a cluster knows only its own subscribers: the numbers of all are added.
        count.arg("NUMSUB").arg(&channels);
        let counts: HashMap<String, u64> =
            self.connection.command("subscribers", "PUBSUB", &count).await?;
        let has_subscriber = |channel| counts.get(channel).is_some_and(|count| *count > 0);
        Ok(channels.iter().map(has_subscriber).collect())
    }

    async fn replace_catalog(
        &self,
        catalog: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("SET")
            .arg(format!("{}catalog", self.connection.prefix()))
            .arg(write(catalog)?)
            .arg("GET")
            .arg("PX")
            .arg(millis(ANNOUNCEMENT_TTL));
        let (before,): (Option<String>,) = self.connection.pipeline("announce", &pipeline).await?;
        // An unreadable digest was written by a version with another format: treated as different.
        Ok(before.map(|digest| read(&digest).unwrap_or_default()))
    }
}

/// Owns the pub/sub connection. Stops when the bus is dropped.
struct Listener {
    client: Client,
    fanout: Fanout,
    connection: Connection,
    content: Content,
    inbox: mpsc::Receiver<SubscribeRequest>,
    /// The channels that are subscribed to.
    channels: HashSet<String>,
}

/// Why listening on a connection has ended.
enum ListenEnd {
    /// The connection was lost.
    Lost,
    /// The bus was dropped.
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
                        "Lost the connection for signals; reconnecting"
                    );
                }
                Err(error) => {
                    tracing::warn!(
                        dependency = REDIS, %error,
                        "Could not subscribe to signals; retrying"
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
        self.channels = topics.iter().map(|topic| self.connection.channel(topic)).collect();
        open(&mut sink, self.channels.iter()).await?;
        if !first {
            tracing::info!(dependency = REDIS, "Receiving signals again");
            self.fanout.missed();
        }
        let mut tidy = tokio::time::interval(TIDY_INTERVAL);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    None => return Ok(ListenEnd::Lost),
                    Some(message) => {
                        let place = Content::of_signal(message.get_channel_name());
                        match self.content.read(&place, message.get_payload_bytes()) {
                            Ok(Some(signal)) => self.fanout.deliver(signal),
                            Ok(None) => {} // logged; a signal is only a hint
                            Err(error) => {
                                tracing::warn!(%error, "Ignored an unreadable signal");
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

    /// Subscribes to the channel of a request, and to those of all requests in the queue.
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
            .filter(|channel| !self.channels.contains(*channel))
            .collect();
        open(sink, new.into_iter()).await?;
        for request in requests {
            self.channels.insert(request.channel);
            if request.done.send(()).is_err() {
                tracing::debug!("Subscriber dropped before its subscription was confirmed");
            }
        }
        Ok(())
    }

    async fn close_unused(&mut self, sink: &mut PubSubSink) -> Result<(), StoreError> {
        let used: HashSet<String> =
            self.fanout.topics().iter().map(|topic| self.connection.channel(topic)).collect();
        let unused: Vec<String> = self.channels.difference(&used).cloned().collect();
        if !unused.is_empty() {
            let closing = sink.unsubscribe(&unused);
            tokio::time::timeout(COMMAND_LIMIT, closing).await.map_err(unavailable)??;
            self.channels.retain(|channel| used.contains(channel));
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
