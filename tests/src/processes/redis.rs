//! The Redis server of a fleet, which a test can disconnect, empty, pause and kill.

use std::{collections::HashMap, path::Path};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
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
}

impl Redis {
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
        let redis = Self { program, port };
        redis.ready().await;
        redis
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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

    /// Runs a command and returns the first line of the reply.
    pub async fn command(&self, command: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let mut stream = BufReader::new(stream);
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        Ok(answer.trim_end().to_owned())
    }

    async fn ready(&self) {
        eventually("Redis answers", async || {
            let answer = self.command("PING").await;
            answer.is_ok_and(|it| it == "+PONG").then_some(())
        })
        .await;
    }
}
