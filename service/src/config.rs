//! Configuration: the only reader of the environment.
//!
//! Every variable is in [`VARIABLES`], and a test holds `.env.example` to that list. An empty value
//! counts as absent. All problems are reported at once, each in one line that says what to do, and
//! no line ever shows a secret.
//!
//! The program is **embedded** while its public URL is a loopback address: everything has a default,
//! data is kept under `DATA_DIR`, and nobody else can reach it. With any other public URL it is
//! **deployed**, and refuses to start until it has what several instances must share.

use std::{
    fmt, fs,
    io::{ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::{Host, Url};

use crate::{
    oauth::{
        access_token,
        client::{self, Client},
        data_keys::DataKeys,
        gate,
        redirect_uri::Schemes,
    },
    secret::Secret,
    telemetry,
};

/// A setting of the environment.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name of the environment variable.
    pub name: &'static str,
    /// What it means, and in which unit, for `.env.example`.
    pub meaning: &'static str,
    /// What holds without it, as it would be written; empty if nothing does.
    pub default: &'static str,
}

/// Every variable, in the order of `.env.example`.
pub const VARIABLES: &[Variable] = &[
    PUBLIC_URL,
    PORT,
    HOST,
    ALLOWED_ORIGINS,
    DATA_DIR,
    DATABASE_URL,
    DATABASE_MAX_CONNECTIONS,
    REDIS_URL,
    REDIS_PREFIX,
    JWT_SIGNING_SECRET,
    GITHUB_CLIENT_ID,
    GITHUB_CLIENT_SECRET,
    GITHUB_URL,
    GITHUB_API_URL,
    ALLOWED_GITHUB_LOGINS,
    ALLOWED_GITHUB_ORG,
    DATA_KEYS,
    REDIRECT_SCHEMES,
    OAUTH_CLIENTS,
    TRUSTED_PROXY_HOPS,
    ACCESS_TOKEN_TTL,
    SESSION_TTL,
    SHUTDOWN_TIMEOUT,
    LOG,
    LOG_FORMAT,
];

/// Where clients reach us.
pub const PUBLIC_URL: Variable = Variable {
    name: "PUBLIC_URL",
    meaning: "Where clients reach the server: scheme and host, without a path. It names this server \
              in every access token, so a change signs everybody out. Anything but a loopback \
              address has to be https, and makes DATABASE_URL, \
              JWT_SIGNING_SECRET and the GITHUB_CLIENT_ variables mandatory.",
    default: "http://127.0.0.1:8080",
};

/// Where we listen.
pub const PORT: Variable = Variable {
    name: "PORT",
    meaning: "The TCP port to listen on. The default of PUBLIC_URL follows it.",
    default: "8080",
};

/// On which address we listen.
pub const HOST: Variable = Variable {
    name: "HOST",
    meaning: "The IP address to listen on. With a public URL that is not a loopback address the \
              default is 0.0.0.0.",
    default: "127.0.0.1",
};

/// Who may call from a browser.
pub const ALLOWED_ORIGINS: Variable = Variable {
    name: "ALLOWED_ORIGINS",
    meaning: "Origins of web pages that may call the server from a browser, besides PUBLIC_URL, \
              separated by commas, such as https://app.example.com.",
    default: "",
};

/// Where files go.
pub const DATA_DIR: Variable = Variable {
    name: "DATA_DIR",
    meaning: "The directory for what has no other place: the SQLite database without DATABASE_URL, \
              and a generated secret without JWT_SIGNING_SECRET.",
    default: "./data",
};

/// Where the data is.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    meaning: "The database: postgres://user:password@host/name. Without it, a SQLite file in \
              DATA_DIR.",
    default: "",
};

/// How many connections to the database.
pub const DATABASE_MAX_CONNECTIONS: Variable = Variable {
    name: "DATABASE_MAX_CONNECTIONS",
    meaning: "The most connections that one process opens to the database, 1 to 100. During a \
              deploy old and new processes each have that many.",
    default: "5",
};

/// Where sessions, streams and signals are kept.
pub const REDIS_URL: Variable = Variable {
    name: "REDIS_URL",
    meaning: "Redis 7 or Valkey 8 as redis:// or rediss://, for sessions, streams and signals. \
              Needed as soon as there is more than one instance; without it they end with the \
              process.",
    default: "",
};

/// What keys begin with.
pub const REDIS_PREFIX: Variable = Variable {
    name: "REDIS_PREFIX",
    meaning: "What every key and channel in Redis begins with, so that several deployments share a \
              server.",
    default: "notes:",
};

/// What seals the signing keys.
pub const JWT_SIGNING_SECRET: Variable = Variable {
    name: "JWT_SIGNING_SECRET",
    meaning: "Seals the private keys that sign access tokens: at least 32 bytes, the same for all \
              instances, such as the output of `openssl rand -base64 32`. It can be changed at any \
              time; tokens that were already issued stay valid. Without it, one is generated in \
              DATA_DIR.",
    default: "",
};

/// Who we are at GitHub.
pub const GITHUB_CLIENT_ID: Variable = Variable {
    name: "GITHUB_CLIENT_ID",
    meaning: "The client id of the GitHub OAuth app through which people sign in. Its callback URL \
              is PUBLIC_URL followed by /oauth/github/callback. Without it, a page on your own \
              machine asks for a name instead; with a public URL that is not a loopback address it \
              is mandatory.",
    default: "",
};

/// How we prove it.
pub const GITHUB_CLIENT_SECRET: Variable = Variable {
    name: "GITHUB_CLIENT_SECRET",
    meaning: "The client secret of that GitHub OAuth app.",
    default: "",
};

/// Where people sign in.
pub const GITHUB_URL: Variable = Variable {
    name: "GITHUB_URL",
    meaning: "Where GitHub is, for GitHub Enterprise Server. Has to be https unless it is a \
              loopback address, and then GITHUB_API_URL has to be set as well.",
    default: "https://github.com",
};

/// Where we ask who somebody is.
pub const GITHUB_API_URL: Variable = Variable {
    name: "GITHUB_API_URL",
    meaning: "Where the API of GitHub is, such as https://github.example.com/api/v3 for GitHub \
              Enterprise Server.",
    default: "https://api.github.com",
};

/// Who may sign in, one by one.
pub const ALLOWED_GITHUB_LOGINS: Variable = Variable {
    name: "ALLOWED_GITHUB_LOGINS",
    meaning: "Who may sign in, separated by commas: GitHub logins such as octocat, or numeric ids \
              such as id:583231. A login is pinned to its account when it first signs in, so \
              nobody inherits the right with the name. Without it, everybody may.",
    default: "",
};

/// Who may sign in, by membership.
pub const ALLOWED_GITHUB_ORG: Variable = Variable {
    name: "ALLOWED_GITHUB_ORG",
    meaning: "The GitHub organisation whose active members may sign in. Asks people for the \
              permission read:org, and makes DATA_KEYS mandatory. With ALLOWED_GITHUB_LOGINS as \
              well, both must hold.",
    default: "",
};

/// What seals GitHub's tokens.
pub const DATA_KEYS: Variable = Variable {
    name: "DATA_KEYS",
    meaning: "Seals the GitHub tokens that membership is checked with: secrets of at least 32 bytes \
              each, separated by commas. The first one seals, all of them open, so a new one goes \
              to the front.",
    default: "",
};

/// Which programs a code may be sent to besides web sites.
pub const REDIRECT_SCHEMES: Variable = Variable {
    name: "REDIRECT_SCHEMES",
    meaning: "URI schemes of further programs that clients may redirect to, separated by commas, \
              such as com.example.app. claude, cursor, vscode and vscode-insiders are always \
              allowed.",
    default: "",
};

/// Clients that we vouch for.
pub const OAUTH_CLIENTS: Variable = Variable {
    name: "OAUTH_CLIENTS",
    meaning: "Clients that need not register: a JSON array of objects with client_id, client_name \
              and redirect_uris, and if need be client_secret (at least 32 bytes) and scope.",
    default: "",
};

/// Whose word about addresses we take.
pub const TRUSTED_PROXY_HOPS: Variable = Variable {
    name: "TRUSTED_PROXY_HOPS",
    meaning: "How many proxies of your own stand before the server, 0 to 10: the address of a \
              client is that many entries from the right in X-Forwarded-For. With a public URL that \
              is not a loopback address the default is 1.",
    default: "0",
};

/// How long an access token lives.
pub const ACCESS_TOKEN_TTL: Variable = Variable {
    name: "ACCESS_TOKEN_TTL",
    meaning: "How long an access token is valid, from 1m to 1h.",
    default: "30m",
};

/// How long a session lives.
pub const SESSION_TTL: Variable = Variable {
    name: "SESSION_TTL",
    meaning: "How long an MCP session is kept after its last request, from 1m to 30d.",
    default: "24h",
};

/// How long a shutdown may take.
pub const SHUTDOWN_TIMEOUT: Variable = Variable {
    name: "SHUTDOWN_TIMEOUT",
    meaning: "How long running calls may take to finish after a request to stop, from 1s to 5m. \
              Keep it below the time after which the platform kills the process.",
    default: "25s",
};

/// What is logged.
pub const LOG: Variable = Variable {
    name: "LOG",
    meaning: "What is logged: error, warn, info, debug or trace, also for each module, as in \
              info,service=debug.",
    default: "info",
};

/// How it is logged.
pub const LOG_FORMAT: Variable = Variable {
    name: "LOG_FORMAT",
    meaning: "How it is logged: pretty for people or json for machines. With a public URL that is \
              not a loopback address the default is json.",
    default: "pretty",
};

/// Below this a signing secret could be guessed.
const MIN_SECRET_BYTES: usize = 32;

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
    /// `REDIS_URL` and `REDIS_PREFIX`, if sessions are shared between instances.
    pub redis: Option<RedisSettings>,
    /// `JWT_SIGNING_SECRET`, or the generated one.
    pub jwt_signing_secret: Secret,
    /// `GITHUB_CLIENT_ID` and what belongs to it; nothing when people do not sign in with GitHub.
    pub github: Option<GitHubSettings>,
    /// `ALLOWED_GITHUB_LOGINS` and `ALLOWED_GITHUB_ORG`: who may sign in.
    pub gate: gate::Rules,
    /// `DATA_KEYS`; empty unless they are needed.
    pub data_keys: DataKeys,
    /// `REDIRECT_SCHEMES`, and the known ones.
    pub redirect_schemes: Schemes,
    /// `OAUTH_CLIENTS`.
    pub clients: Vec<Client>,
    /// `TRUSTED_PROXY_HOPS`.
    pub trusted_proxy_hops: u8,
    /// `ACCESS_TOKEN_TTL`.
    pub access_token_ttl: Duration,
    /// `SESSION_TTL`.
    pub session_ttl: Duration,
    /// `SHUTDOWN_TIMEOUT`.
    pub shutdown_timeout: Duration,
    /// `LOG`, already checked.
    pub log: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
}

/// Who can reach the program, and what it therefore insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On one's own machine: defaults for everything.
    Embedded,
    /// Reachable by others: nothing that instances must share may be missing.
    Deployed,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// How to reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// A `redis://` or `rediss://` URL, which may hold a password.
    pub url: Secret,
    /// What every key and channel begins with.
    pub prefix: String,
}

/// Where the data is, and how much of the database one process may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// `postgres://…` or `sqlite:…`; may hold a password.
    pub url: Secret,
    /// The size of the pool.
    pub max_connections: u32,
}

/// Who we are at GitHub, and where GitHub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubSettings {
    /// `GITHUB_CLIENT_ID`.
    pub client_id: String,
    /// `GITHUB_CLIENT_SECRET`.
    pub client_secret: Secret,
    /// `GITHUB_URL`, without a trailing slash.
    pub url: String,
    /// `GITHUB_API_URL`, without a trailing slash.
    pub api_url: String,
}

/// Where clients reach us: an origin, so it has no path and no trailing slash, its host is in lower
/// case, and a default port is left out. It is compared byte by byte wherever it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    loopback: bool,
}

impl PublicUrl {
    /// Parses and normalises. The error says what is wrong, to follow the name of the variable.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = origin(text)?;
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if !loopback && url.scheme() != "https" {
            return Err("must begin with https:// unless it is a loopback address".into());
        }
        Ok(Self { origin: url.origin().ascii_serialization(), loopback })
    }

    /// The URL itself, which is also the OAuth issuer.
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// The same as an origin that a browser would send.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The MCP endpoint, which is also the audience of access tokens.
    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
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
        let mut reader = Reader { variable, problems: Vec::new() };

        let port = reader.parse(PORT, |text| number(text, 1, u16::MAX)).unwrap_or(8080);
        let public_url = reader.parse(PUBLIC_URL, PublicUrl::parse).unwrap_or_else(|| PublicUrl {
            origin: format!("http://127.0.0.1:{port}"),
            loopback: true,
        });
        let mode = if public_url.loopback { Mode::Embedded } else { Mode::Deployed };
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
        let github = reader.github(mode);
        let gate = gate::Rules {
            logins: reader.parse(ALLOWED_GITHUB_LOGINS, gate::parse_logins).unwrap_or_default(),
            org: reader.parse(ALLOWED_GITHUB_ORG, gate::parse_org),
        };
        if gate.org.is_some() && reader.text(DATA_KEYS).is_none() {
            reader.missing(DATA_KEYS, "it must be set when ALLOWED_GITHUB_ORG is");
        }
        let data_keys = reader.parse(DATA_KEYS, data_keys).unwrap_or_default();
        let redirect_schemes = reader.parse(REDIRECT_SCHEMES, schemes).unwrap_or_default();
        let clients = reader
            .parse(OAUTH_CLIENTS, |text| client::parse_preregistered(text, &redirect_schemes))
            .unwrap_or_default();
        let trusted_proxy_hops =
            reader.parse(TRUSTED_PROXY_HOPS, |text| number(text, 0, 10)).unwrap_or(match mode {
                Mode::Embedded => 0,
                // It speaks https only through a proxy.
                Mode::Deployed => 1,
            });
        let access_token_ttl = reader
            .duration(ACCESS_TOKEN_TTL, Duration::from_mins(1)..=access_token::MAX_CONFIGURED_TTL);
        let session_ttl =
            reader.duration(SESSION_TTL, Duration::from_mins(1)..=Duration::from_hours(30 * 24));
        let shutdown_timeout =
            reader.duration(SHUTDOWN_TIMEOUT, Duration::from_secs(1)..=Duration::from_mins(5));
        let log = reader.parse(LOG, log_filter).unwrap_or(LOG.default.into());
        let log_format = reader.parse(LOG_FORMAT, log_format).unwrap_or(match mode {
            Mode::Embedded => LogFormat::Pretty,
            Mode::Deployed => LogFormat::Json,
        });
        // Last, because this one may write a file, which a refused start should not leave behind.
        let jwt_signing_secret = reader.signing_secret(mode, &data_dir);

        match (database_url, jwt_signing_secret) {
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
                github,
                gate,
                data_keys,
                redirect_schemes,
                clients,
                trusted_proxy_hops,
                access_token_ttl,
                session_ttl,
                shutdown_timeout,
                log,
                log_format,
            }),
            _ => Err(ConfigErrors(reader.problems)),
        }
    }
}

/// The text that `.env.example` has to hold.
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every variable that notes-mcp reads. All of them are optional on your own machine.\n",
    );
    for Variable { name, meaning, default } in VARIABLES {
        text.push('\n');
        let mut width = 0;
        for word in meaning.split(' ') {
            if width == 0 || width + 1 + word.len() > 98 {
                text.push_str(if width == 0 { "#" } else { "\n#" });
                width = 0;
            }
            text.push(' ');
            text.push_str(word);
            width += 1 + word.len();
        }
        text.extend(["\n# ", name, "=", default, "\n"]);
    }
    text
}

/// Reads variables and collects what is wrong with them.
struct Reader<F> {
    variable: F,
    problems: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn text(&self, variable: Variable) -> Option<String> {
        let text = (self.variable)(variable.name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Nothing when the variable is absent or wrong; the latter is noted.
    fn parse<T>(
        &mut self,
        variable: Variable,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(&self.text(variable)?)
            .map_err(|problem| self.problems.push(format!("{} {problem}", variable.name)))
            .ok()
    }

    fn duration(
        &mut self,
        variable: Variable,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        self.parse(variable, |text| match duration(text) {
            Some(time) if range.contains(&time) => Ok(time),
            _ => Err(format!(
                "must be a time from {:?} to {:?}, such as {}; it is “{text}”",
                range.start(),
                range.end(),
                variable.default,
            )),
        })
        .unwrap_or_else(|| duration(variable.default).expect("a default is a valid value"))
    }

    /// What stands in for an absent variable, or a problem when the program is deployed.
    fn unless_deployed<T>(
        &mut self,
        mode: Mode,
        variable: Variable,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match mode {
            _ if self.text(variable).is_some() => None, // present but wrong, and noted
            Mode::Embedded => Some(default()),
            Mode::Deployed => {
                let why = "it must be set when PUBLIC_URL is not a loopback address";
                self.missing(variable, why);
                None
            }
        }
    }

    fn missing(&mut self, variable: Variable, why: &str) {
        self.problems.push(format!("{} is missing: {why}", variable.name));
    }

    fn github(&mut self, mode: Mode) -> Option<GitHubSettings> {
        let client_id = self.text(GITHUB_CLIENT_ID);
        let client_secret = self.text(GITHUB_CLIENT_SECRET);
        let url = self.parse(GITHUB_URL, base_url);
        let api_url = self.parse(GITHUB_API_URL, base_url);
        // Whoever signs in at one GitHub must not be looked up at another.
        if url.is_some() && self.text(GITHUB_API_URL).is_none() {
            self.missing(GITHUB_API_URL, "it must be set when GITHUB_URL is");
        }
        if mode == Mode::Deployed || client_id.is_some() || client_secret.is_some() {
            let why = match mode {
                Mode::Embedded => "GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET belong together",
                Mode::Deployed => "it must be set when PUBLIC_URL is not a loopback address",
            };
            if client_id.is_none() {
                self.missing(GITHUB_CLIENT_ID, why);
            }
            if client_secret.is_none() {
                self.missing(GITHUB_CLIENT_SECRET, why);
            }
        }
        Some(GitHubSettings {
            client_id: client_id?,
            client_secret: Secret::new(client_secret?),
            url: url.unwrap_or_else(|| GITHUB_URL.default.into()),
            api_url: api_url.unwrap_or_else(|| GITHUB_API_URL.default.into()),
        })
    }

    fn signing_secret(&mut self, mode: Mode, data_dir: &Path) -> Option<Secret> {
        let secret = self.parse(JWT_SIGNING_SECRET, signing_secret);
        if secret.is_some() {
            return secret;
        }
        let may_generate = self.unless_deployed(mode, JWT_SIGNING_SECRET, || ()).is_some();
        if !may_generate || !self.problems.is_empty() {
            return None;
        }
        kept_secret(data_dir)
            .map_err(|problem| self.problems.push(format!("{} {problem}", DATA_DIR.name)))
            .ok()
    }
}

fn number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display + Copy,
{
    match text.parse() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("must be a whole number from {least} to {most}; it is “{text}”")),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|error| {
        format!("must be an IP address such as 127.0.0.1; it is “{text}”: {error}")
    })
}

/// A whole number with a unit (`s`, `m`, `h`, `d`), or of seconds without one.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|it: char| it.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// A URL that is nothing but an origin.
fn origin(text: &str) -> Result<Url, String> {
    let expected = "must be a scheme and a host such as https://notes.example.com";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{expected}: the scheme has to be https or http"));
    }
    // A user name or password is not repeated here.
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if bare { Ok(url) } else { Err(format!("{expected}, without a path or anything after it")) }
}

fn origins(text: &str) -> Result<Vec<String>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .map(|it| origin(it).map(|url| url.origin().ascii_serialization()))
        .collect()
}

fn redis_url(text: &str) -> Result<Secret, String> {
    let url = Url::parse(text).ok().filter(|it| matches!(it.scheme(), "redis" | "rediss"));
    match url {
        Some(url) if url.has_host() => Ok(Secret::new(text)),
        _ => Err("must begin with redis:// or rediss:// and name a host".into()),
    }
}

/// The value is not repeated in a problem: it may hold a password.
fn database_url(text: &str, mode: Mode) -> Result<Secret, String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    match (scheme, mode) {
        (Some("postgres" | "postgresql"), _) | (Some("sqlite"), Mode::Embedded) => {
            Ok(Secret::new(text))
        }
        (Some("sqlite"), Mode::Deployed) => Err("must be a Postgres database, which several \
             instances can share, when PUBLIC_URL is not a loopback address"
            .into()),
        _ => Err("must begin with postgres://".into()),
    }
}

/// The URL of the SQLite database in the data directory.
fn sqlite_file(data_dir: &Path) -> Secret {
    let path = data_dir.join("notes.db");
    // The two characters that a SQLite URL would not take as part of a path.
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F");
    Secret::new(format!("sqlite:{path}"))
}

fn signing_secret(text: &str) -> Result<Secret, String> {
    if text.len() < MIN_SECRET_BYTES {
        return Err(format!(
            "must have at least {MIN_SECRET_BYTES} bytes, and has {}: take the output of `openssl \
             rand -base64 32`",
            text.len()
        ));
    }
    Ok(Secret::new(text))
}

/// A URL that paths are appended to. What it holds is not repeated: it could be a password.
fn base_url(text: &str) -> Result<String, String> {
    let expected = "must be a URL such as https://github.example.com";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if scheme && bare {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(format!(
            "{expected}: https unless it is a loopback address, without a user name, a query or a \
             fragment"
        ))
    }
}

fn data_keys(text: &str) -> Result<DataKeys, String> {
    let secrets: Vec<_> = text.split(',').map(str::trim).collect();
    if secrets.iter().any(|it| it.len() < MIN_SECRET_BYTES) {
        return Err(format!(
            "must be secrets of at least {MIN_SECRET_BYTES} bytes each, separated by commas: take \
             the output of `openssl rand -base64 32`"
        ));
    }
    let secrets: Vec<_> = secrets.into_iter().map(Secret::new).collect();
    Ok(DataKeys::new(&secrets))
}

fn schemes(text: &str) -> Result<Schemes, String> {
    let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    Schemes::with(names.map(str::to_owned)).map_err(|scheme| {
        format!(
            "must be private-use URI schemes in lower case, such as com.example.app, separated by \
             commas; one is “{scheme}”"
        )
    })
}

fn log_filter(text: &str) -> Result<String, String> {
    telemetry::parse_filter(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("must be a level such as info, or module=level pairs: {error}"))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("must be pretty or json; it is “{text}”")),
    }
}

/// The generated secret of a data directory: made at the first start, kept from then on, so that
/// tokens survive a restart.
///
/// Two processes that start at once agree on one: the file appears under its name with its content
/// in it, by a link that only one of them can make.
fn kept_secret(data_dir: &Path) -> Result<Secret, String> {
    let file = data_dir.join("secret");
    let read = || match fs::read_to_string(&file) {
        Ok(text) => signing_secret(text.trim()).map(Some).map_err(|_too_short| {
            format!("holds a damaged file: delete {} to have it made anew", file.display())
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be used: {} cannot be read: {error}", file.display())),
    };
    if let Some(secret) = read()? {
        return Ok(secret);
    }
    write_secret(data_dir, &file).map_err(|error| {
        format!("must be a writable directory; it is {}: {error}", data_dir.display())
    })?;
    read()?.ok_or_else(|| format!("cannot be used: {} has disappeared", file.display()))
}

fn write_secret(data_dir: &Path, file: &Path) -> std::io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let draft = data_dir.join(format!(".secret-{:016x}", rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&draft)?;
    let written = open
        .write_all(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()).as_bytes())
        .and_then(|()| open.sync_all())
        .and_then(|()| match fs::hard_link(&draft, file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(&draft)?;
    written
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tempfile::TempDir;

    use super::*;

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
        let file = include_str!("../../.env.example");
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
    fn a_generated_secret_is_kept_and_is_for_its_owner_alone() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("not/there/yet");
        let first = kept_secret(&data).unwrap();
        assert_eq!(first, kept_secret(&data).unwrap());
        assert!(first.expose().len() >= MIN_SECRET_BYTES);
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["secret"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(data.join("secret")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }

        fs::write(data.join("secret"), "short").unwrap();
        let problem = kept_secret(&data).unwrap_err();
        assert!(problem.contains("delete"), "{problem}");
    }

    #[test]
    fn processes_that_start_at_once_agree_on_a_secret() {
        let directory = TempDir::new().unwrap();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| kept_secret(directory.path()).unwrap())).collect();
            starts.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|it| *it == secrets[0]));
    }

    #[test]
    fn a_public_program_needs_what_instances_share() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        let public =
            [("PUBLIC_URL", "https://notes.example.com"), ("DATA_DIR", data.to_str().unwrap())];
        let lines = read(&public).unwrap_err().0;
        let missing =
            ["DATABASE_URL", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "JWT_SIGNING_SECRET"];
        assert_eq!(lines.len(), missing.len(), "{lines:?}");
        for (line, variable) in lines.iter().zip(missing) {
            assert!(line.starts_with(&format!("{variable} is missing: ")), "{line}");
        }
        assert!(!data.exists(), "a refused start leaves nothing behind");

        let mut complete = public.to_vec();
        complete.push(("DATABASE_URL", "postgresql://me:hunter2@db/notes"));
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
            ("JWT_SIGNING_SECRET", "hunter2"),
            ("GITHUB_URL", "http://github.example.com"),
            ("GITHUB_API_URL", "https://me:hunter2@github.example.com"),
            ("ALLOWED_GITHUB_LOGINS", "octo cat, id:x"),
            ("ALLOWED_GITHUB_ORG", "../admin"),
            ("DATA_KEYS", "hunter2, hunter2"),
            ("REDIRECT_SCHEMES", "javascript"),
            ("OAUTH_CLIENTS", "[{\"client_secret\": \"hunter2\"}]"),
            ("TRUSTED_PROXY_HOPS", "-1"),
            ("ACCESS_TOKEN_TTL", "2h"),
            ("SESSION_TTL", "soon"),
            ("SHUTDOWN_TIMEOUT", "1w"),
            ("LOG", "info,service=loud"),
            ("LOG_FORMAT", "xml"),
        ])
        .unwrap_err();
        assert_eq!(lines.len(), 20, "{lines:#?}");
        for (line, variable) in lines.iter().zip([
            "PORT",
            "PUBLIC_URL",
            "HOST",
            "ALLOWED_ORIGINS",
            "DATABASE_URL",
            "DATABASE_MAX_CONNECTIONS",
            "GITHUB_URL",
            "GITHUB_API_URL",
            "ALLOWED_GITHUB_LOGINS",
            "ALLOWED_GITHUB_ORG",
            "DATA_KEYS",
            "REDIRECT_SCHEMES",
            "OAUTH_CLIENTS",
            "TRUSTED_PROXY_HOPS",
            "ACCESS_TOKEN_TTL",
            "SESSION_TTL",
            "SHUTDOWN_TIMEOUT",
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
            (("ALLOWED_GITHUB_ORG", "octo-org"), "DATA_KEYS"),
        ] {
            let ConfigErrors(lines) = read(&[data, set]).unwrap_err();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(&format!("{missing} is missing: ")), "{lines:?}");
        }
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
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
    }

    #[test]
    fn a_public_url_is_an_origin() {
        for (text, normal) in [
            ("https://Notes.Example.com:443/", "https://notes.example.com"),
            ("https://notes.example.com:8443", "https://notes.example.com:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://notes.localhost", "http://notes.localhost"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().as_str(), normal);
        }
        for bad in [
            "",
            "notes.example.com",
            "ftp://notes.example.com",
            "https://notes.example.com/path",
            "https://notes.example.com/?q",
            "https://notes.example.com/#f",
            "https://me@notes.example.com",
            "http://notes.example.com",
            "http://192.168.1.5:8080",
            "http://localhost.example.com",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_numbers_with_a_unit() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "h", "-1", "1.5h", "1 h", "1h30m", "99999999999999999999", "9999999999999999d"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
