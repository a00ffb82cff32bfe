//! A private Redis or Valkey server from the machine's own binaries.
//!
//! Like [`crate::postgres`]: a free port of 127.0.0.1, a temporary folder, and the end of the
//! process that started it. Nothing is kept on disk. Tests of one server keep apart by the prefix of
//! their keys ([`fresh_prefix`]).

use std::{
    env,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
};

use crate::{eventually, postgres::GUARD};

/// Names the server program, to test another version than the one on the PATH.
const PROGRAM_VARIABLE: &str = "TEST_REDIS_SERVER";

/// A server that the tests of this process share, as `redis://…`.
pub async fn shared() -> &'static str {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(Server::start).await.url()
}

/// What the keys of one test begin with.
pub fn fresh_prefix() -> String {
    format!("test-{:016x}:", rand::random::<u64>())
}

/// Three servers that share the keys among them.
pub struct Trio {
    servers: Vec<Server>,
}

/// The slots of a cluster, in three parts.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

impl Trio {
    /// Starts a cluster and waits until it works.
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

    /// One of its servers, as `redis://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        self.servers[0].url()
    }

    /// All of them.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }
}

/// A running server. Dropping it, or the end of this process, stops it.
pub struct Server {
    url: String,
    port: u16,
    /// Waits for the end of its standard input, which this process holds; then it ends the server.
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
            .prefix("notes-redis-")
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        let port = free_port();
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            // A shell lets its background processes ignore QUIT, and Redis does.
            .arg("TERM")
            .arg(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "."])
            .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not the terminal's Ctrl-C: it ends when we end.
            .process_group(0)
            .spawn()
            .expect("/bin/sh can be started");
        eventually("Redis answers", async || answers(port).await.then_some(())).await;
        Self { url: format!("redis://127.0.0.1:{port}"), port, guard }
    }

    /// Runs a command and gives the answer as it comes over the wire, if it comes in one piece.
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

/// The server program: the one that the environment names, or the first on the PATH.
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
