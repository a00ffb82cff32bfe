//! Distributes signals to the subscribers of one process.
//!
//! The in-memory bus consists only of this; the Redis bus uses it to distribute the signals that its
//! connection receives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

use super::{Signal, Topic};

/// How many signals a subscriber may lag behind before it receives [`Received::Missed`]. Each topic
/// with subscribers allocates a buffer of this size, and each open stream has a topic.
const BACKLOG: usize = 32;

type Topics = Mutex<HashMap<Topic, broadcast::Sender<SharedSignal>>>;

/// A signal shared by all subscribers of this process. `None`: signals were lost.
type SharedSignal = Option<Arc<Signal>>;

/// Signals by topic. Cheap to clone. A topic without subscribers uses no memory.
#[derive(Clone, Default)]
pub struct Fanout {
    topics: Arc<Topics>,
}

impl Fanout {
    /// Subscribes to a topic, from now on.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = topics.entry(topic.clone()).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        Subscription { receiver: Some(sender.subscribe()), topic, topics: Arc::clone(&self.topics) }
    }

    /// Delivers a signal to the current subscribers of its topic.
    pub fn deliver(&self, signal: Signal) {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = topics.get(&signal.topic()) {
            // Fails only if the last subscriber was dropped just now.
            drop(sender.send(Some(Arc::new(signal))));
        }
    }

    /// Delivers [`Received::Missed`] to all subscribers.
    pub fn missed(&self) {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let mut senders: Vec<_> = topics.iter().collect();
        // In a fixed order, so that a simulation can be repeated.
        senders.sort_unstable_by_key(|(topic, _)| *topic);
        for (_, sender) in senders {
            drop(sender.send(None));
        }
    }

    /// Whether a topic has a subscriber.
    pub fn has_subscriber(&self, topic: &Topic) -> bool {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).contains_key(topic)
    }

    /// The topics that have subscribers.
    pub fn topics(&self) -> Vec<Topic> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// Receives the signals of one topic, from the moment of subscription.
pub struct Subscription {
    /// `None` only during drop.
    receiver: Option<broadcast::Receiver<SharedSignal>>,
    topic: Topic,
    topics: Arc<Topics>,
}

/// A message received by a subscription.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A signal.
    Signal(Signal),
    /// Signals may have been lost: the receiver must read the current state.
    Missed,
}

impl Subscription {
    /// Waits for the next signal. Cancellation safe.
    pub async fn recv(&mut self) -> Received {
        let Some(receiver) = &mut self.receiver else {
            return std::future::pending().await;
        };
        match receiver.recv().await {
            Ok(Some(signal)) => Received::Signal(Arc::unwrap_or_clone(signal)),
            Ok(None) | Err(broadcast::error::RecvError::Lagged(_)) => Received::Missed,
            // Unreachable: the sender stays in `topics` as long as this receiver exists.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        self.receiver = None;
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_receives_missed() {
        let fanout = Fanout::default();
        let mut slow = fanout.subscribe(Topic::Everyone);
        for _ in 0..=BACKLOG {
            fanout.deliver(Signal::ToolListChanged);
        }
        assert_eq!(slow.recv().await, Received::Missed);
        assert_eq!(slow.recv().await, Received::Signal(Signal::ToolListChanged));
    }

    #[tokio::test]
    async fn a_topic_without_subscribers_is_removed() {
        let fanout = Fanout::default();
        let first = fanout.subscribe(Topic::Everyone);
        let second = fanout.subscribe(Topic::Everyone);
        drop(first);
        assert_eq!(fanout.topics(), [Topic::Everyone]);
        drop(second);
        assert_eq!(fanout.topics(), []);
    }
}
