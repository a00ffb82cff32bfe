//! Clusters of web instances and workers in this process, each cluster with its own database.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use app::{App, Dependencies, Product, config::Config, metrics};
use mcp::{ContentKeys, Engine, Stores, store::redis::Connection};
use platform::clock::{Clock, MockClock, SystemClock};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Web,
    documents::DocumentHost,
    fixtures::{self, Gate, Gates},
    github::GitHub,
    in_time,
    openid::OpenId,
    postgres, redis, sqlite,
    tokens::{all_scopes, mint, these_scopes},
    unfinished_jobs,
};

/// Which database a cluster runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file of its own, a copy of the migrated template ([`crate::sqlite`]).
    Sqlite,
    /// A fresh copy of the migrated template ([`crate::postgres`]).
    Postgres,
}

/// Set to `sqlite` to run tests on SQLite that otherwise run on Postgres.
const DATABASE_VARIABLE: &str = "TEST_DATABASE";

impl Database {
    /// The database itself, or SQLite if [`DATABASE_VARIABLE`] says so.
    fn available(self) -> Self {
        match std::env::var(DATABASE_VARIABLE).as_deref() {
            Ok("sqlite") => Self::Sqlite,
            Ok(other) => panic!("{DATABASE_VARIABLE} is `sqlite` or unset, not `{other}`"),
            Err(_unset) => self,
        }
    }
}

/// Builds a [`Cluster`]. Every setting has a default.
pub struct Setup {
    database: Database,
    product: fn() -> Product,
    instances: usize,
    workers: usize,
    real_time: bool,
    redis: Option<String>,
    environment: HashMap<&'static str, String>,
    changes: Vec<Change>,
}

/// Changes the injected dependencies of an instance.
type Change = Box<dyn Fn(&mut Dependencies) + Send + Sync>;

impl Setup {
    /// One instance of the fixtures.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            product: fixtures::product,
            instances: 1,
            workers: 0,
            real_time: false,
            redis: None,
            environment: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// Sets the number of instances, which share the database and the stores.
    #[must_use]
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// Sets the number of workers, which run jobs.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Runs this product instead of the fixtures.
    #[must_use]
    pub fn product(mut self, product: fn() -> Product) -> Self {
        self.product = product;
        self
    }

    /// Sets an environment variable of every instance.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.environment.insert(variable, value.into());
        self
    }

    /// Configures sign-in through this GitHub. The instances trust `X-Forwarded-For`, so that a test can
    /// send requests from many client addresses, each with its own rate limit.
    #[must_use]
    pub fn with_github(self, github: &GitHub) -> Self {
        github.settings().into_iter().fold(self, |it, (variable, value)| it.with(variable, value))
    }

    /// Configures sign-in through this OpenID Connect provider, too. The instances trust
    /// `X-Forwarded-For`, as with GitHub.
    #[must_use]
    pub fn with_openid(self, provider: &OpenId) -> Self {
        let setup = self.with("TRUSTED_PROXY_HOPS", "1");
        provider
            .settings()
            .into_iter()
            .fold(setup, |it, (variable, value)| it.with(variable, value))
    }

    /// Resolves client metadata documents to this host ([`DocumentHost`]).
    #[must_use]
    pub fn with_documents(self, host: &DocumentHost) -> Self {
        let (resolver, roots) = (host.resolver(), host.roots());
        self.given(move |given| {
            given.resolver = Arc::clone(&resolver);
            given.roots = Some(Arc::clone(&roots));
        })
    }

    /// Changes the injected dependencies of each instance, for example to a store that can fail.
    #[must_use]
    pub fn given(mut self, change: impl Fn(&mut Dependencies) + Send + Sync + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Uses the system clock instead of one that the test advances.
    #[must_use]
    pub fn real_time(mut self) -> Self {
        self.real_time = true;
        self
    }

    /// Keeps the stores in the shared Redis ([`redis::shared`]), also when [`STORES_VARIABLE`] is not set.
    pub async fn on_redis(self) -> Self {
        let url = redis::shared().await;
        self.on_redis_at(url)
    }

    /// Keeps the stores in the Redis at `url`.
    #[must_use]
    pub fn on_redis_at(mut self, url: impl Into<String>) -> Self {
        self.redis = Some(url.into());
        self
    }

    /// Starts the cluster.
    pub async fn start(self) -> Cluster {
        Cluster::from(self).await
    }
}

/// Web instances that share a database and the stores.
pub struct Cluster {
    instances: Vec<Instance>,
    workers: Vec<Worker>,
    blueprint: Blueprint,
    clock: Arc<MockClock>,
    /// Holds the SQLite database; deleted with the cluster.
    _folder: TempDir,
}

/// What every instance is built from.
struct Blueprint {
    environment: HashMap<&'static str, String>,
    product: Product,
    gates: Gates,
    changes: Vec<Change>,
    shared: Shared,
}

struct Instance {
    web: Web,
    app: App,
    port: u16,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

struct Worker {
    app: App,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Cluster {
    /// Starts this many instances of the fixtures on Postgres.
    pub async fn on_postgres(instances: usize) -> Self {
        Setup::new(Database::Postgres).instances(instances).start().await
    }

    /// Starts this many instances of the fixtures on SQLite.
    pub async fn on_sqlite(instances: usize) -> Self {
        Setup::new(Database::Sqlite).instances(instances).start().await
    }

    async fn from(setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut listeners = Vec::new();
        for _ in 0..setup.instances {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports"));
        }
        let (product, gates) = ((setup.product)(), Gates::default());
        let mut environment = environment(&setup, &product, &folder, port(&listeners[0])).await;
        environment.entry(Gates::VARIABLE).or_insert(gates.serve().await.to_string());
        let session_ttl = config(&product, &environment).session_ttl;

        let now = SystemClock.now();
        let mock = Arc::new(MockClock::at(now));
        let clock: Arc<dyn Clock> =
            if setup.real_time { Arc::new(SystemClock) } else { Arc::clone(&mock) as _ };
        let shared = Shared::choose(setup.redis.clone(), session_ttl, clock).await;
        let changes = setup.changes;
        let blueprint = Blueprint { environment, product, gates, changes, shared };

        let mut instances: Vec<Instance> = Vec::new();
        for listener in listeners {
            let (app, engine) = blueprint.instance(&[]).await;
            instances.push(Instance::start(listener, app, engine));
        }
        let workers = Vec::new();
        let mut cluster = Self { instances, workers, blueprint, clock: mock, _folder: folder };
        for _ in 0..setup.workers {
            cluster.start_worker().await;
        }
        cluster
    }

    /// Starts one more worker.
    pub async fn start_worker(&mut self) {
        let (app, engine) = self.blueprint.instance(&[]).await;
        let settings = worker::Settings::of(app.config());
        let worker = worker::Worker::new(app.clone(), Arc::new(engine), settings);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(worker.run(shutdown.clone()));
        self.workers.push(Worker { app, shutdown, running });
    }

    /// Stops all workers and waits until they have released their jobs to the queue.
    pub async fn end_workers(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            worker.shutdown.cancel();
            in_time("a worker ends", worker.running).await.expect("a worker does not panic");
            worker.app.close().await;
        }
    }

    /// The environment with which another process joins this cluster. `None` if the stores are in memory.
    pub fn environment(&self) -> Option<HashMap<&'static str, String>> {
        let Shared::Redis { url, prefix, .. } = &self.blueprint.shared else {
            return None;
        };
        let mut environment = self.blueprint.environment.clone();
        environment.extend([("REDIS_URL", url.clone()), ("REDIS_PREFIX", prefix.clone())]);
        Some(environment)
    }

    /// Starts one more instance with some environment variables changed, as a deploy does. Returns its
    /// index.
    pub async fn join(&mut self, changed: &[(&'static str, &str)]) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let (app, engine) = self.blueprint.instance(changed).await;
        self.instances.push(Instance::start(listener, app, engine));
        self.instances.len() - 1
    }

    /// One of the instances.
    pub fn web(&self, index: usize) -> &Web {
        &self.instances[index].web
    }

    /// The ports of all instances.
    pub fn ports(&self) -> Vec<u16> {
        self.instances.iter().map(|instance| instance.port).collect()
    }

    /// The clock of all instances; without effect after [`Setup::real_time`].
    pub fn clock(&self) -> &MockClock {
        &self.clock
    }

    /// The service of the first instance, for operations that no route offers.
    pub fn app(&self) -> &App {
        self.service_of(0)
    }

    /// The service of one instance.
    pub fn service_of(&self, index: usize) -> &App {
        &self.instances[index].app
    }

    /// The gate of this name, at which calls of `test_gate` wait.
    pub fn gate(&self, name: &str) -> Gate {
        self.blueprint.gates.named(name)
    }

    /// Mints an access token with all scopes.
    pub async fn token(&self, user: &str) -> String {
        mint(self.app(), user, all_scopes(self.app()), None).await
    }

    /// Mints an access token with these scopes.
    pub async fn token_for(&self, user: &str, scopes: &[&str]) -> String {
        mint(self.app(), user, these_scopes(scopes), None).await
    }

    /// Mints an access token with all scopes and this lifetime.
    pub async fn brief_token(&self, user: &str, ttl: Duration) -> String {
        mint(self.app(), user, all_scopes(self.app()), Some(ttl)).await
    }

    /// Starts the shutdown of one instance.
    pub fn shut_down(&self, index: usize) {
        self.instances[index].shutdown.cancel();
    }

    /// Waits until one instance has shut down without an error.
    pub async fn ended(&mut self, index: usize) {
        let running = &mut self.instances[index].running;
        in_time("an instance ends", running)
            .await
            .expect("an instance does not panic")
            .expect("an instance ends without an error");
    }

    /// Shuts down one instance, waits for it, and closes its database connections.
    pub async fn leave(&mut self, index: usize) {
        self.shut_down(index);
        self.ended(index).await;
        self.instances[index].app.close().await;
    }

    /// Shuts down all workers and instances, and waits for them.
    pub async fn stop(mut self) {
        self.end_workers().await;
        for index in 0..self.instances.len() {
            self.shut_down(index);
        }
        for index in 0..self.instances.len() {
            self.ended(index).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(instance) = self.instances.first()
        {
            unfinished_jobs::report(instance.app.config().database.url.expose().to_owned());
        }
        for instance in &self.instances {
            instance.shutdown.cancel();
        }
        for worker in &self.workers {
            worker.shutdown.cancel();
        }
    }
}

/// The stores and dependencies that the instances of a cluster share besides the database.
enum Shared {
    /// The same objects in memory.
    Memory(Stores, Dependencies),
    /// A Redis server, to which every instance has its own connections.
    Redis { url: String, prefix: String, session_ttl: Duration, clock: Arc<dyn Clock> },
}

/// Set to `redis` to run the tests with the stores in Redis instead of in memory.
const STORES_VARIABLE: &str = "TEST_STORES";

impl Shared {
    async fn choose(redis: Option<String>, session_ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        let url = match (redis, std::env::var(STORES_VARIABLE).as_deref()) {
            (Some(url), _) => Some(url),
            (None, Ok("redis")) => Some(redis::shared().await.to_owned()),
            (None, Ok(other)) => panic!("{STORES_VARIABLE} is `redis` or unset, not `{other}`"),
            (None, Err(_unset)) => None,
        };
        if let Some(url) = url {
            return Self::Redis { url, prefix: redis::fresh_prefix(), session_ttl, clock };
        }
        let stores = Stores::in_memory(session_ttl);
        let given = Dependencies::in_process(clock, stores.bus.clone());
        Self::Memory(stores, given)
    }

    fn for_one_instance(&self, keys: ContentKeys) -> (Stores, Dependencies) {
        match self {
            Self::Memory(stores, given) => (stores.clone(), given.clone()),
            Self::Redis { url, prefix, session_ttl, clock } => {
                let connection = Connection::new(url, prefix).expect("the URL is good");
                let connection = connection.with_observer(metrics::record_round_trip);
                let stores = Stores::in_redis(&connection, *session_ttl, keys.clone());
                let stores = stores.expect("the URL is good");
                let bus = Arc::clone(&stores.bus);
                let given = Dependencies::in_redis(Arc::clone(clock), bus, &connection, keys);
                (stores, given)
            }
        }
    }
}

impl Blueprint {
    /// Builds the service and engine of an instance, with some environment variables changed.
    async fn instance(&self, changed: &[(&'static str, &str)]) -> (App, Engine) {
        let mut environment = self.environment.clone();
        environment.extend(changed.iter().map(|&(name, value)| (name, value.to_owned())));
        let config = config(&self.product, &environment);
        let (stores, mut given) = self.shared.for_one_instance(config.content_keys());
        for change in &self.changes {
            change(&mut given);
        }
        let connected = App::connect_with(&config, given).await;
        let app = connected.expect("the database is there");
        let engine = Engine::new(app.catalog(), stores, app::mcp_settings(&app));
        (app, engine)
    }
}

impl Instance {
    fn start(listener: TcpListener, app: App, engine: Engine) -> Self {
        let port = port(&listener);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(web::run(listener, app.clone(), engine, shutdown.clone()));
        let web = Web::new(format!("http://127.0.0.1:{port}"));
        Self { web, app, port, shutdown, running }
    }
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("a bound listener has an address").port()
}

async fn environment(
    setup: &Setup,
    product: &Product,
    folder: &TempDir,
    port: u16,
) -> HashMap<&'static str, String> {
    let mut environment = setup.environment.clone();
    let mut default = |variable, value: String| {
        environment.entry(variable).or_insert(value);
    };
    default("PUBLIC_URL", format!("http://127.0.0.1:{port}"));
    default("DATA_DIR", folder.path().display().to_string());
    default("SHUTDOWN_TIMEOUT", "10s".to_owned());
    // Tests send many requests while their clock stands still; tests of the rate limit set it.
    default("RATE_LIMIT_PER_MINUTE", "100000".to_owned());
    if !environment.contains_key("DATABASE_URL") {
        match setup.database.available() {
            Database::Sqlite => {
                sqlite::fresh_database(product, environment["DATA_DIR"].as_ref()).await;
            }
            Database::Postgres => {
                environment.insert("DATABASE_URL", postgres::fresh_database(product).await);
            }
        }
    }
    environment
}

fn config(product: &Product, environment: &HashMap<&'static str, String>) -> Config {
    let variables: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Config::read_all(product, &variables).expect("the settings are good")
}
