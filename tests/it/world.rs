//! A service over a fresh database, with a clock that stands still and a bus that remembers.

use std::sync::{Arc, Mutex};

use app::{App, Product, config::Config};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mcp::{
    Bus, Signal, StoreError, UserId,
    store::{CatalogDigest, Fanout, Subscription, Topic},
};
use platform::clock::MockClock;
use tempfile::TempDir;
use tests::{postgres, relay::Relay, sqlite};
use url::Url;

/// Runs each of these tests in a world on SQLite and in one on Postgres, of the fixtures or of a product.
macro_rules! on_both {
    (of $product:path: $($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $story() {
                super::$story(crate::world::World::sqlite(&$product()).await).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $story() {
                super::$story(crate::world::World::postgres(&$product()).await).await;
            })*
        }
    };
    ($($story:ident),* $(,)?) => {
        crate::world::on_both!(of tests::fixtures::product: $($story),*);
    };
}
pub(crate) use on_both;

/// One database, and one service on it; more can be added.
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) clock: Arc<MockClock>,
    bus: Arc<RememberingBus>,
    directory: TempDir,
    database_url: String,
}

/// The secret that services of a world share.
pub(crate) const SECRET: &str = "the secret of all services of one world";

/// When every world begins.
pub(crate) fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time in 2023")
}

impl World {
    pub(crate) async fn sqlite(product: &Product) -> Self {
        let directory = new_directory();
        sqlite::fresh_database(product, directory.path()).await;
        Self::at(product, None, directory).await
    }

    pub(crate) async fn postgres(product: &Product) -> Self {
        let url = postgres::fresh_database(product).await;
        Self::at(product, Some(url), new_directory()).await
    }

    /// A SQLite file without a schema.
    pub(crate) async fn empty_sqlite(product: &Product) -> Self {
        Self::at(product, None, new_directory()).await
    }

    async fn at(product: &Product, database_url: Option<String>, directory: TempDir) -> Self {
        let database_url = database_url.unwrap_or_else(|| {
            format!("sqlite:{}/{}.db", directory.path().display(), product.brand().things)
        });
        let clock = Arc::new(MockClock::at(beginning()));
        let bus = Arc::new(RememberingBus::default());
        let app = connect(product, &database_url, SECRET, &clock, &bus).await;
        Self { app, clock, bus, directory, database_url }
    }

    /// Another instance on the same database and clock.
    pub(crate) async fn another(&self) -> App {
        self.another_with(SECRET).await
    }

    /// Another instance, started with another secret.
    pub(crate) async fn another_with(&self, secret: &str) -> App {
        connect(self.product(), &self.database_url, secret, &self.clock, &self.bus).await
    }

    /// Another instance that hears nothing of what the others publish.
    pub(crate) async fn another_that_hears_nothing(&self) -> App {
        connect(self.product(), &self.database_url, SECRET, &self.clock, &Arc::default()).await
    }

    /// Another instance, and what passes between it and the database, which is Postgres.
    pub(crate) async fn another_behind_a_relay(&self) -> (App, Relay) {
        let mut url: Url = self.database_url.parse().expect("we made it");
        let server = url.socket_addrs(|| Some(5432)).expect("it is an address")[0];
        let relay = Relay::to(&server.to_string()).await;
        url.set_port(Some(relay.port())).expect("it has a host");
        (connect(self.product(), url.as_str(), SECRET, &self.clock, &self.bus).await, relay)
    }

    /// What was published since the last time that this was asked.
    pub(crate) fn published(&self) -> Vec<Signal> {
        std::mem::take(&mut self.bus.published.lock().expect("nobody panics with it"))
    }

    fn product(&self) -> &Product {
        &self.app.config().product
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.database_url.starts_with("postgres")
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

fn new_directory() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

async fn connect(
    product: &Product,
    url: &str,
    secret: &str,
    clock: &Arc<MockClock>,
    bus: &Arc<RememberingBus>,
) -> App {
    let config = Config::read(product, |name| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        "JWT_SIGNING_SECRET" => Some(secret.to_owned()),
        // The smallest quota: arguments that exhaust it take long to encrypt without optimization.
        "JOB_MEGABYTES_PER_PERSON" => Some("8".to_owned()),
        _ => None,
    })
    .expect("a complete configuration");
    App::connect(&config, Arc::clone(clock) as _, Arc::clone(bus) as _)
        .await
        .expect("the database is there")
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(format!("dev:{name}"))
}

/// A bus that remembers what it was told.
#[derive(Default)]
struct RememberingBus {
    published: Mutex<Vec<Signal>>,
    fanout: Fanout,
}

#[async_trait]
impl Bus for RememberingBus {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        self.published.lock().expect("nobody panics with it").push(signal.clone());
        self.fanout.deliver(signal);
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        Ok(self.fanout.subscribe(topic))
    }

    async fn have_subscribers(&self, topics: &[Topic]) -> Result<Vec<bool>, StoreError> {
        Ok(topics.iter().map(|topic| self.fanout.has_subscriber(topic)).collect())
    }

    async fn replace_catalog(
        &self,
        _: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        Ok(None)
    }
}
