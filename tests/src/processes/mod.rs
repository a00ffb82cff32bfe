//! Fleets of instances and workers as separate processes, with a shared Redis and database, for tests of
//! what an instance inside the test process cannot do, such as crash.
//!
//! [`Fleet`] is for processes what [`crate::cluster::Cluster`] is for instances in the test process.
//! Each process is a [`Program`], which a test can kill (`SIGKILL`), stop (`SIGSTOP`), continue, ask to
//! shut down (`SIGTERM`) and start again. All processes end with the test; if it fails, their logs are
//! printed.

mod balancer;
mod disk;
mod plan;
mod postgres;
mod program;
mod redis;
mod wire;

use std::{
    collections::HashMap,
    ffi::OsString,
    net::{SocketAddr, TcpListener as PortFinder},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use app::{App, config::Config};
use mcp::Stores;
use platform::clock::SystemClock;
use rand::RngExt as _;
use reqwest::Method;
use sea_orm::ConnectionTrait as _;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub use self::{
    balancer::Balancer,
    disk::SmallDisk,
    plan::{Kind, Plan},
    postgres::Postgres,
    program::{Program, Recipe, Signal},
    redis::{Persistence, Redis},
    wire::Wire,
};
use crate::{
    client::Web,
    eventually,
    fixtures::{Gate, Gates},
    in_time,
    tokens::{all_scopes, mint, these_scopes},
};

/// The proxies of one instance.
#[derive(Debug)]
pub struct Wires {
    /// The proxy to Redis.
    pub redis: Wire,
    /// The proxy to the database.
    pub database: Wire,
}

/// Instances and workers that share a Redis and a database, each in its own process.
pub struct Fleet {
    // Dropped before the servers that they need, and before the folder with their logs.
    instances: Vec<Program>,
    workers: Vec<Program>,
    webs: Vec<Web>,
    ports: Vec<u16>,
    worker_webs: Vec<Web>,
    environment: HashMap<String, String>,
    redis: Redis,
    database: Wire,
    wires: Vec<Wires>,
    gates: Gates,
    app: App,
    balancer: (TcpListener, String),
    folder: TempDir,
}

impl Fleet {
    /// Starts three instances of the fixtures.
    pub async fn fixtures() -> Self {
        Plan::new(Kind::Fixtures).start().await
    }

    async fn start(plan: Plan) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("fleet-")
            .tempdir()
            .expect("a temporary folder can be made");
        let balancer = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let origin = format!("http://{}", balancer.local_addr().expect("it is bound"));
        let redis = Redis::start(folder.path(), plan.persistence).await;
        let product = plan.kind.product();
        let database_url = match plan.database {
            Some(url) => url,
            None => Box::pin(crate::postgres::fresh_database(&product)).await,
        };
        let (database, database_url) = cuttable(&database_url).await;
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
        let config = Config::read(&product, |name| environment.get(name).cloned());
        let config = config.expect("the settings are good");
        let bus = Stores::in_memory(config.session_ttl).bus;
        let app = App::connect(&config, Arc::new(SystemClock), bus);
        let app = app.await.expect("the database is there");

        let mut fleet = Self {
            instances: Vec::new(),
            workers: Vec::new(),
            webs: Vec::new(),
            ports: Vec::new(),
            worker_webs: Vec::new(),
            environment: environment.clone(),
            redis,
            database,
            wires: Vec::new(),
            gates,
            app,
            balancer: (balancer, origin),
            folder,
        };
        for index in 0..plan.instances {
            let port = free_port();
            let mut environment = environment.clone();
            environment.insert("PORT".to_owned(), port.to_string());
            fleet.ports.push(port);
            fleet.webs.push(Web::new(format!("http://127.0.0.1:{port}")));
            if plan.has_own_wires {
                fleet.wires.push(own_wires(&mut environment).await);
            }
            let program = plan.kind.web();
            let folder = fleet.folder.path();
            fleet.instances.push(started("web", index, program, &plan.prefix, environment, folder));
        }
        for index in 0..plan.instances {
            fleet.ready(index).await;
        }
        for index in 0..plan.workers {
            let port = free_port();
            let mut environment = environment.clone();
            environment.insert("WORKER_PORT".to_owned(), port.to_string());
            fleet.worker_webs.push(Web::new(format!("http://127.0.0.1:{port}")));
            let program = plan.kind.worker();
            let folder = fleet.folder.path();
            fleet.workers.push(started("worker", index, program, &[], environment, folder));
        }
        for index in 0..plan.workers {
            fleet.worker_ready(index).await;
        }
        fleet
    }

    /// The HTTP interface of one instance.
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

    /// The HTTP interface of one worker, for probes and metrics.
    pub fn probes(&self, index: usize) -> &Web {
        &self.worker_webs[index]
    }

    /// Runs a program of the workspace to completion, with the environment of the fleet.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.run_with(program, arguments, &[]).await
    }

    /// Like [`Self::run`], with some environment variables changed.
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
        // Not on this thread: the program's connection to the database passes through this process.
        let running = tokio::task::spawn_blocking(move || command.output());
        in_time(program, running).await.expect("nobody panics").expect("it can be started")
    }

    /// The Redis of all instances.
    pub fn redis(&mut self) -> &mut Redis {
        &mut self.redis
    }

    /// The proxy between the processes and their database.
    pub fn database(&self) -> &Wire {
        &self.database
    }

    /// The proxies of one instance, if it has its own ([`Plan::own_wires`]).
    pub fn wires(&self, index: usize) -> &Wires {
        &self.wires[index]
    }

    /// Terminates every connection on the side of the database, as a restart does.
    pub async fn end_database_connections(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        // Our own connections may be broken, too.
        eventually("the database ends connections", async || {
            self.app.db().execute_unprepared(sql).await.ok()
        })
        .await;
    }

    /// The value of an environment variable of every process.
    pub fn setting(&self, variable: &str) -> &str {
        &self.environment[variable]
    }

    /// Runs SQL on the database.
    pub async fn execute(&self, sql: &str) {
        // Our own connections may be broken, too.
        eventually("the database runs SQL", async || {
            self.app.db().execute_unprepared(sql).await.ok()
        })
        .await;
    }

    /// A service on the database of the fleet, for operations that no route offers. Its changes are not
    /// published; processes find them only by polling.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The gate of this name, at which calls of `test_gate` wait.
    pub fn gate(&self, name: &str) -> Gate {
        self.gates.named(name)
    }

    /// The public URL of the fleet, which every token names.
    pub fn origin(&self) -> &str {
        &self.balancer.1
    }

    /// Starts a load balancer in front of all instances, at [`Self::origin`]. Requests without a token
    /// get `bearer`.
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

    /// Mints an access token with all scopes.
    pub async fn token(&self, user: &str) -> String {
        mint(&self.app, user, all_scopes(&self.app), None).await
    }

    /// Mints an access token with these scopes.
    pub async fn token_for(&self, user: &str, scopes: &[&str]) -> String {
        mint(&self.app, user, these_scopes(scopes), None).await
    }

    /// Kills an instance (`SIGKILL`) and waits for its end.
    pub async fn kill(&mut self, index: usize) {
        self.instances[index].kill().await;
    }

    /// Starts an instance again and waits until it answers.
    pub async fn start_again(&mut self, index: usize) {
        self.instances[index].start_again();
        self.ready(index).await;
    }

    /// Asks an instance to shut down, and waits for it. Panics if it exits with a failure.
    pub async fn drain(&mut self, index: usize) {
        drain(&mut self.instances[index]).await;
    }

    /// Kills a worker (`SIGKILL`) and waits for its end.
    pub async fn kill_worker(&mut self, index: usize) {
        self.workers[index].kill().await;
    }

    /// Starts a worker again and waits until it answers.
    pub async fn start_worker_again(&mut self, index: usize) {
        self.workers[index].start_again();
        self.worker_ready(index).await;
    }

    /// Asks a worker to shut down, and waits for it. Panics if it exits with a failure.
    pub async fn drain_worker(&mut self, index: usize) {
        drain(&mut self.workers[index]).await;
    }

    /// Waits until an instance answers.
    async fn ready(&self, index: usize) {
        lives("an instance", &self.webs[index]).await;
    }

    /// Waits until a worker answers.
    pub async fn worker_ready(&self, index: usize) {
        lives("a worker", &self.worker_webs[index]).await;
    }
}

/// Starts one of the programs of a fleet.
fn started(
    role: &str,
    index: usize,
    (program, arguments): (&str, &[&str]),
    prefix: &[OsString],
    environment: HashMap<String, String>,
    folder: &Path,
) -> Program {
    let mut words = prefix.to_vec();
    words.push(built(program).into());
    words.extend(arguments.iter().map(Into::into));
    Program::start(Recipe {
        name: format!("{role}-{index}"),
        program: words.remove(0).into(),
        arguments: words,
        environment,
        folder: folder.to_owned(),
    })
}

/// Waits until a program answers its liveness probe.
async fn lives(who: &str, web: &Web) {
    eventually(&format!("{who} answers"), async || {
        let answer = web.request(Method::GET, "/livez").send().await;
        answer.is_ok_and(|it| it.status().is_success()).then_some(())
    })
    .await;
}

/// Asks a program to shut down, and waits for it. Panics if it exits with a failure.
async fn drain(program: &mut Program) {
    program.signal(Signal::TERM);
    let status = program.ended().await;
    assert!(status.success(), "{status}:\n{}", program.log());
}

/// Leads an instance to Redis and to the database through proxies of its own.
async fn own_wires(environment: &mut HashMap<String, String>) -> Wires {
    let (redis, redis_url) = cuttable(&environment["REDIS_URL"]).await;
    let (database, database_url) = cuttable(&environment["DATABASE_URL"]).await;
    environment.insert("REDIS_URL".to_owned(), redis_url);
    environment.insert("DATABASE_URL".to_owned(), database_url);
    Wires { redis, database }
}

/// Starts a proxy to the server of a URL. Returns it and the URL through it.
async fn cuttable(url: &str) -> (Wire, String) {
    let mut url: url::Url = url.parse().expect("we made it");
    let host = url.host_str().unwrap_or("127.0.0.1").parse().expect("it is an address");
    let wire = Wire::to(SocketAddr::new(host, url.port().unwrap_or(5432))).await;
    url.set_port(Some(wire.address().port())).expect("it has a host");
    (wire, url.to_string())
}

/// Outside of the ephemeral port range: an outgoing connection could otherwise take the port of a
/// program while it is restarted.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Returns a port on which no program listens now.
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::rng().random_range(PORTS))
        .take(PORTS.len())
        .find(|port| PortFinder::bind(("127.0.0.1", *port)).is_ok())
        .expect("loopback has free ports")
}

/// The path of a program that `cargo build` made, in the target folder of the running program.
pub fn built(name: &str) -> PathBuf {
    let ours = std::env::current_exe().expect("this program has a path");
    let found = ours.ancestors().skip(1).take(2).map(|it| it.join(name)).find(|it| is_file(it));
    found.unwrap_or_else(|| panic!("`{name}` is not built: run `cargo build --workspace` first"))
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}
