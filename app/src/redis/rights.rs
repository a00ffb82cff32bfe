//! Checks that the Redis user has all permissions that the program needs (ACL of Redis 6 and
//! later).

use std::time::Duration;

use anyhow::bail;
use futures_util::StreamExt as _;
use mcp::{
    UserId,
    job::JobId,
    store::{SessionId, Topic, redis::Connection},
};
use redis::{Client, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::config::RedisSettings;

/// Every command that the program and its scripts send, with arguments to try it. `string`,
/// `other`, `hash`, `set`, `zset` and `stream` are placeholders for keys that only this check uses.
/// Commands in scripts require the same permissions.
const COMMANDS: [(&str, &[&str]); 51] = [
    ("PING", &[]),
    ("INFO", &["server"]),
    ("TIME", &[]),
    ("DBSIZE", &[]),
    ("SCAN", &["0", "COUNT", "1"]),
    ("SET", &["string", "1", "PX", LIFETIME]),
    ("GET", &["string"]),
    ("EXISTS", &["string"]),
    ("PTTL", &["string"]),
    ("PEXPIRE", &["string", LIFETIME]),
    ("RENAME", &["string", "other"]),
    ("GETDEL", &["other"]),
    ("HSET", &["hash", "1", "1"]),
    ("HMSET", &["hash", "1", "1"]),
    ("PEXPIRE", &["hash", LIFETIME]),
    ("HGET", &["hash", "1"]),
    ("HMGET", &["hash", "1"]),
    ("HGETALL", &["hash"]),
    ("HEXISTS", &["hash", "1"]),
    ("HINCRBY", &["hash", "1", "1"]),
    ("HKEYS", &["hash"]),
    ("HVALS", &["hash"]),
    ("HLEN", &["hash"]),
    ("HDEL", &["hash", "1"]),
    ("SADD", &["set", "1"]),
    ("PEXPIRE", &["set", LIFETIME]),
    ("SMEMBERS", &["set"]),
    ("SREM", &["set", "1"]),
    ("ZADD", &["zset", "1", "1"]),
    ("PEXPIRE", &["zset", LIFETIME]),
    ("ZCARD", &["zset"]),
    ("ZREM", &["zset", "2"]),
    ("ZREMRANGEBYSCORE", &["zset", "-inf", "0"]),
    ("ZPOPMIN", &["zset"]),
    ("XADD", &["stream", "*", "1", "1"]),
    ("PEXPIRE", &["stream", LIFETIME]),
    ("XRANGE", &["stream", "-", "+", "COUNT", "1"]),
    ("XLEN", &["stream"]),
    ("XDEL", &["stream", "0-1"]),
    ("EVALSHA", &["0000000000000000000000000000000000000000", "1", "string"]),
    ("SCRIPT LOAD", &["return 1"]),
    ("PUBSUB NUMSUB", &[]),
    ("DEL", &["string"]),
    ("DEL", &["other"]),
    ("DEL", &["hash"]),
    ("DEL", &["set"]),
    ("DEL", &["zset"]),
    ("DEL", &["stream"]),
    ("MULTI", &[]),
    ("EXEC", &[]),
    // Without channels: `Trial::channels` sends it only if all permissions for channels exist.
    ("UNSUBSCRIBE", &[]),
];

/// The expiry of keys, in case the check is interrupted, in milliseconds.
const LIFETIME: &str = "10000";

/// The maximum time from publishing a signal to receiving it.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The error codes of a Redis that currently accepts no writes from any user.
const READ_ONLY_CODES: [&str; 7] =
    ["READONLY", "OOM", "MISCONF", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS"];

/// The names of all commands that the program sends.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name).chain(["PUBLISH", "SUBSCRIBE"])
}

/// Tries every command on keys and channels with the configured prefix. The error lists all missing
/// permissions, and the command that grants them.
pub async fn check_rights(settings: &RedisSettings) -> anyhow::Result<()> {
    let client = Client::open(settings.url.expose())?;
    let mut trial = Trial {
        connection: client.get_multiplexed_async_connection().await?,
        prefix: settings.prefix.clone(),
        name: format!("check-{}", uuid::Uuid::new_v4().simple()),
        missing: Missing::default(),
    };
    trial.commands().await?;
    trial.keys().await?;
    let names = Connection::new(settings.url.expose(), &settings.prefix)?;
    trial.channels(&client, &names).await?;
    if trial.missing.is_empty() {
        return Ok(());
    }
    let user = trial.user(&client).await;
    bail!(trial.missing.describe(&user, &settings.prefix))
}

struct Trial {
    connection: MultiplexedConnection,
    prefix: String,
    name: String,
    missing: Missing,
}

impl Trial {
    async fn commands(&mut self) -> anyhow::Result<()> {
        for (name, arguments) in COMMANDS {
            let mut command = redis::Cmd::new();
            for word in name.split(' ') {
                command.arg(word);
            }
            for argument in arguments {
                match *argument {
                    "string" | "other" | "hash" | "set" | "zset" | "stream" => {
                        command.arg(format!("{}mcp:{{{}}}:{argument}", self.prefix, self.name))
                    }
                    plain => command.arg(plain),
                };
            }
            let result = command.query_async::<Value>(&mut self.connection).await;
            self.missing.note(name, &self.prefix, result)?;
        }
        Ok(())
    }

    /// Writes a key of each kind: the key patterns of a user may allow some kinds and not others.
    async fn keys(&mut self) -> anyhow::Result<()> {
        for kind in ["oauth:check:", "rl:check:", "cimd:", "catalog:"] {
            let key = format!("{}{kind}{}", self.prefix, self.name);
            let mut set = redis::cmd("SET");
            set.arg(&key).arg("1").arg("PX").arg(LIFETIME);
            let result = set.query_async::<Value>(&mut self.connection).await;
            self.missing.note("SET", &self.prefix, result)?;
            let result =
                redis::cmd("DEL").arg(&key).query_async::<Value>(&mut self.connection).await;
            self.missing.note("DEL", &self.prefix, result)?;
        }
        Ok(())
    }

    /// Subscribes to a channel of each kind, and publishes a signal on those that only this check
    /// uses.
    async fn channels(&mut self, client: &Client, names: &Connection) -> anyhow::Result<()> {
        let own = [
            names.channel(&Topic::User(UserId::new(&*self.name))),
            names.channel(&Topic::Session(SessionId::random())),
            names.channel(&Topic::Job(JobId::random())),
            names.channel(&Topic::Worker(self.name.clone())),
        ];
        let common =
            [Topic::Everyone, Topic::Control, Topic::Work].map(|topic| names.channel(&topic));
        let mut signals = client.get_async_pubsub().await?;
        let before = self.missing.len();
        for channel in own.iter().chain(&common) {
            let listening = signals.subscribe(channel).await;
            self.missing.note("SUBSCRIBE", &self.prefix, listening)?;
        }
        for channel in &common {
            if self.missing.len() == before {
                let leaving = signals.unsubscribe(channel).await;
                self.missing.note("UNSUBSCRIBE", &self.prefix, leaving)?;
            }
        }
        for channel in &own {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg("1");
            let result = publish.query_async::<Value>(&mut self.connection).await;
            self.missing.note("PUBLISH", &self.prefix, result)?;
        }
        if self.missing.len() == before {
            let mut heard = signals.on_message();
            for _ in &own {
                if timeout(SIGNAL_TIMEOUT, heard.next()).await.ok().flatten().is_none() {
                    bail!("a signal that was published was not received within {SIGNAL_TIMEOUT:?}");
                }
            }
        }
        Ok(())
    }

    /// The name of the user: from `ACL WHOAMI`, or from the URL if that is not permitted.
    async fn user(&mut self, client: &Client) -> String {
        let asked = redis::cmd("ACL").arg("WHOAMI").query_async(&mut self.connection).await;
        asked.unwrap_or_else(|_not_allowed| {
            let settings = client.get_connection_info().redis_settings();
            settings.username().unwrap_or("default").to_owned()
        })
    }
}

/// The missing permissions.
#[derive(Default)]
struct Missing {
    commands: Vec<&'static str>,
    keys: bool,
    channels: bool,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.commands.len() + usize::from(self.keys) + usize::from(self.channels)
    }

    /// Records a missing permission that an error reports. Fails if the error means that no check
    /// is possible: a broken connection, an unknown command, or a server that accepts no writes.
    fn note<T>(
        &mut self,
        command: &'static str,
        prefix: &str,
        result: RedisResult<T>,
    ) -> anyhow::Result<()> {
        let Err(error) = result else {
            return Ok(());
        };
        let code = error.code().unwrap_or_default();
        // A missing permission for EXEC is reported this way. The transaction ends nevertheless.
        let aborted = code == "EXECABORT" && error.to_string().contains("NOPERM");
        if code == "NOPERM" || aborted {
            self.lacks(command, prefix, &error);
            return Ok(());
        }
        let is_unknown = error.to_string().to_ascii_lowercase().contains("unknown command");
        if is_unknown {
            bail!("the server does not know {command}: Redis 7 or Valkey 8 is required");
        }
        let breaks = error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
        if breaks || READ_ONLY_CODES.contains(&code) {
            return Err(error.into());
        }
        // An error of a cluster (MOVED), or about the keys of the trial: the permission exists.
        Ok(())
    }

    fn lacks(&mut self, command: &'static str, prefix: &str, error: &RedisError) {
        // The text may contain the name of the user, and that of the key.
        let text = error.detail().unwrap_or_default().replace(prefix, "");
        if text.contains("access a channel") || text.contains("one of the channels") {
            self.channels = true;
        } else if text.contains("access a key") || text.contains("one of the keys") {
            self.keys = true;
        } else if !self.commands.contains(&command) {
            self.commands.push(command);
        }
    }

    /// Describes the missing permissions in one line, such as ``the user `app` may not run XADD:
    /// run `ACL SETUSER app +xadd` ``.
    fn describe(&self, user: &str, prefix: &str) -> String {
        let mut lacks = Vec::new();
        let mut rules = Vec::new();
        if !self.commands.is_empty() {
            lacks.push(format!("run {}", self.commands.join(", ")));
            let rule = |name: &&str| format!("+{}", name.to_ascii_lowercase().replace(' ', "|"));
            rules.extend(self.commands.iter().map(rule));
        }
        if self.keys {
            lacks.push(format!("read and write all keys that begin with `{prefix}`"));
            rules.push(format!("~{prefix}*"));
        }
        if self.channels {
            lacks.push(format!("use all channels that begin with `{prefix}`"));
            rules.push(format!("&{prefix}*"));
        }
        format!(
            "the user `{user}` may not {}: run `ACL SETUSER {user} {}` and save it, with ACL SAVE or \
             in the settings of the provider",
            lacks.join(", nor "),
            rules.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_permissions_are_listed_with_the_command_that_grants_them() {
        let missing = Missing { commands: vec!["XADD", "SCRIPT LOAD"], keys: true, channels: true };
        assert_eq!(
            missing.describe("app", "notes:"),
            "the user `app` may not run XADD, SCRIPT LOAD, nor read and write all keys that begin with \
             `notes:`, nor use all channels that begin with `notes:`: run `ACL SETUSER app +xadd \
             +script|load ~notes:* &notes:*` and save it, with ACL SAVE or in the settings of the \
             provider"
        );
    }
}
