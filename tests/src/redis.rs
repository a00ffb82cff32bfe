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

/// A running server. Dropping it, or the end of this process, stops it.
pub struct Server {
    url: String,
    /// Waits for the end of its standard input, which this process holds; then it ends the server.
    guard: Child,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub async fn start() -> Self {
        let program =
            find().expect("redis-server or valkey-server is needed: scripts/test installs it");
        let folder = tempfile::Builder::new()
            .prefix("notes-redis-")
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("loopback has free ports")
            .port();
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            // A shell lets its background processes ignore QUIT, and Redis does.
            .arg("TERM")
            .arg(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "."])
            .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not the terminal's Ctrl-C: it ends when we end.
            .process_group(0)
            .spawn()
            .expect("/bin/sh can be started");
        eventually("Redis answers", async || answers(port).await.then_some(())).await;
        Self { url: format!("redis://127.0.0.1:{port}"), guard }
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
    let ping = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer == *b"+PONG")
    };
    ping.await.unwrap_or(false)
}

fn find() -> Option<PathBuf> {
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
