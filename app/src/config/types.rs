//! Types of settings.

use platform::secret::Secret;

/// Who can reach the program, and therefore which settings it requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only this machine: everything has a default.
    Embedded,
    /// Other machines: everything that instances must share has to be set.
    Deployed,
}

/// The connection to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// A `redis://` or `rediss://` URL, which may contain a password.
    pub url: Secret,
    /// The prefix of every key and channel.
    pub prefix: String,
}

/// How metrics are exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The port of the private listener; `None` if there is none.
    pub port: Option<u16>,
    /// The bearer token for metrics on the public port; `None` if they are not available there.
    pub token: Option<Secret>,
}

impl MetricsSettings {
    /// Whether metrics are exported, and therefore must be recorded.
    pub fn wanted(&self) -> bool {
        self.port.is_some() || self.token.is_some()
    }
}

/// The language model to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSettings {
    /// `LLM_URL`, without a trailing slash.
    pub url: String,
    /// `LLM_MODEL`.
    pub model: String,
    /// `LLM_API_KEY`.
    pub api_key: Option<Secret>,
}
