//! Configuration: the only reader of the environment.
//!
//! Every variable is in [`variables::VARIABLES`], and a test holds `.env.example` to that list. An empty value
//! counts as absent. All problems are reported at once, each in one line that says what to do, and
//! no line ever shows a secret.
//!
//! The program is **embedded** while its public URL is a loopback address: everything has a default,
//! data is kept under `DATA_DIR`, and nobody else can reach it. With any other public URL it is
//! **deployed**, and refuses to start until it has what several instances must share.

mod kept_secret;
mod reader;
mod types;
pub mod variables;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

pub use self::types::{
    DatabaseSettings, GitHubSettings, LogFormat, MetricsSettings, Mode, ModelSettings, PublicUrl,
    RedisSettings, TraceSettings,
};
use self::{
    reader::{
        Reader, address, data_keys, database_url, log_filter, log_format, networks, number,
        origins, redis_url, schemes, secret, sqlite_file,
    },
    variables::{
        ACCESS_TOKEN_TTL, ALLOWED_GITHUB_LOGINS, ALLOWED_GITHUB_ORG, ALLOWED_ORIGINS, DATA_DIR,
        DATA_KEYS, DATABASE_MAX_CONNECTIONS, DATABASE_URL, HOST, LOG, LOG_FORMAT, METRICS_PORT,
        METRICS_TOKEN, OAUTH_CLIENTS, PORT, PUBLIC_URL, RATE_LIMIT_PER_MINUTE, REDIRECT_SCHEMES,
        REDIS_PREFIX, REDIS_URL, RENDER_GIT_COMMIT, SESSION_TTL, SHUTDOWN_TIMEOUT,
        TRUSTED_PROXY_HOPS, UNLIMITED_NETWORKS, WORKER_CONCURRENCY, WORKER_PORT,
    },
};
use crate::{
    oauth::{
        access_token,
        client::{self, Client},
        data_keys::DataKeys,
        gate,
        redirect_uri::Schemes,
    },
    secret::Secret,
};

/// Everything that the environment decides. Reading it once proves that it is complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// Embedded or deployed; follows from `PUBLIC_URL`.
    pub mode: Mode,
    /// `PUBLIC_URL`.
    pub public_url: PublicUrl,
    /// `HOST`: the address to listen on.
    pub host: IpAddr,
    /// `PORT`: the port to listen on.
    pub port: u16,
    /// `ALLOWED_ORIGINS`: origins in their serialised form, such as `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// `DATA_DIR`; it need not exist.
    pub data_dir: PathBuf,
    /// `DATABASE_URL` and `DATABASE_MAX_CONNECTIONS`.
    pub database: DatabaseSettings,
    /// `REDIS_URL` and `REDIS_PREFIX`; nothing when one process keeps everything itself.
    pub redis: Option<RedisSettings>,
    /// `JWT_SIGNING_SECRET`, or the generated one: the secret in use.
    pub jwt_signing_secret: Secret,
    /// The secrets that `JWT_SIGNING_SECRET` lists after it, which were in use before, newest first.
    pub previous_signing_secrets: Vec<Secret>,
    /// `GITHUB_CLIENT_ID` and what belongs to it; nothing when people do not sign in with GitHub.
    pub github: Option<GitHubSettings>,
    /// `ALLOWED_GITHUB_LOGINS` and `ALLOWED_GITHUB_ORG`: who may sign in.
    pub gate: gate::Rules,
    /// `DATA_KEYS`, and the keys derived from `JWT_SIGNING_SECRET`; never empty.
    pub data_keys: DataKeys,
    /// `REDIRECT_SCHEMES`, and the known ones.
    pub redirect_schemes: Schemes,
    /// `OAUTH_CLIENTS`.
    pub clients: Vec<Client>,
    /// `LLM_URL` and what belongs to it, if a model may be asked.
    pub model: Option<ModelSettings>,
    /// `TRUSTED_PROXY_HOPS`.
    pub trusted_proxy_hops: u8,
    /// `RATE_LIMIT_PER_MINUTE`: how many calls a person may make; 0 for any number.
    pub rate_limit_per_minute: u32,
    /// `UNLIMITED_NETWORKS`.
    pub unlimited_networks: Vec<IpNet>,
    /// `ACCESS_TOKEN_TTL`.
    pub access_token_ttl: Duration,
    /// `SESSION_TTL`.
    pub session_ttl: Duration,
    /// `SHUTDOWN_TIMEOUT`.
    pub shutdown_timeout: Duration,
    /// `WORKER_CONCURRENCY`.
    pub worker_concurrency: u32,
    /// `WORKER_PORT`.
    pub worker_port: u16,
    /// `LOG`, already checked.
    pub log: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `METRICS_PORT` and `METRICS_TOKEN`.
    pub metrics: MetricsSettings,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` and what belongs to it; nothing when nothing is traced.
    pub traces: Option<TraceSettings>,
    /// `RENDER_GIT_COMMIT`: which commit runs.
    pub revision: Option<String>,
}

/// Everything that is wrong with the environment: one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads the environment of the process. Without `JWT_SIGNING_SECRET` an embedded program keeps
    /// a generated one in `DATA_DIR`, which this creates if need be.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::read(|name| std::env::var_os(name).map(|it| it.to_string_lossy().into_owned()))
    }

    /// The same over any source of variables.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(variable);

        let port = reader.parse(PORT, |text| number(text, 1, u16::MAX)).unwrap_or(8080);
        let public_url = reader
            .parse(PUBLIC_URL, PublicUrl::parse)
            .unwrap_or_else(|| PublicUrl::on_loopback(port));
        let mode = if public_url.is_loopback() { Mode::Embedded } else { Mode::Deployed };
        let host = reader.parse(HOST, address).unwrap_or(match mode {
            Mode::Embedded => Ipv4Addr::LOCALHOST.into(),
            Mode::Deployed => Ipv4Addr::UNSPECIFIED.into(),
        });
        let allowed_origins = reader.parse(ALLOWED_ORIGINS, origins).unwrap_or_default();
        let data_dir = PathBuf::from(reader.text(DATA_DIR).unwrap_or(DATA_DIR.default.into()));
        let database_url = reader
            .parse(DATABASE_URL, |text| database_url(text, mode))
            .or_else(|| reader.unless_deployed(mode, DATABASE_URL, || sqlite_file(&data_dir)));
        let max_connections =
            reader.parse(DATABASE_MAX_CONNECTIONS, |text| number(text, 1, 100)).unwrap_or(5);
        let redis_prefix = reader.text(REDIS_PREFIX).unwrap_or(REDIS_PREFIX.default.into());
        let redis = reader
            .parse(REDIS_URL, redis_url)
            .map(|url| RedisSettings { url, prefix: redis_prefix });
        if redis.is_none() {
            // In this process instead, when it is embedded.
            reader.unless_deployed(mode, REDIS_URL, || ());
        }
        let github = reader.github(mode);
        let gate = gate::Rules {
            logins: reader.parse(ALLOWED_GITHUB_LOGINS, gate::parse_logins).unwrap_or_default(),
            org: reader.parse(ALLOWED_GITHUB_ORG, gate::parse_org),
        };
        let data_keys = reader.parse(DATA_KEYS, data_keys).unwrap_or_default();
        let redirect_schemes = reader.parse(REDIRECT_SCHEMES, schemes).unwrap_or_default();
        let clients = reader
            .parse(OAUTH_CLIENTS, |text| client::parse_preregistered(text, &redirect_schemes))
            .unwrap_or_default();
        let model = reader.model();
        let trusted_proxy_hops =
            reader.parse(TRUSTED_PROXY_HOPS, |text| number(text, 0, 10)).unwrap_or(match mode {
                Mode::Embedded => 0,
                // It speaks https only through a proxy.
                Mode::Deployed => 1,
            });
        let rate_limit_per_minute =
            reader.parse(RATE_LIMIT_PER_MINUTE, |text| number(text, 0, 100_000)).unwrap_or(120);
        let unlimited_networks = reader.parse(UNLIMITED_NETWORKS, networks).unwrap_or_default();
        let access_token_ttl = reader
            .duration(ACCESS_TOKEN_TTL, Duration::from_mins(1)..=access_token::MAX_CONFIGURED_TTL);
        let session_ttl =
            reader.duration(SESSION_TTL, Duration::from_mins(1)..=Duration::from_hours(30 * 24));
        let shutdown_timeout =
            reader.duration(SHUTDOWN_TIMEOUT, Duration::from_secs(1)..=Duration::from_mins(5));
        let worker_concurrency =
            reader.parse(WORKER_CONCURRENCY, |text| number(text, 1, 1_000)).unwrap_or(16);
        let worker_port =
            reader.parse(WORKER_PORT, |text| number(text, 1, u16::MAX)).unwrap_or(8081);
        let log = reader.parse(LOG, log_filter).unwrap_or(LOG.default.into());
        let log_format = reader.parse(LOG_FORMAT, log_format).unwrap_or(match mode {
            Mode::Embedded => LogFormat::Pretty,
            Mode::Deployed => LogFormat::Json,
        });
        let metrics = MetricsSettings {
            port: reader.parse(METRICS_PORT, |text| number(text, 1, u16::MAX)),
            token: reader.parse(METRICS_TOKEN, secret),
        };
        if metrics.port == Some(port) {
            reader.problems.push("METRICS_PORT must be another port than PORT".into());
        }
        let traces = reader.traces();
        let revision = reader.text(RENDER_GIT_COMMIT);
        // Last, because this one may write a file, which a refused start should not leave behind.
        let signing_secrets = reader.signing_secrets(mode, &data_dir).unwrap_or_default();
        let data_keys = DataKeys::new(&data_keys, &signing_secrets);
        let mut signing_secrets = signing_secrets.into_iter();

        match (database_url, signing_secrets.next()) {
            (Some(url), Some(jwt_signing_secret)) if reader.problems.is_empty() => Ok(Self {
                mode,
                public_url,
                host,
                port,
                allowed_origins,
                data_dir,
                database: DatabaseSettings { url, max_connections },
                redis,
                jwt_signing_secret,
                previous_signing_secrets: signing_secrets.collect(),
                github,
                gate,
                data_keys,
                redirect_schemes,
                clients,
                model,
                trusted_proxy_hops,
                rate_limit_per_minute,
                unlimited_networks,
                access_token_ttl,
                session_ttl,
                shutdown_timeout,
                worker_concurrency,
                worker_port,
                log,
                log_format,
                metrics,
                traces,
                revision,
            }),
            _ => Err(ConfigErrors(reader.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tempfile::TempDir;

    use super::{
        variables::{VARIABLES, env_example},
        *,
    };
    use crate::oauth::data_keys::KeySource;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Config::read(|name| variables.get(name).map(ToString::to_string))
    }

    fn path(directory: &TempDir) -> &str {
        directory.path().to_str().expect("temporary paths are plain")
    }

    const SECRET: &str = "an-example-of-a-secret-of-32-byte";

    #[test]
    fn the_example_file_lists_every_variable() {
        let file = include_str!("../../../.env.example");
        assert_eq!(file, env_example(), "write the second text into .env.example");
    }

    #[test]
    fn documented_defaults_are_the_real_ones() {
        let directory = TempDir::new().unwrap();
        let mut documented: Vec<_> = VARIABLES
            .iter()
            .map(|it| (it.name, it.default))
            .filter(|(name, _)| *name != "DATA_DIR")
            .collect();
        documented.push(("DATA_DIR", path(&directory)));
        let documented = read(&documented).unwrap();
        let absent = read(&[("DATA_DIR", path(&directory))]).unwrap();
        assert_eq!(format!("{documented:?}"), format!("{absent:?}"));
        assert_eq!(documented.jwt_signing_secret, absent.jwt_signing_secret);
        assert_eq!(documented.database, absent.database);
    }

    #[test]
    fn nothing_set_is_the_embedded_program() {
        let directory = TempDir::new().unwrap();
        let config = read(&[("DATA_DIR", path(&directory)), ("DATABASE_URL", " ")]).unwrap();
        assert_eq!(config.mode, Mode::Embedded);
        assert_eq!(config.public_url.mcp(), "http://127.0.0.1:8080/mcp");
        assert!(config.host.is_loopback());
        assert_eq!(config.log_format, LogFormat::Pretty);
        let url = format!("sqlite:{}/notes.db", path(&directory));
        assert_eq!(config.database.url.expose(), url);
    }

    #[test]
    fn the_default_public_url_follows_the_port() {
        let directory = TempDir::new().unwrap();
        let config = read(&[("DATA_DIR", path(&directory)), ("PORT", "9000")]).unwrap();
        assert_eq!(config.public_url.as_str(), "http://127.0.0.1:9000");
    }

    #[test]
    fn a_public_program_needs_what_instances_share() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        let public =
            [("PUBLIC_URL", "https://notes.example.com"), ("DATA_DIR", data.to_str().unwrap())];
        let lines = read(&public).unwrap_err().0;
        let missing = [
            "DATABASE_URL",
            "REDIS_URL",
            "GITHUB_CLIENT_ID",
            "GITHUB_CLIENT_SECRET",
            "JWT_SIGNING_SECRET",
        ];
        assert_eq!(lines.len(), missing.len(), "{lines:?}");
        for (line, variable) in lines.iter().zip(missing) {
            assert!(line.starts_with(&format!("{variable} is missing: ")), "{line}");
        }
        assert!(!data.exists(), "a refused start leaves nothing behind");

        let mut complete = public.to_vec();
        complete.push(("DATABASE_URL", "postgresql://me:hunter2@db/notes"));
        complete.push(("REDIS_URL", "rediss://me:hunter2@redis"));
        complete.push(("JWT_SIGNING_SECRET", SECRET));
        complete.push(("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef"));
        complete.push(("GITHUB_CLIENT_SECRET", "hunter2"));
        let config = read(&complete).unwrap();
        assert_eq!(config.trusted_proxy_hops, 1);
        assert_eq!(config.github.as_ref().unwrap().url, "https://github.com");
        assert_eq!(config.mode, Mode::Deployed);
        assert_eq!(config.host, IpAddr::from([0, 0, 0, 0]));
        assert_eq!(config.log_format, LogFormat::Json);
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
    }

    #[test]
    fn all_problems_come_at_once_and_none_shows_a_secret() {
        let ConfigErrors(lines) = read(&[
            ("PUBLIC_URL", "http://notes.example.com"),
            ("PORT", "0"),
            ("HOST", "localhost"),
            ("ALLOWED_ORIGINS", "https://app.example.com, chrome"),
            ("DATABASE_URL", "mysql://root:hunter2@db"),
            ("DATABASE_MAX_CONNECTIONS", "many"),
            ("REDIS_URL", "http://me:hunter2@redis"),
            ("JWT_SIGNING_SECRET", "hunter2"),
            ("GITHUB_URL", "http://github.example.com"),
            ("GITHUB_API_URL", "https://me:hunter2@github.example.com"),
            ("ALLOWED_GITHUB_LOGINS", "octo cat, id:x"),
            ("ALLOWED_GITHUB_ORG", "../admin"),
            ("DATA_KEYS", "hunter2, hunter2"),
            ("REDIRECT_SCHEMES", "javascript"),
            ("OAUTH_CLIENTS", "[{\"client_secret\": \"hunter2\"}]"),
            ("TRUSTED_PROXY_HOPS", "-1"),
            ("RATE_LIMIT_PER_MINUTE", "plenty"),
            ("UNLIMITED_NETWORKS", "192.0.2.0/33"),
            ("ACCESS_TOKEN_TTL", "2h"),
            ("SESSION_TTL", "soon"),
            ("SHUTDOWN_TIMEOUT", "1w"),
            ("WORKER_CONCURRENCY", "0"),
            ("WORKER_PORT", "here"),
            ("LOG", "info,service=loud"),
            ("LOG_FORMAT", "xml"),
        ])
        .unwrap_err();
        assert_eq!(lines.len(), 25, "{lines:#?}");
        for (line, variable) in lines.iter().zip([
            "PORT",
            "PUBLIC_URL",
            "HOST",
            "ALLOWED_ORIGINS",
            "DATABASE_URL",
            "DATABASE_MAX_CONNECTIONS",
            "REDIS_URL",
            "GITHUB_URL",
            "GITHUB_API_URL",
            "ALLOWED_GITHUB_LOGINS",
            "ALLOWED_GITHUB_ORG",
            "DATA_KEYS",
            "REDIRECT_SCHEMES",
            "OAUTH_CLIENTS",
            "TRUSTED_PROXY_HOPS",
            "RATE_LIMIT_PER_MINUTE",
            "UNLIMITED_NETWORKS",
            "ACCESS_TOKEN_TTL",
            "SESSION_TTL",
            "SHUTDOWN_TIMEOUT",
            "WORKER_CONCURRENCY",
            "WORKER_PORT",
            "LOG",
            "LOG_FORMAT",
            "JWT_SIGNING_SECRET",
        ]) {
            assert!(line.starts_with(&format!("{variable} must ")), "{line}");
            assert!(!line.contains("hunter2") && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let directory = TempDir::new().unwrap();
        let data = ("DATA_DIR", path(&directory));
        for (set, missing) in [
            (("GITHUB_CLIENT_ID", "x"), "GITHUB_CLIENT_SECRET"),
            (("GITHUB_CLIENT_SECRET", "x"), "GITHUB_CLIENT_ID"),
            (("GITHUB_URL", "https://github.example.com"), "GITHUB_API_URL"),
            (("LLM_URL", "https://api.example.com/v1"), "LLM_MODEL"),
            (("LLM_MODEL", "x"), "LLM_URL"),
            (("LLM_API_KEY", "hunter2"), "LLM_URL"),
        ] {
            let ConfigErrors(lines) = read(&[data, set]).unwrap_err();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(&format!("{missing} is missing: ")), "{lines:?}");
        }
    }

    #[test]
    fn a_model_can_be_set_up() {
        let directory = TempDir::new().unwrap();
        let config = read(&[
            ("DATA_DIR", path(&directory)),
            ("LLM_URL", "http://127.0.0.1:11434/v1/"),
            ("LLM_MODEL", "small"),
            ("LLM_API_KEY", "hunter2"),
        ])
        .unwrap();
        let model = config.model.as_ref().unwrap();
        assert_eq!(
            (model.url.as_str(), model.model.as_str()),
            ("http://127.0.0.1:11434/v1", "small")
        );
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn signing_in_with_github_can_be_set_up() {
        let directory = TempDir::new().unwrap();
        let keys = format!("{SECRET}, {SECRET}-2");
        let config = read(&[
            ("DATA_DIR", path(&directory)),
            ("GITHUB_CLIENT_ID", "x"),
            ("GITHUB_CLIENT_SECRET", "hunter2"),
            ("GITHUB_URL", "http://127.0.0.1:9999/"),
            ("GITHUB_API_URL", "http://127.0.0.1:9999/api/v3/"),
            ("ALLOWED_GITHUB_LOGINS", " Octocat ,id:583231, "),
            ("ALLOWED_GITHUB_ORG", "Octo-Org"),
            ("DATA_KEYS", &keys),
            ("REDIRECT_SCHEMES", "com.example.app"),
        ])
        .unwrap();
        let github = config.github.as_ref().unwrap();
        assert_eq!(github.url, "http://127.0.0.1:9999");
        assert_eq!(github.api_url, "http://127.0.0.1:9999/api/v3");
        assert_eq!(config.gate.logins.len(), 2);
        assert_eq!(config.gate.org.as_deref(), Some("Octo-Org"));
        assert_eq!(config.data_keys.seals_with(), Some(KeySource::DataKeys));
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
    }

    #[test]
    fn an_organization_needs_no_further_variable() {
        let directory = TempDir::new().unwrap();
        let [old, new] = [SECRET.to_owned(), format!("{SECRET}-2")];
        let with = |signing_secret: &str| {
            read(&[
                ("DATA_DIR", path(&directory)),
                ("ALLOWED_GITHUB_ORG", "octo-org"),
                ("JWT_SIGNING_SECRET", signing_secret),
            ])
            .unwrap()
        };
        let before = with(&old);
        assert_eq!(before.data_keys.seals_with(), Some(KeySource::SigningSecret));
        let sealed = before.data_keys.seal("github:1", "gho_x").unwrap();
        let after = with(&format!("{new},{old}"));
        assert_eq!(after.jwt_signing_secret.expose(), new);
        assert_eq!(after.previous_signing_secrets, [before.jwt_signing_secret]);
        assert_eq!(after.data_keys.open("github:1", &sealed).unwrap().expose(), "gho_x");
        // The generated secret does it as well.
        let generated = read(&[("DATA_DIR", path(&directory)), ("ALLOWED_GITHUB_ORG", "octo-org")]);
        assert_eq!(generated.unwrap().data_keys.seals_with(), Some(KeySource::SigningSecret));
    }
}
