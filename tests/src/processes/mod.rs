//! Instances as processes of their own, with a Redis and a database that they share: for what an
//! instance in the test's own process cannot do, such as dying.
//!
//! [`Fleet`] is to processes what [`crate::cluster::Cluster`] is to instances in this one. Each
//! process is a [`Program`], which a test kills (`SIGKILL`), stops (`SIGSTOP`), lets go on, asks to
//! end (`SIGTERM`) and starts again; all of them end with the test. Their logs are shown if it
//! fails.

mod balancer;
mod program;
mod redis;
mod wire;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener as PortFinder},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use mcp::{Stores, UserId};
use platform::clock::SystemClock;
use rand::RngExt as _;
use reqwest::Method;
use sea_orm::ConnectionTrait as _;
use service::{
    Service,
    config::Config,
    oauth::{access_token::NewToken, scope},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub use self::{
    balancer::Balancer,
    program::{Program, Recipe, Signal},
    redis::{Persistence, Redis},
    wire::Wire,
};
use crate::{
    client::Web,
    eventually,
    fixtures::{Gate, Gates},
    github::GitHub,
    in_time, postgres,
};

/// What the instances of a fleet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `notes-mcp`, as it ships.
    Product,
    /// `fixtures-web`: the fixtures, and what the product offers beside them.
    Fixtures,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Product => "notes-mcp",
            Self::Fixtures => "fixtures-web",
        }
    }

    fn worker(self) -> &'static str {
        match self {
            Self::Product => "notes-mcp-worker",
            Self::Fixtures => "conformance-worker",
        }
    }
}

/// What a fleet is to be.
#[derive(Debug)]
pub struct Plan {
    kind: Kind,
    instances: usize,
    workers: usize,
    persistence: Persistence,
    environment: HashMap<String, String>,
}

impl Plan {
    /// Three instances that share a Redis, which forgets everything when it ends, and a database.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            instances: 3,
            workers: 0,
            persistence: Persistence::None,
            environment: HashMap::from([
                ("SHUTDOWN_TIMEOUT".to_owned(), "10s".to_owned()),
                // Counted, as in production, but not what these tests are about.
                ("RATE_LIMIT_PER_MINUTE".to_owned(), "100000".to_owned()),
            ]),
        }
    }

    /// Workers beside the instances, of the same kind.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Another number of instances.
    #[must_use]
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// Whether Redis keeps its data when it is started again.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// A setting of every instance.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.environment.insert(variable.to_owned(), value.into());
        self
    }

    /// Lets people sign in through this GitHub.
    #[must_use]
    pub fn with_github(self, github: &GitHub) -> Self {
        github.settings().into_iter().fold(self, |it, (variable, value)| it.with(variable, value))
    }

    /// Starts everything and waits until every instance is ready.
    pub async fn start(self) -> Fleet {
        Fleet::start(self).await
    }
}

/// Instances that share a Redis and a database, each a process of its own.
pub struct Fleet {
    // Ends before what it needs, and before the folder with its log.
    instances: Vec<Program>,
    workers: Vec<Program>,
    webs: Vec<Web>,
    ports: Vec<u16>,
    worker_webs: Vec<Web>,
    environment: HashMap<String, String>,
    redis: Redis,
    database: Wire,
    gates: Gates,
    service: Service,
    balancer: (TcpListener, String),
    folder: TempDir,
}

impl Fleet {
    /// Three instances of the fixtures.
    pub async fn fixtures() -> Self {
        Plan::new(Kind::Fixtures).start().await
    }

    /// Three instances of the product.
    pub async fn product() -> Self {
        Plan::new(Kind::Product).start().await
    }

    async fn start(plan: Plan) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("notes-fleet-")
            .tempdir()
            .expect("a temporary folder can be made");
        let balancer = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let origin = format!("http://{}", balancer.local_addr().expect("it is bound"));
        let redis = Redis::start(folder.path(), plan.persistence).await;
        let (database, database_url) = cuttable(&postgres::fresh_database().await).await;
        let gates = Gates::default();
        let gate_keeper = gates.serve().await;

        let mut environment = plan.environment;
        for (variable, value) in [
            ("PUBLIC_URL", origin.clone()),
            ("DATA_DIR", folder.path().display().to_string()),
            ("DATABASE_URL", database_url),
            ("REDIS_URL", redis.url()),
            ("JWT_SIGNING_SECRET", "the signing secret of a fleet in a test".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("RUST_BACKTRACE", "1".to_owned()),
            (Gates::VARIABLE, gate_keeper.to_string()),
        ] {
            environment.entry(variable.to_owned()).or_insert(value);
        }
        let config = Config::read(|name| environment.get(name).cloned());
        let config = config.expect("the settings are good");
        let bus = Stores::in_memory(config.session_ttl).bus;
        let service = Service::connect(&config, Arc::new(SystemClock), bus);
        let service = service.await.expect("the database is there");

        let mut fleet = Self {
            instances: Vec::new(),
            workers: Vec::new(),
            webs: Vec::new(),
            ports: Vec::new(),
            worker_webs: Vec::new(),
            environment: environment.clone(),
            redis,
            database,
            gates,
            service,
            balancer: (balancer, origin),
            folder,
        };
        for index in 0..plan.instances {
            let port = free_port();
            let mut environment = environment.clone();
            environment.insert("PORT".to_owned(), port.to_string());
            fleet.ports.push(port);
            fleet.webs.push(Web::new(format!("http://127.0.0.1:{port}")));
            fleet.instances.push(Program::start(Recipe {
                name: format!("{}-{index}", plan.kind.program()),
                program: built(plan.kind.program()),
                arguments: Vec::new(),
                environment,
                folder: fleet.folder.path().to_owned(),
            }));
        }
        for index in 0..plan.instances {
            fleet.ready(index).await;
        }
        for index in 0..plan.workers {
            let port = free_port();
            let mut environment = environment.clone();
            environment.insert("WORKER_PORT".to_owned(), port.to_string());
            fleet.worker_webs.push(Web::new(format!("http://127.0.0.1:{port}")));
            fleet.workers.push(Program::start(Recipe {
                name: format!("{}-{index}", plan.kind.worker()),
                program: built(plan.kind.worker()),
                arguments: Vec::new(),
                environment,
                folder: fleet.folder.path().to_owned(),
            }));
        }
        for index in 0..plan.workers {
            fleet.worker_ready(index).await;
        }
        fleet
    }

    /// One of the instances, as seen from outside.
    pub fn web(&self, index: usize) -> &Web {
        &self.webs[index]
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// The ports of all instances.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The process of one of the instances.
    pub fn instance(&mut self, index: usize) -> &mut Program {
        &mut self.instances[index]
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The process of one of the workers.
    pub fn worker(&mut self, index: usize) -> &mut Program {
        &mut self.workers[index]
    }

    /// Where one of the workers answers probes.
    pub fn probes(&self, index: usize) -> &Web {
        &self.worker_webs[index]
    }

    /// Runs a program of ours to its end, configured as the fleet is.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.run_with(program, arguments, &[]).await
    }

    /// The same with some settings changed.
    pub async fn run_with(
        &self,
        program: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Output {
        let mut command = Command::new(built(program));
        command.args(arguments).env_clear().envs(&self.environment).stdin(Stdio::null());
        command.envs(settings.iter().copied());
        command.current_dir(self.folder.path());
        // Its way to the database leads through this process.
        let running = tokio::task::spawn_blocking(move || command.output());
        in_time(program, running).await.expect("nobody panics").expect("it can be started")
    }

    /// The Redis of all instances.
    pub fn redis(&mut self) -> &mut Redis {
        &mut self.redis
    }

    /// The wire between the instances and their database.
    pub fn database(&self) -> &Wire {
        &self.database
    }

    /// Makes the database end every connection, as it does when it is restarted.
    pub async fn end_database_connections(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        // Our own connections may be broken, too.
        eventually("the database ends connections", async || {
            self.service.db().execute_unprepared(sql).await.ok()
        })
        .await;
    }

    /// A setting of every instance.
    pub fn setting(&self, variable: &str) -> &str {
        &self.environment[variable]
    }

    /// Runs SQL on the database.
    pub async fn execute(&self, sql: &str) {
        // Our own connections may be broken, too.
        eventually("the database runs SQL", async || {
            self.service.db().execute_unprepared(sql).await.ok()
        })
        .await;
    }

    /// What the processes work with, for what no route offers. Nobody hears of what it changes: those
    /// who wait for it look by themselves.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The gate of that name, where calls of `test_gate` wait.
    pub fn gate(&self, name: &str) -> Gate {
        self.gates.named(name)
    }

    /// Where clients are to find the fleet: what is written in every token.
    pub fn origin(&self) -> &str {
        &self.balancer.1
    }

    /// A load balancer in front of all instances, at [`Self::origin`]. Give it the token of requests
    /// that bring none.
    pub fn balancer(&mut self, bearer: Option<String>) -> Balancer {
        let listener = std::mem::replace(
            &mut self.balancer.0,
            PortFinder::bind("127.0.0.1:0")
                .and_then(|it| {
                    it.set_nonblocking(true)?;
                    TcpListener::from_std(it)
                })
                .expect("loopback has ports"),
        );
        Balancer::start(listener, &self.ports, bearer)
    }

    /// An access token that may do everything.
    pub async fn token(&self, user: &str) -> String {
        self.token_for(user, scope::ALL).await
    }

    /// An access token with these scopes.
    pub async fn token_for(&self, user: &str, scopes: &[&str]) -> String {
        self.service
            .tokens()
            .mint(NewToken {
                user: UserId::new(format!("dev:{user}")),
                client: "tests".to_owned(),
                scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
                session_id: "tests".to_owned(),
                signed_in_at: None,
                ttl: None,
            })
            .await
            .expect("a token can be minted")
    }

    /// `kill -9`. Returns when the instance is gone.
    pub async fn kill(&mut self, index: usize) {
        self.instances[index].kill().await;
    }

    /// Starts an instance again and waits until it is ready.
    pub async fn start_again(&mut self, index: usize) {
        self.instances[index].start_again();
        self.ready(index).await;
    }

    /// Asks an instance to end, and waits for it; fails if it does not end in order.
    pub async fn drain(&mut self, index: usize) {
        drain(&mut self.instances[index]).await;
    }

    /// `kill -9` for a worker. Returns when it is gone.
    pub async fn kill_worker(&mut self, index: usize) {
        self.workers[index].kill().await;
    }

    /// Starts a worker again and waits until it is ready.
    pub async fn start_worker_again(&mut self, index: usize) {
        self.workers[index].start_again();
        self.worker_ready(index).await;
    }

    /// Asks a worker to end, and waits for it; fails if it does not end in order.
    pub async fn drain_worker(&mut self, index: usize) {
        drain(&mut self.workers[index]).await;
    }

    /// Waits until an instance answers.
    async fn ready(&self, index: usize) {
        lives("an instance", &self.webs[index]).await;
    }

    /// Waits until a worker answers its probe.
    pub async fn worker_ready(&self, index: usize) {
        lives("a worker", &self.worker_webs[index]).await;
    }
}

/// Waits until a program says that it lives.
async fn lives(who: &str, web: &Web) {
    eventually(&format!("{who} answers"), async || {
        let answer = web.request(Method::GET, "/livez").send().await;
        answer.is_ok_and(|it| it.status().is_success()).then_some(())
    })
    .await;
}

/// Asks a program to end, and waits for it; fails if it does not end in order.
async fn drain(program: &mut Program) {
    program.signal(Signal::TERM);
    let status = program.ended().await;
    assert!(status.success(), "{status}:\n{}", program.log());
}

/// A wire to the server of a database URL, and the URL that goes through it.
async fn cuttable(url: &str) -> (Wire, String) {
    let mut url: url::Url = url.parse().expect("we made it");
    let host = url.host_str().unwrap_or("127.0.0.1").parse().expect("it is an address");
    let wire = Wire::to(SocketAddr::new(host, url.port().unwrap_or(5432))).await;
    url.set_port(Some(wire.address().port())).expect("it has a host");
    (wire, url.to_string())
}

/// Ports that no system gives to outgoing connections: such a connection could take the port of a
/// program while that is started again.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::rng().random_range(PORTS))
        .take(PORTS.len())
        .find(|port| PortFinder::bind(("127.0.0.1", *port)).is_ok())
        .expect("loopback has free ports")
}

/// A program that `cargo build` made, beside the one that runs.
pub fn built(name: &str) -> PathBuf {
    let ours = std::env::current_exe().expect("this program has a path");
    let found = ours.ancestors().skip(1).take(2).map(|it| it.join(name)).find(|it| is_file(it));
    found.unwrap_or_else(|| panic!("`{name}` is not built: run `cargo build --workspace` first"))
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}
