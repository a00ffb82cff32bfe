//! Configuration. No other module reads the environment.
//!
//! Every variable is in [`variables::VARIABLES`], and a test compares `.env.example` with that
//! list. An empty value counts as absent. All problems are reported at once, each in one line that
//! says what to do, and no line contains a secret.
//!
//! The program is **embedded** while its public URL is a loopback address: everything has a
//! default, data is kept under `DATA_DIR`, and no other machine can reach the program. With any
//! other public URL it is **deployed**, and refuses to start until everything is set that several
//! instances must share.

mod example;
mod generated_secret;
mod parse;
mod reader;
mod types;
mod unknown;
pub mod variables;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use jobs::JobQuota;
pub use oauth::login::github::GitHubSettings;
use oauth::{
    access_token,
    cimd::KnownDocuments,
    client::{self, Client},
    data_keys::DataKeys,
    grant,
    login::{self, IdentityProvider, ProviderSettings, github, policy::AccessPolicy},
    redirect_uri::Schemes,
};
use platform::telemetry::{self, Telemetry};
pub use platform::{
    db::DatabaseSettings,
    public_url::PublicUrl,
    telemetry::{LogFormat, TraceSettings},
};
use platform::{proxies::Proxies, secret::Secret};

pub use self::types::{MetricsSettings, Mode, ModelSettings, RedisSettings};
pub use self::{example::env_example, reader::Reader, variables::Variable};
use self::{
    parse::{
        address, data_keys, database_url, inline_or_file, log_filter, log_format, networks, number,
        origins, redis_url, schemes, secret, sqlite_file, switch,
    },
    unknown::Misspelt,
    variables::{
        ACCESS_TOKEN_TTL, ALLOWED_GITHUB_LOGINS, ALLOWED_GITHUB_ORG, ALLOWED_ORIGINS,
        AUDIT_RETENTION, CLIENT_DOCUMENTS, CLIENT_METADATA_DOCUMENTS, DATA_DIR, DATA_KEYS,
        DATABASE_MAX_CONNECTIONS, DATABASE_URL, ENDED_GRANT_RETENTION, HOST,
        JOB_MEGABYTES_PER_PERSON, LOG, LOG_FORMAT, METRICS_PORT, METRICS_TOKEN, OAUTH_CLIENTS,
        PORT, PUBLIC_URL, RATE_LIMIT_PER_MINUTE, REDIRECT_SCHEMES, REDIS_PREFIX, REDIS_URL,
        RENDER_GIT_COMMIT, SESSION_TTL, SHUTDOWN_TIMEOUT, TRUSTED_PROXY_HOPS,
        UNFINISHED_JOBS_PER_PERSON, UNLIMITED_NETWORKS, WORKER_CONCURRENCY, WORKER_PORT,
    },
};
use crate::product::{AnySettings, Product};

/// All settings from the environment. A value of this type is complete and valid.
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
    /// `ALLOWED_ORIGINS`: origins in serialized form, such as `https://app.example.com`.
    pub allowed_origins: Vec<String>,
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
    /// `GITHUB_CLIENT_ID` and related variables; `None` if sign-in with GitHub is not configured.
    pub github: Option<GitHubSettings>,
    /// `ALLOWED_GITHUB_LOGINS` and `ALLOWED_GITHUB_ORG`: who may sign in.
    pub access_policy: AccessPolicy,
    /// `DATA_KEYS`, and the keys derived from `JWT_SIGNING_SECRET`; never empty.
    pub data_keys: DataKeys,
    /// `REDIRECT_SCHEMES`, and the built-in ones.
    pub redirect_schemes: Schemes,
    /// `OAUTH_CLIENTS`.
    pub clients: Vec<Client>,
    /// `CLIENT_METADATA_DOCUMENTS`: whether client metadata documents are fetched.
    pub client_documents: bool,
    /// `CLIENT_DOCUMENTS`: the client metadata documents that need not be fetched.
    pub known_documents: KnownDocuments,
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxies: Proxies,
    /// `LLM_URL` and related variables; `None` if no language model is configured.
    pub model: Option<ModelSettings>,
    /// `TRUSTED_PROXY_HOPS`.
    pub trusted_proxy_hops: u8,
    /// `RATE_LIMIT_PER_MINUTE`: how many calls a person may make; 0 means no limit.
    pub rate_limit_per_minute: u32,
    /// The product that is configured.
    pub product: Product,
    /// The settings of the product.
    pub product_settings: AnySettings,
    /// `UNFINISHED_JOBS_PER_PERSON` and `JOB_MEGABYTES_PER_PERSON`: the quota of jobs for each
    /// person.
    pub job_quota: JobQuota,
    /// `UNLIMITED_NETWORKS`.
    pub unlimited_networks: Vec<IpNet>,
    /// `ACCESS_TOKEN_TTL`.
    pub access_token_ttl: Duration,
    /// `SESSION_TTL`.
    pub session_ttl: Duration,
    /// `AUDIT_RETENTION`.
    pub audit_retention: Duration,
    /// `ENDED_GRANT_RETENTION`.
    pub ended_grant_retention: Duration,
    /// `SHUTDOWN_TIMEOUT`.
    pub shutdown_timeout: Duration,
    /// `WORKER_CONCURRENCY`.
    pub worker_concurrency: u32,
    /// `WORKER_PORT`.
    pub worker_port: u16,
    /// `LOG`, validated.
    pub log: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `METRICS_PORT` and `METRICS_TOKEN`.
    pub metrics: MetricsSettings,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` and related variables; `None` if nothing is traced.
    pub traces: Option<TraceSettings>,
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
    pub(crate) fn oauth(&self) -> oauth::Settings {
        oauth::Settings {
            public_url: self.public_url.clone(),
            things: self.product.brand().things,
            scopes: self.product.scopes(),
            providers: self.providers(),
            data_keys: self.data_keys.clone(),
            redirect_schemes: self.redirect_schemes.clone(),
            clients: self.clients.clone(),
            client_documents: self.client_documents,
            known_documents: self.known_documents.clone(),
            jwt_signing_secret: self.jwt_signing_secret.clone(),
            access_token_ttl: self.access_token_ttl,
            audit_retention: self.audit_retention,
            ended_grant_retention: self.ended_grant_retention,
        }
    }

    /// The identity providers. Users sign in with the first one; without any, sign-in is
    /// impossible.
    pub fn providers(&self) -> Vec<Arc<dyn IdentityProvider>> {
        login::providers(&ProviderSettings {
            public_url: self.public_url.clone(),
            program: self.product.brand().program,
            is_private: self.mode == Mode::Embedded
                && self.public_url.is_loopback()
                && self.host.is_loopback(),
            proxies: self.proxies.clone(),
            github: self.github.clone(),
            policy: self.access_policy.clone(),
        })
    }

    /// Starts logging, and tracing if it is configured, under the name of the program, and logs the
    /// warnings about the configuration. See [`telemetry::start`].
    pub fn start_telemetry(&self, program: &'static str) -> anyhow::Result<Telemetry> {
        let settings = telemetry::Settings {
            format: self.log_format,
            filter: &self.log,
            traces: self.traces.as_ref(),
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
            .map(|(name, value)| [name, value].map(|it| it.to_string_lossy().into_owned()))
            .map(|[name, value]| (name, value))
            .collect();
        Self::read_all(product, &variables)
    }

    /// Describes who may sign in, in a few words.
    pub fn who_may_sign_in(&self) -> String {
        match self.providers().first() {
            Some(provider) => provider.who_may_sign_in(),
            None => "nobody, because no identity provider is configured".to_owned(),
        }
    }

    /// Reads a set of variables. A name that resembles a variable of this program is a problem if
    /// that variable limits access, and a warning otherwise.
    pub fn read_all(
        product: &Product,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let misspelt = unknown::misspelt(product.variables(), variables.keys().cloned());
        let (problems, warnings): (Vec<_>, Vec<_>) =
            misspelt.iter().partition(|it| it.limits_access);
        let problems: Vec<String> = problems.into_iter().map(Misspelt::line).collect();
        match Self::read(product, |name| variables.get(name).cloned()) {
            Ok(config) if problems.is_empty() => {
                let warnings = warnings.into_iter().map(Misspelt::line).collect();
                Ok(Self { warnings, ..config })
            }
            Ok(_) => Err(ConfigErrors(problems)),
            Err(ConfigErrors(others)) => Err(ConfigErrors([problems, others].concat())),
        }
    }

    /// Reads variables from a source that cannot list their names, so misspelled names are not
    /// detected.
    pub fn read(
        product: &Product,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&variable);

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
        let database_url =
            reader.parse(DATABASE_URL, |text| database_url(text, mode)).or_else(|| {
                reader.unless_deployed(mode, DATABASE_URL, || {
                    sqlite_file(&data_dir, product.brand().things)
                })
            });
        let max_connections =
            reader.parse(DATABASE_MAX_CONNECTIONS, |text| number(text, 1, 100)).unwrap_or(5);
        let redis_prefix =
            reader.text(REDIS_PREFIX).unwrap_or_else(|| format!("{}:", product.brand().things));
        let redis = reader
            .parse(REDIS_URL, redis_url)
            .map(|url| RedisSettings { url, prefix: redis_prefix });
        if redis.is_none() {
            // An embedded program keeps the state in its own memory instead.
            reader.unless_deployed(mode, REDIS_URL, || ());
        }
        let github = reader.github(mode);
        let access_policy = AccessPolicy {
            logins: reader.parse(ALLOWED_GITHUB_LOGINS, github::parse_logins).unwrap_or_default(),
            org: reader.parse(ALLOWED_GITHUB_ORG, github::parse_org),
        };
        if access_policy.org.is_none() && reader.is_set_but_empty(ALLOWED_GITHUB_LOGINS) {
            let problem = format!("{} {}", ALLOWED_GITHUB_LOGINS.name, github::names_no_one());
            reader.problems.push(problem);
        }
        let data_keys = reader.parse(DATA_KEYS, data_keys).unwrap_or_default();
        let redirect_schemes = reader.parse(REDIRECT_SCHEMES, schemes).unwrap_or_default();
        let clients = reader
            .parse(OAUTH_CLIENTS, |text| {
                client::parse_preregistered(text, &redirect_schemes, product.scopes())
            })
            .unwrap_or_default();
        let client_documents = reader.parse(CLIENT_METADATA_DOCUMENTS, switch).unwrap_or(true);
        let known_documents = reader
            .parse(CLIENT_DOCUMENTS, |text| {
                KnownDocuments::parse(&inline_or_file(text)?, public_url.host(), &redirect_schemes)
            })
            .unwrap_or_default();
        let proxies = reader.proxies();
        let model = reader.model();
        let trusted_proxy_hops =
            reader.parse(TRUSTED_PROXY_HOPS, |text| number(text, 0, 10)).unwrap_or(match mode {
                Mode::Embedded => 0,
                // A deployed program is served over https, which only a proxy in front of it
                // provides.
                Mode::Deployed => 1,
            });
        let rate_limit_per_minute =
            reader.parse(RATE_LIMIT_PER_MINUTE, |text| number(text, 0, 100_000)).unwrap_or(120);
        let product_settings = product.settings(&mut reader);
        let jobs = reader.parse(UNFINISHED_JOBS_PER_PERSON, |text| number(text, 1, 100_000));
        // The minimum ensures that one request always fits: its body may have 4 MiB.
        let megabytes = reader.parse(JOB_MEGABYTES_PER_PERSON, |text| number(text, 8, 100_000));
        let job_quota = JobQuota::new(jobs.unwrap_or(1_000), megabytes.unwrap_or(64));
        let unlimited_networks = reader.parse(UNLIMITED_NETWORKS, networks).unwrap_or_default();
        let access_token_ttl = reader
            .duration(ACCESS_TOKEN_TTL, Duration::from_mins(1)..=access_token::MAX_CONFIGURED_TTL);
        let session_ttl =
            reader.duration(SESSION_TTL, Duration::from_mins(1)..=Duration::from_hours(30 * 24));
        let audit_retention = reader.duration(AUDIT_RETENTION, days(1)..=days(3_650));
        let ended_grant_retention =
            reader.duration(ENDED_GRANT_RETENTION, grant::MIN_ENDED_RETENTION..=days(365));
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
        // Last, because this may write a file, which a refused start should not leave behind.
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
                database: DatabaseSettings {
                    url,
                    max_connections,
                    program: product.brand().program,
                },
                redis,
                jwt_signing_secret,
                previous_signing_secrets: signing_secrets.collect(),
                github,
                access_policy,
                data_keys,
                redirect_schemes,
                clients,
                client_documents,
                known_documents,
                proxies,
                model,
                trusted_proxy_hops,
                rate_limit_per_minute,
                product: product.clone(),
                product_settings,
                job_quota,
                unlimited_networks,
                access_token_ttl,
                session_ttl,
                audit_retention,
                ended_grant_retention,
                shutdown_timeout,
                worker_concurrency,
                worker_port,
                log,
                log_format,
                metrics,
                traces,
                revision,
                warnings: Vec::new(),
            }),
            _ => Err(ConfigErrors(reader.problems)),
        }
    }
}

const fn days(number: u64) -> Duration {
    Duration::from_hours(24 * number)
}

#[cfg(test)]
mod tests;
