//! What a configuration is made of.

use platform::secret::Secret;

/// Who can reach the program, and what it therefore insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On one's own machine: defaults for everything.
    Embedded,
    /// Reachable by others: nothing that instances must share may be missing.
    Deployed,
}

/// How to reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// A `redis://` or `rediss://` URL, which may hold a password.
    pub url: Secret,
    /// What every key and channel begins with.
    pub prefix: String,
}

/// Who may see what is counted, besides the machine's own log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The port of the private listener, if there is one.
    pub port: Option<u16>,
    /// What opens the same on the public port.
    pub token: Option<Secret>,
}

impl MetricsSettings {
    /// Whether anybody can ask, so that it is worth counting.
    pub fn wanted(&self) -> bool {
        self.port.is_some() || self.token.is_some()
    }
}

/// Which language model may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSettings {
    /// `LLM_URL`, without a trailing slash.
    pub url: String,
    /// `LLM_MODEL`.
    pub model: String,
    /// `LLM_API_KEY`.
    pub api_key: Option<Secret>,
}
