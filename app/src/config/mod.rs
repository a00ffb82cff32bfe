//! Configuration. No other module reads the environment.
//!
//! Every variable is in [`variables::VARIABLES`], and a test compares `.env.example` with that
//! list. An empty value counts as absent. All problems are reported at once, each in one line that
//! says what to do, and no line contains a secret.
//!
//! The program is **embedded** while its public URL is a loopback address: everything has a
//! default, data is kept under `DATA_DIR`, and no other machine can reach the program. With any
//! other public URL it is **deployed**, and starts only if all settings are present that several
//! instances must share.

mod example;
mod generated_secret;
mod http;
mod oauth;
mod oidc;
mod parse;
mod processes;
mod reader;
mod types;
mod unknown;
pub mod variables;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use ::oauth::login::github::GitHubSettings;
use ::oauth::{
    data_keys::DataKeys,
    login::{self, IdentityProvider, ProviderSettings},
};
use jobs::JobQuota;
use mcp::{ContentKey, ContentKeys};
use platform::telemetry::{self, Telemetry};
pub use platform::{
    db::DatabaseSettings,
    public_url::PublicUrl,
    telemetry::{LogFormat, TraceSettings},
};
use platform::{proxies::Proxies, secret::Secret};

pub use self::{
    example::env_example,
    http::HttpConfig,
    oauth::OAuthConfig,
    processes::{LoggingConfig, WorkerConfig},
    reader::Reader,
    types::{MetricsSettings, Mode, ModelSettings, RedisSettings},
    variables::Variable,
};
use self::{
    parse::{database_url, number, redis_url, secret, sqlite_file, switch},
    unknown::Misspelled,
    variables::{
        DATA_DIR, DATABASE_MAX_CONNECTIONS, DATABASE_URL, JOB_MEGABYTES_PER_PERSON,
        JWT_SIGNING_SECRET, METRICS_PORT, METRICS_TOKEN, PUBLIC_URL, READ_ONLY, REDIS_PREFIX,
        REDIS_URL, RENDER_GIT_COMMIT, SESSION_TTL, SHUTDOWN_TIMEOUT, UNFINISHED_JOBS_PER_PERSON,
    },
};
use crate::product::{AnySettings, Brand, Product};

/// All settings from the environment. A value of this type is complete and valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// Embedded or deployed; follows from `PUBLIC_URL`.
    pub mode: Mode,
    /// `PUBLIC_URL`.
    pub public_url: PublicUrl,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The authorization server.
    pub oauth: OAuthConfig,
    /// The worker.
    pub worker: WorkerConfig,
    /// Logs and traces.
    pub logging: LoggingConfig,
    /// `DATA_DIR`; need not exist.
    pub data_dir: PathBuf,
    /// `DATABASE_URL` and `DATABASE_MAX_CONNECTIONS`.
    pub database: DatabaseSettings,
    /// `REDIS_URL` and `REDIS_PREFIX`; `None` if a single process keeps all state in memory.
    pub redis: Option<RedisSettings>,
    /// The signing secret in use: the first of `JWT_SIGNING_SECRET`, or the generated one.
    pub jwt_signing_secret: Secret,
    /// Earlier signing secrets, newest first: the ones that `JWT_SIGNING_SECRET` lists after the
    /// first.
    pub previous_signing_secrets: Vec<Secret>,
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxies: Proxies,
    /// `READ_ONLY`: whether clients can only call tools that change nothing.
    pub read_only: bool,
    /// `LLM_URL` and related variables; `None` if no language model is configured.
    pub model: Option<ModelSettings>,
    /// The product that is configured.
    pub product: Product,
    /// The settings of the product.
    pub product_settings: AnySettings,
    /// `UNFINISHED_JOBS_PER_PERSON` and `JOB_MEGABYTES_PER_PERSON`: the job quota of each user.
    pub job_quota: JobQuota,
    /// `SESSION_TTL`.
    pub session_ttl: Duration,
    /// `SHUTDOWN_TIMEOUT`.
    pub shutdown_timeout: Duration,
    /// `METRICS_PORT` and `METRICS_TOKEN`.
    pub metrics: MetricsSettings,
    /// `RENDER_GIT_COMMIT`: the commit that this program was built from.
    pub revision: Option<String>,
    /// Warnings about the environment for the operator, one line each.
    pub warnings: Vec<String>,
}

/// All problems with the environment, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// The settings of the authorization server.
    pub(crate) fn oauth(&self) -> ::oauth::Settings {
        ::oauth::Settings {
            public_url: self.public_url.clone(),
            things: self.product.brand().things,
            scopes: self.product.scopes(),
            providers: self.providers(),
            data_keys: self.data_keys(),
            redirect_schemes: self.oauth.redirect_schemes.clone(),
            clients: self.oauth.clients.clone(),
            client_documents: self.oauth.client_documents,
            known_documents: self.oauth.known_documents.clone(),
            jwt_signing_secret: self.jwt_signing_secret.clone(),
            client_credentials: self.oauth.client_credentials,
            access_token_ttl: self.oauth.access_token_ttl,
            dpop: self.oauth.dpop,
            audit_retention: self.oauth.audit_retention,
            ended_grant_retention: self.oauth.ended_grant_retention,
        }
    }

    /// The identity providers, in the order in which pages show them. Without any, sign-in is
    /// impossible.
    pub fn providers(&self) -> Vec<Arc<dyn IdentityProvider>> {
        login::providers(&ProviderSettings {
            public_url: self.public_url.clone(),
            program: self.product.brand().program,
            is_private: self.mode == Mode::Embedded
                && self.public_url.is_loopback()
                && self.http.host.is_loopback(),
            proxies: self.proxies.clone(),
            github: self.oauth.github.clone(),
            policy: self.oauth.access_policy.clone(),
            oidc: self.oauth.oidc.clone(),
        })
    }

    /// The keys that encrypt tokens at identity providers: those of `DATA_KEYS`, and those derived from
    /// the signing secrets. Never empty.
    pub fn data_keys(&self) -> DataKeys {
        let current = std::iter::once(&self.jwt_signing_secret);
        let signing: Vec<_> = current.chain(&self.previous_signing_secrets).cloned().collect();
        DataKeys::new(&self.oauth.data_keys, &signing)
    }

    /// The keys that encrypt users' content in Redis and in the queue of jobs. They are derived from the
    /// signing secrets, which web instances and workers share; `DATA_KEYS` may be unknown to a worker.
    pub fn content_keys(&self) -> ContentKeys {
        let secrets =
            std::iter::once(&self.jwt_signing_secret).chain(&self.previous_signing_secrets);
        let keys = secrets.map(|secret| {
            ContentKey::new(secret.derive("content-key-id"), secret.derive("content-key/v1"))
        });
        ContentKeys::new(keys, JWT_SIGNING_SECRET.name)
    }

    /// Starts logging, and tracing if it is configured, under the name of the program, and logs the
    /// warnings about the configuration. See [`telemetry::start`].
    pub fn start_telemetry(&self, program: &'static str) -> anyhow::Result<Telemetry> {
        let settings = telemetry::Settings {
            format: self.logging.format,
            filter: &self.logging.filter,
            traces: self.logging.traces.as_ref(),
            proxies: &self.proxies,
            revision: self.revision.as_deref(),
        };
        let telemetry = telemetry::start(&settings, program)?;
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        Ok(telemetry)
    }

    /// Reads the environment of the process. Without `JWT_SIGNING_SECRET` an embedded program uses
    /// a generated secret, which this stores in `DATA_DIR`, and creates that directory if
    /// necessary.
    pub fn from_env(product: &Product) -> Result<Self, ConfigErrors> {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()))
            .map(|[name, value]| (name, value))
            .collect();
        Self::read_all(product, &variables)
    }

    /// Describes in a few words who may sign in.
    pub fn who_may_sign_in(&self) -> String {
        match &self.providers()[..] {
            [] => "no one, because no identity provider is configured".to_owned(),
            [provider] => provider.who_may_sign_in(),
            several => {
                let one = |provider: &Arc<dyn IdentityProvider>| {
                    format!("{}: {}", provider.label(), provider.who_may_sign_in())
                };
                several.iter().map(one).collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// Reads a set of variables. A name that resembles a variable of this program is a problem if
    /// that variable limits access, and a warning otherwise.
    pub fn read_all(
        product: &Product,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let misspelled = unknown::misspelled(product.variables(), variables.keys().cloned());
        let (problems, warnings): (Vec<_>, Vec<_>) =
            misspelled.iter().partition(|variable| variable.limits_access);
        let problems: Vec<String> = problems.into_iter().map(Misspelled::line).collect();
        let names: Vec<String> = variables.keys().cloned().collect();
        match Self::read_from(product, &names, &|name| variables.get(name).cloned()) {
            Ok(config) if problems.is_empty() => {
                let warnings = warnings.into_iter().map(Misspelled::line).collect();
                Ok(Self { warnings, ..config })
            }
            Ok(_) => Err(ConfigErrors(problems)),
            Err(ConfigErrors(others)) => Err(ConfigErrors([problems, others].concat())),
        }
    }

    /// Reads variables from a source that cannot list their names, so misspelled names are not
    /// detected, and OpenID Connect providers, whose variables contain their names, are not found.
    pub fn read(
        product: &Product,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        Self::read_from(product, &[], &variable)
    }

    /// Reads variables. `names` are those that are set.
    fn read_from(
        product: &Product,
        names: &[String],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(names, variable);

        let port = http::port(&mut reader);
        let public_url = reader
            .parse(PUBLIC_URL, PublicUrl::parse)
            .unwrap_or_else(|| PublicUrl::on_loopback(port));
        let mode = if public_url.is_loopback() { Mode::Embedded } else { Mode::Deployed };
        let http = HttpConfig::read(&mut reader, port, mode);
        let data_dir = PathBuf::from(reader.text(DATA_DIR).unwrap_or(DATA_DIR.default.into()));
        let database = database(&mut reader, mode, &data_dir, product.brand());
        let redis = redis(&mut reader, mode, product.brand());
        let oauth = OAuthConfig::read(&mut reader, mode, &public_url, product);
        let proxies = reader.proxies();
        let model = reader.model();
        let product_settings = product.settings(&mut reader);
        let job_quota = job_quota(&mut reader);
        let session_ttl =
            reader.duration(SESSION_TTL, Duration::from_mins(1)..=Duration::from_hours(30 * 24));
        let shutdown_timeout =
            reader.duration(SHUTDOWN_TIMEOUT, Duration::from_secs(1)..=Duration::from_mins(5));
        let worker = WorkerConfig::read(&mut reader);
        let logging = LoggingConfig::read(&mut reader, mode);
        let metrics = MetricsSettings {
            port: reader.parse(METRICS_PORT, |text| number(text, 1, u16::MAX)),
            token: reader.parse(METRICS_TOKEN, secret),
        };
        if metrics.port == Some(port) {
            reader.problems.push("METRICS_PORT must differ from PORT".into());
        }
        let read_only = reader.parse(READ_ONLY, switch).unwrap_or(false);
        let revision = reader.text(RENDER_GIT_COMMIT);
        // Last, because this may create a file, which should not remain if the configuration is invalid.
        let signing_secrets = reader.signing_secrets(mode, &data_dir).unwrap_or_default();
        let mut signing_secrets = signing_secrets.into_iter();

        match (database, signing_secrets.next()) {
            (Some(database), Some(jwt_signing_secret)) if reader.problems.is_empty() => Ok(Self {
                mode,
                public_url,
                http,
                oauth,
                worker,
                logging,
                data_dir,
                database,
                redis,
                jwt_signing_secret,
                previous_signing_secrets: signing_secrets.collect(),
                proxies,
                read_only,
                model,
                product: product.clone(),
                product_settings,
                job_quota,
                session_ttl,
                shutdown_timeout,
                metrics,
                revision,
                warnings: Vec::new(),
            }),
            _ => Err(ConfigErrors(reader.problems)),
        }
    }
}

/// Reads the database settings. `None`: a problem was added.
fn database(
    reader: &mut Reader<'_>,
    mode: Mode,
    data_dir: &Path,
    brand: &Brand,
) -> Option<DatabaseSettings> {
    let url = reader.parse(DATABASE_URL, |text| database_url(text, mode)).or_else(|| {
        reader.unless_deployed(mode, DATABASE_URL, || sqlite_file(data_dir, brand.things))
    });
    let max_connections = reader.parse(DATABASE_MAX_CONNECTIONS, |text| number(text, 1, 100));
    let max_connections = max_connections.unwrap_or(5);
    Some(DatabaseSettings { url: url?, max_connections, program: brand.program })
}

fn redis(reader: &mut Reader<'_>, mode: Mode, brand: &Brand) -> Option<RedisSettings> {
    let prefix = reader.text(REDIS_PREFIX).unwrap_or_else(|| format!("{}:", brand.things));
    let url = reader.parse(REDIS_URL, redis_url);
    if url.is_none() {
        // An embedded program keeps this state in memory instead.
        reader.unless_deployed(mode, REDIS_URL, || ());
    }
    url.map(|url| RedisSettings { url, prefix })
}

fn job_quota(reader: &mut Reader<'_>) -> JobQuota {
    let jobs = reader.parse(UNFINISHED_JOBS_PER_PERSON, |text| number(text, 1, 100_000));
    // The minimum ensures that the arguments of one request always fit: its body has up to 4 MiB.
    let megabytes = reader.parse(JOB_MEGABYTES_PER_PERSON, |text| number(text, 8, 100_000));
    JobQuota::new(jobs.unwrap_or(1_000), megabytes.unwrap_or(64))
}

#[cfg(test)]
mod tests;
