//! Clients of both eras that create items all the time, and the record of what they were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mcp::UserId;
use tests::{
    client::{Legacy, Modern},
    eventually,
    fixtures::items,
    processes::Fleet,
};
use tokio::task::JoinSet;

use crate::{
    REVISION, item,
    shown::{self, Shown},
};

/// Number of clients of each era.
const CLIENTS: usize = 3;

/// Clients that create items until [`Load::end`].
pub(crate) struct Load {
    record: Arc<Record>,
    clients: JoinSet<()>,
}

/// What the clients were told about each item.
#[derive(Default)]
struct Record {
    is_over: AtomicBool,
    titles: Mutex<BTreeMap<(String, String), Shown>>,
}

/// A client with its user and era.
enum Client {
    Legacy(String, Legacy),
    Modern(String, Modern),
}

impl Load {
    /// Starts the clients at these instances.
    pub(crate) async fn start(fleet: &Fleet, instances: &[usize]) -> Self {
        let record = Arc::new(Record::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let web = fleet.web(instances[number % instances.len()]);
            for era in ["legacy", "modern"] {
                let user = format!("{era}-{number}");
                let token = fleet.token(&user).await;
                let client = match era {
                    "legacy" => Client::Legacy(user, web.legacy(token, REVISION).await),
                    _ => Client::Modern(user, web.modern(token)),
                };
                clients.spawn(client.run(Arc::clone(&record)));
            }
        }
        Self { record, clients }
    }

    /// The number of items that both eras together were told to be created.
    pub(crate) fn acknowledged(&self) -> usize {
        self.record.titles().values().filter(|it| it.is_success()).count()
    }

    /// Waits until this many more items are acknowledged.
    pub(crate) async fn more(&self, count: usize) {
        let wanted = self.acknowledged() + count;
        eventually(&format!("{count} more items are created"), async || {
            (self.acknowledged() >= wanted).then_some(())
        })
        .await;
    }

    /// Waits until clients of both eras have been refused this many times more.
    pub(crate) async fn refused(&self, count: usize) {
        let of = |era: &str| {
            let titles = self.record.titles();
            titles
                .iter()
                .filter(|((user, _), it)| user.starts_with(era) && !it.is_success())
                .count()
        };
        let wanted = ["legacy", "modern"].map(|era| (era, of(era) + count));
        eventually("clients of both eras are refused", async || {
            wanted.iter().all(|(era, wanted)| of(era) >= *wanted).then_some(())
        })
        .await;
    }

    /// Ends the load, and returns the different responses that did not acknowledge an item. Panics unless
    /// every acknowledged item is there exactly once and every other item at most once.
    pub(crate) async fn end(mut self, fleet: &Fleet) -> Vec<Shown> {
        self.record.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        let titles = std::mem::take(&mut *self.record.titles());
        let users: std::collections::BTreeSet<_> = titles.keys().map(|it| it.0.clone()).collect();
        let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
        for user in users {
            let owner = UserId::new(format!("dev:{user}"));
            for title in items::titles(fleet.app().db(), &owner).await.unwrap() {
                *found.entry((user.clone(), title)).or_default() += 1;
            }
        }
        for (item, shown) in &titles {
            let times = found.remove(item).unwrap_or_default();
            if shown.is_success() {
                assert_eq!(times, 1, "{item:?} was acknowledged and is there {times} times");
            } else {
                assert!(
                    times <= 1,
                    "{item:?} is there {times} times; its client was told {shown:?}"
                );
            }
        }
        assert!(found.is_empty(), "items that no client has created: {found:?}");
        let refused: std::collections::BTreeSet<_> =
            titles.into_values().filter(|it| !it.is_success()).collect();
        refused.into_iter().collect()
    }
}

impl Record {
    fn titles(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Shown>> {
        self.titles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    async fn run(self, record: Arc<Record>) {
        let mut number = 0;
        while !record.is_over.load(Ordering::Relaxed) {
            number += 1;
            let title = format!("item {number}");
            let (user, shown) = match &self {
                Self::Legacy(user, it) => {
                    (user, shown::legacy(it, "items_create", item(&title)).await)
                }
                Self::Modern(user, it) => {
                    (user, shown::modern(it, "items_create", item(&title)).await)
                }
            };
            record.titles().insert((user.clone(), title), shown);
        }
    }
}
