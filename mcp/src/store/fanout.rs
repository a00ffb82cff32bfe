//! Hands signals to the subscribers of one process.
//!
//! This is all that the in-process bus is; a bus between processes uses it behind its one
//! connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

use super::{Signal, Topic};

/// How many signals a slow subscriber may lag behind before it is told to read everything anew.
/// Every topic that somebody listens to has room for so many, and there is one for each open stream.
const BACKLOG: usize = 32;

type Topics = Mutex<HashMap<Topic, broadcast::Sender<Heard>>>;

/// A signal that all subscribers of this process share; none if some were lost.
type Heard = Option<Arc<Signal>>;

/// Signals by topic. Cheap to clone; a topic that nobody listens to costs nothing.
#[derive(Clone, Default)]
pub struct Fanout {
    topics: Arc<Topics>,
}

impl Fanout {
    /// Listens from now on.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = topics.entry(topic.clone()).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        Subscription { receiver: Some(sender.subscribe()), topic, topics: Arc::clone(&self.topics) }
    }

    /// Tells everyone who listens now.
    pub fn deliver(&self, signal: Signal) {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = topics.get(&signal.topic()) {
            // Fails only if nobody listens any more, which is fine.
            drop(sender.send(Some(Arc::new(signal))));
        }
    }

    /// Tells everyone that signals may have been lost.
    pub fn missed(&self) {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in topics.values() {
            drop(sender.send(None));
        }
    }

    /// The topics that somebody listens to.
    pub fn topics(&self) -> Vec<Topic> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// Signals of one topic, from the moment of subscription on.
pub struct Subscription {
    /// Empty only while it is dropped.
    receiver: Option<broadcast::Receiver<Heard>>,
    topic: Topic,
    topics: Arc<Topics>,
}

/// What a subscription hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A signal.
    Signal(Signal),
    /// Some signals were lost: read everything anew.
    Missed,
}

impl Subscription {
    /// Waits for the next signal. Safe to cancel.
    pub async fn recv(&mut self) -> Received {
        let Some(receiver) = &mut self.receiver else {
            return std::future::pending().await;
        };
        match receiver.recv().await {
            Ok(Some(signal)) => Received::Signal(Arc::unwrap_or_clone(signal)),
            Ok(None) | Err(broadcast::error::RecvError::Lagged(_)) => Received::Missed,
            // The sender lives in `topics` as long as this receiver does.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        self.receiver = None;
        if topics.get(&self.topic).is_some_and(|it| it.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_is_told_that_it_missed_something() {
        let fanout = Fanout::default();
        let mut slow = fanout.subscribe(Topic::Everyone);
        for _ in 0..=BACKLOG {
            fanout.deliver(Signal::ToolListChanged);
        }
        assert_eq!(slow.recv().await, Received::Missed);
        assert_eq!(slow.recv().await, Received::Signal(Signal::ToolListChanged));
    }

    #[tokio::test]
    async fn a_topic_without_subscribers_is_forgotten() {
        let fanout = Fanout::default();
        let first = fanout.subscribe(Topic::Everyone);
        let second = fanout.subscribe(Topic::Everyone);
        drop(first);
        assert_eq!(fanout.topics(), [Topic::Everyone]);
        drop(second);
        assert_eq!(fanout.topics(), []);
    }
}
