//! The Redis server of a fleet, which a test can disconnect, empty, pause and kill.

use std::{collections::HashMap, net::SocketAddr, path::Path};

use ::redis::{Client, Cmd, FromRedisValue, RedisResult};
use tempfile::TempDir;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{Program, Recipe, Signal, free_port};
use crate::{eventually, redis};

/// What Redis keeps across a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// No data.
    None,
    /// All acknowledged writes.
    Always,
}

/// A Redis or Valkey server.
#[derive(Debug)]
pub struct Redis {
    program: Program,
    port: u16,
    /// Its own folder, unless it uses the one of a fleet. Deleted after the program has ended.
    _folder: Option<TempDir>,
}

impl Redis {
    /// Starts a server that belongs to no fleet.
    pub async fn alone(persistence: Persistence) -> Self {
        let folder = tempfile::Builder::new().prefix("redis-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let redis = Self::start(folder.path(), persistence).await;
        Self { _folder: Some(folder), ..redis }
    }

    pub(super) async fn start(folder: &Path, persistence: Persistence) -> Self {
        let program = redis::find();
        let port = free_port();
        let append = match persistence {
            Persistence::None => ["no", "no"],
            Persistence::Always => ["yes", "always"],
        };
        let arguments = [
            ["--port", &port.to_string()],
            ["--bind", "127.0.0.1"],
            ["--dir", "."],
            ["--save", ""],
            ["--maxmemory-policy", "noeviction"],
            ["--appendonly", append[0]],
            ["--appendfsync", append[1]],
        ];
        let program = Program::start(Recipe {
            name: "redis".to_owned(),
            program: program.expect("redis-server or valkey-server is needed"),
            arguments: arguments.iter().flatten().map(Into::into).collect(),
            environment: HashMap::new(),
            folder: folder.to_owned(),
        });
        let redis = Self { program, port, _folder: None };
        redis.ready().await;
        redis
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Kills it (`SIGKILL`) and waits for its end.
    pub async fn kill(&mut self) {
        self.program.kill().await;
    }

    /// Starts it again with the data that it has kept, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.program.start_again();
        self.ready().await;
    }

    /// Stops it (`SIGSTOP`): the system still accepts connections, and no command is answered.
    pub fn pause(&self) {
        self.program.signal(Signal::STOP);
    }

    /// Continues it after [`Self::pause`].
    pub fn go_on(&self) {
        self.program.signal(Signal::CONT);
    }

    /// Deletes all its data.
    pub async fn forget_everything(&self) {
        self.command("FLUSHALL").await.expect("Redis runs");
    }

    /// Closes every connection, including those of subscribers.
    pub async fn cut_connections(&self) {
        for kind in ["normal", "pubsub"] {
            self.command(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).await.expect("Redis runs");
        }
    }

    /// Runs a command and returns its reply: the content of a bulk string, or the first line of any other.
    pub async fn command(&self, command: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let mut stream = BufReader::new(stream);
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if let Some(length) = answer.trim_end().strip_prefix('$').and_then(|it| it.parse().ok()) {
            let mut content = vec![0; length];
            stream.read_exact(&mut content).await?;
            return Ok(String::from_utf8_lossy(&content).into_owned());
        }
        Ok(answer.trim_end().to_owned())
    }

    /// Runs a command and returns its whole reply.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let client = Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    }

    async fn ready(&self) {
        eventually("Redis answers", async || {
            let answer = self.command("PING").await;
            answer.is_ok_and(|it| it == "+PONG").then_some(())
        })
        .await;
    }
}
