//! Private Redis or Valkey servers, started from the installed binaries.
//!
//! Like [`crate::postgres`], a server listens on a free port of 127.0.0.1, runs in a temporary folder
//! and stops when the process that started it ends. It writes no data to disk. Tests that share a
//! server use different key prefixes ([`fresh_prefix`]).

use std::{
    env,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use mcp::{ContentKey, ContentKeys};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
};

use crate::{eventually, postgres::GUARD};

/// Names the server program, to test another version than the one on the PATH.
const PROGRAM_VARIABLE: &str = "TEST_REDIS_SERVER";

/// Names a running server, so that the processes of one test run share it.
pub const URL_VARIABLE: &str = "TEST_REDIS_URL";

/// A server that tests share, as `redis://…`: the one that [`URL_VARIABLE`] names, or one of this
/// process. Each test uses a prefix of its own ([`fresh_prefix`]) and leaves the server's settings,
/// memory and connections alone; tests of these start a [`Server`] of their own.
pub async fn shared() -> &'static str {
    static SERVER: OnceCell<(String, Option<Server>)> = OnceCell::const_new();
    let (url, _) = SERVER
        .get_or_init(|| async {
            match env::var(URL_VARIABLE) {
                Ok(url) => (url, None),
                Err(_unset) => {
                    let server = Server::start().await;
                    (server.url.clone(), Some(server))
                }
            }
        })
        .await;
    url
}

/// Whether a server program is installed.
pub fn is_installed() -> bool {
    find().is_some_and(|program| program.is_file())
}

/// Returns a random key prefix for one test.
pub fn fresh_prefix() -> String {
    format!("test-{:016x}:", rand::random::<u64>())
}

/// Returns the keys that encrypt content, the same for all stores of a test.
pub fn content_keys() -> ContentKeys {
    ContentKeys::new([ContentKey::new([1; 8], [1; 32])], "SETTING")
}

/// A Redis Cluster of three servers.
pub struct Trio {
    servers: Vec<Server>,
}

/// The hash slots of the three servers.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

impl Trio {
    /// Starts a cluster and waits until it accepts commands.
    pub async fn start() -> Self {
        let mut servers = Vec::new();
        for (from, to) in SLOTS {
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let server = Server::with(&options).await;
            let bus = bus.as_str();
            server.run(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")).await;
            if let Some(first) = servers.first() {
                let first: &Server = first;
                first.run(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port)).await;
            }
            servers.push(server);
        }
        for server in &servers {
            eventually("the servers have found each other", async || {
                let info = server.run("CLUSTER INFO").await;
                let all = info.contains("cluster_state:ok") && info.contains("cluster_size:3");
                all.then_some(())
            })
            .await;
        }
        Self { servers }
    }

    /// The URL of one of the servers, `redis://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        self.servers[0].url()
    }

    /// All three servers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }
}

/// A running server. It stops when it is dropped or this process ends.
pub struct Server {
    url: String,
    port: u16,
    /// Stops the server when its standard input, held by this process, is closed ([`GUARD`]).
    guard: Child,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(options: &[&str]) -> Self {
        let program =
            find().expect("redis-server or valkey-server is needed: scripts/test installs it");
        let folder = tempfile::Builder::new()
            .prefix("test-redis-")
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        let port = free_port();
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            // Redis, as a background process of a shell, ignores QUIT.
            .arg("TERM")
            .arg(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "."])
            .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own process group, so that Ctrl-C reaches it only through this process.
            .process_group(0)
            .spawn()
            .expect("/bin/sh can be started");
        eventually("Redis answers", async || answers(port).await.then_some(())).await;
        Self { url: format!("redis://127.0.0.1:{port}"), port, guard }
    }

    /// Runs a command and returns the reply in the RESP format, as far as it arrives in one read.
    pub async fn run(&self, command: &str) -> String {
        ask(self.port, command).await.expect("the server answers")
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            tracing::warn!(%error, "Could not wait for the end of Redis");
        }
    }
}

async fn answers(port: u16) -> bool {
    ask(port, "PING").await.is_ok_and(|it| it.starts_with("+PONG"))
}

async fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 64 * 1024];
    let read = stream.read(&mut answer).await?;
    answer.truncate(read);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has free ports")
        .port()
}

/// Finds the server program: the one that [`PROGRAM_VARIABLE`] names, or the first on the PATH.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(program) = env::var_os(PROGRAM_VARIABLE) {
        return Some(program.into());
    }
    let on_path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&on_path).collect();
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program: &PathBuf| Path::is_file(program))
}
