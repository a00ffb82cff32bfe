//! Every environment variable of the base: name, documentation and default.

/// An environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name of the environment variable.
    pub name: &'static str,
    /// The documentation for `.env.example`, with units and limits.
    pub meaning: &'static str,
    /// The default, in the syntax of the variable; empty if there is none.
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
    OIDC_ISSUER,
    OIDC_CLIENT_ID,
    OIDC_CLIENT_SECRET,
    OIDC_LABEL,
    OIDC_SCOPES,
    OIDC_ALLOWED_DOMAINS,
    OIDC_ALLOWED_GROUPS,
    OIDC_GROUPS_CLAIM,
    OIDC_ALLOWED_USERS,
    OIDC_ID_JAG,
    DATA_KEYS,
    REDIRECT_SCHEMES,
    OAUTH_CLIENTS,
    CLIENT_CREDENTIALS,
    CLIENT_METADATA_DOCUMENTS,
    CLIENT_DOCUMENTS,
    HTTPS_PROXY,
    HTTP_PROXY,
    NO_PROXY,
    READ_ONLY,
    LLM_URL,
    LLM_MODEL,
    LLM_API_KEY,
    TRUSTED_PROXY_HOPS,
    RATE_LIMIT_PER_MINUTE,
    UNLIMITED_NETWORKS,
    UNFINISHED_JOBS_PER_PERSON,
    JOB_MEGABYTES_PER_PERSON,
    ACCESS_TOKEN_TTL,
    DPOP,
    SESSION_TTL,
    AUDIT_RETENTION,
    ENDED_GRANT_RETENTION,
    SHUTDOWN_TIMEOUT,
    WORKER_CONCURRENCY,
    WORKER_PORT,
    LOG,
    LOG_FORMAT,
    METRICS_PORT,
    METRICS_TOKEN,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_TRACES_SAMPLER_ARG,
    RENDER_GIT_COMMIT,
];

/// The public URL of the server.
pub const PUBLIC_URL: Variable = Variable {
    name: "PUBLIC_URL",
    meaning: "The address that clients use: scheme and host, without a path. Every access token \
              contains it, so a change signs out all users. An address other than loopback has to \
              be https and requires DATABASE_URL, REDIS_URL, JWT_SIGNING_SECRET, and an identity \
              provider: GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET, or OIDC_<NAME>_ISSUER and \
              OIDC_<NAME>_CLIENT_ID.",
    default: "http://127.0.0.1:8080",
};

/// The port of the listener.
pub const PORT: Variable = Variable {
    name: "PORT",
    meaning: "The TCP port to listen on. The default of PUBLIC_URL uses it.",
    default: "8080",
};

/// The IP address of the listener.
pub const HOST: Variable = Variable {
    name: "HOST",
    meaning: "The IP address to listen on. If PUBLIC_URL is not a loopback address, the default \
              is 0.0.0.0.",
    default: "127.0.0.1",
};

/// Browser origins that may call the server.
pub const ALLOWED_ORIGINS: Variable = Variable {
    name: "ALLOWED_ORIGINS",
    meaning: "Origins of web pages that may call the server from a browser, in addition to \
              PUBLIC_URL, separated by commas, such as https://app.example.com.",
    default: "",
};

/// The directory for local files.
pub const DATA_DIR: Variable = Variable {
    name: "DATA_DIR",
    meaning: "The directory for the SQLite database (without DATABASE_URL) and the generated \
              secret (without JWT_SIGNING_SECRET).",
    default: "./data",
};

/// The database.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    meaning: "The PostgreSQL database, as postgres://user:password@host/name. Default: a SQLite \
              file in DATA_DIR.",
    default: "",
};

/// The size of the connection pool.
pub const DATABASE_MAX_CONNECTIONS: Variable = Variable {
    name: "DATABASE_MAX_CONNECTIONS",
    meaning: "The maximum number of database connections of one process, 1 to 100. During a \
              deploy, old and new processes each use this many.",
    default: "5",
};

/// The Redis server or cluster.
pub const REDIS_URL: Variable = Variable {
    name: "REDIS_URL",
    meaning: "Redis 7 or Valkey 8, one server or a cluster, as redis:// or rediss://. It stores \
              sessions, event streams, signals between instances, sign-ins in progress and rate \
              limits. Required if PUBLIC_URL is not a loopback address. Default: in the memory of \
              the process, and lost when it ends.",
    default: "",
};

/// The prefix of all Redis keys and channels.
pub const REDIS_PREFIX: Variable = Variable {
    name: "REDIS_PREFIX",
    meaning: "The prefix of all keys and channels in Redis, so that several deployments can share \
              a server. Default: the plural name of the product's items, followed by a colon, \
              such as notes:.",
    default: "",
};

/// The secret that encrypts the signing keys.
pub const JWT_SIGNING_SECRET: Variable = Variable {
    name: "JWT_SIGNING_SECRET",
    meaning: "Encrypts the private keys that sign access tokens: at least 32 bytes, the same for \
              all processes, such as the output of `openssl rand -base64 32`. It can be changed \
              at any time; issued tokens stay valid. Other keys are derived from it, such as the \
              one for users' content in Redis and in the queue, so keep the \
              old value behind the new one for 90 days, as new,old: data that was encrypted with \
              it stays readable. So that no running call is lost, deploy old,new first. Default: \
              generated in DATA_DIR.",
    default: "",
};

/// The client id of the GitHub OAuth app.
pub const GITHUB_CLIENT_ID: Variable = Variable {
    name: "GITHUB_CLIENT_ID",
    meaning: "The client id of the GitHub OAuth app for sign-in. The app's callback URL is \
              PUBLIC_URL followed by /oauth/github/callback. Without any identity provider, the \
              sign-in page asks for a name instead, without a password. See docs/sign-in.md.",
    default: "",
};

/// The client secret of the GitHub OAuth app.
pub const GITHUB_CLIENT_SECRET: Variable = Variable {
    name: "GITHUB_CLIENT_SECRET",
    meaning: "The client secret of the GitHub OAuth app.",
    default: "",
};

/// The address of GitHub.
pub const GITHUB_URL: Variable = Variable {
    name: "GITHUB_URL",
    meaning: "The address of GitHub Enterprise Server, if you use it. Has to be https unless it \
              is a loopback address. Requires GITHUB_API_URL.",
    default: "https://github.com",
};

/// The address of the GitHub API.
pub const GITHUB_API_URL: Variable = Variable {
    name: "GITHUB_API_URL",
    meaning: "The address of the GitHub API, such as https://github.example.com/api/v3 for GitHub \
              Enterprise Server.",
    default: "https://api.github.com",
};

/// The users who may sign in.
pub const ALLOWED_GITHUB_LOGINS: Variable = Variable {
    name: "ALLOWED_GITHUB_LOGINS",
    meaning: "Users who may sign in, separated by commas: GitHub logins such as octocat, or \
              numeric ids such as id:583231; * means everyone with a GitHub account, as does \
              leaving the variable out. An empty value without ALLOWED_GITHUB_ORG is an error if \
              GitHub is the only provider: the server does not start. The first sign-in binds a login to its numeric id, so \
              another account that takes over the login gets no access. A user who is removed \
              from the list loses all access as soon as the first server with the new list \
              starts.",
    default: "*",
};

/// The organization whose members may sign in.
pub const ALLOWED_GITHUB_ORG: Variable = Variable {
    name: "ALLOWED_GITHUB_ORG",
    meaning: "The GitHub organization whose active members may sign in. Users grant the \
              permission read:org, and their GitHub tokens are stored encrypted, to check the \
              membership again later. If ALLOWED_GITHUB_LOGINS is set to a list as well, users \
              have to satisfy both.",
    default: "",
};

/// The prefix of the variables of OpenID Connect providers.
pub(super) const OIDC_PREFIX: &str = "OIDC_";

/// The variables of each OpenID Connect provider.
pub(super) const OIDC_VARIABLES: [Variable; 10] = [
    OIDC_ISSUER,
    OIDC_CLIENT_ID,
    OIDC_CLIENT_SECRET,
    OIDC_LABEL,
    OIDC_SCOPES,
    OIDC_ALLOWED_DOMAINS,
    OIDC_ALLOWED_GROUPS,
    OIDC_GROUPS_CLAIM,
    OIDC_ALLOWED_USERS,
    OIDC_ID_JAG,
];

/// Splits the name of a variable into the name of the OpenID Connect provider and the variable. `None`:
/// it is not a variable of such a provider.
pub(super) fn oidc_variable(name: &str) -> Option<(&str, Variable)> {
    let rest = name.strip_prefix(OIDC_PREFIX)?;
    OIDC_VARIABLES.iter().find_map(|variable| {
        let provider = rest.strip_suffix(oidc_setting(*variable))?.strip_suffix('_')?;
        Some((provider, *variable))
    })
}

/// Returns the last part of the name of a variable of an OpenID Connect provider, such as `CLIENT_ID`.
pub(super) fn oidc_setting(variable: Variable) -> &'static str {
    variable.name.split_once(">_").map_or(variable.name, |(_, setting)| setting)
}

/// The issuer of an OpenID Connect provider.
pub const OIDC_ISSUER: Variable = Variable {
    name: "OIDC_<NAME>_ISSUER",
    meaning: "The issuer of an OpenID Connect provider, exactly as it is in its document \
              /.well-known/openid-configuration, such as https://accounts.google.com. Has to be \
              https unless it is a loopback address. <NAME> is a name of up to 20 letters and \
              digits, such as GOOGLE, one for each of up to 10 providers. It is part of the \
              identities of the users, so never change it or use it for another issuer. The \
              redirect URI is PUBLIC_URL followed by /oauth/<name>/callback, in lower case. See \
              docs/sign-in.md.",
    default: "",
};

/// The client id at an OpenID Connect provider.
pub const OIDC_CLIENT_ID: Variable = Variable {
    name: "OIDC_<NAME>_CLIENT_ID",
    meaning: "The client id at the provider.",
    default: "",
};

/// The client secret at an OpenID Connect provider.
pub const OIDC_CLIENT_SECRET: Variable = Variable {
    name: "OIDC_<NAME>_CLIENT_SECRET",
    meaning: "The client secret at the provider. Without it, this server is a public client with \
              PKCE, if the provider allows that.",
    default: "",
};

/// The name of an OpenID Connect provider on pages.
pub const OIDC_LABEL: Variable = Variable {
    name: "OIDC_<NAME>_LABEL",
    meaning: "The name of the provider on the buttons of the sign-in, of up to 30 characters. \
              Default: the usual spelling of a well-known <NAME>, or <NAME> itself.",
    default: "",
};

/// The scopes that are requested from an OpenID Connect provider.
pub const OIDC_SCOPES: Variable = Variable {
    name: "OIDC_<NAME>_SCOPES",
    meaning: "The scopes that are requested, separated by spaces; openid is always among them. Add \
              offline_access to get a refresh token, with which domains and groups are checked \
              again while an app stays connected.",
    default: "openid email profile",
};

/// The domains whose users may sign in.
pub const OIDC_ALLOWED_DOMAINS: Variable = Variable {
    name: "OIDC_<NAME>_ALLOWED_DOMAINS",
    meaning: "The domains of the e-mail addresses that may sign in, separated by commas, such as \
              example.com. The provider has to have verified the address. At Google it is the \
              domain of the Workspace organization. Without this and the next variables, everyone \
              with an account at the provider may sign in; a user has to satisfy all that are set.",
    default: "",
};

/// The groups whose members may sign in.
pub const OIDC_ALLOWED_GROUPS: Variable = Variable {
    name: "OIDC_<NAME>_ALLOWED_GROUPS",
    meaning: "The groups or roles of which a user needs at least one, separated by commas, exactly \
              as they are in the claim.",
    default: "",
};

/// The claim with the groups of a user.
pub const OIDC_GROUPS_CLAIM: Variable = Variable {
    name: "OIDC_<NAME>_GROUPS_CLAIM",
    meaning: "The claim that contains the groups or roles, in the ID token or the userinfo response: \
              a name, or a path such as realm_access.roles. Requires OIDC_<NAME>_ALLOWED_GROUPS.",
    default: "groups",
};

/// The users who may sign in.
pub const OIDC_ALLOWED_USERS: Variable = Variable {
    name: "OIDC_<NAME>_ALLOWED_USERS",
    meaning: "Users who may sign in, separated by commas: verified e-mail addresses, or subjects \
              such as id:248289761001; * means everyone. The first sign-in binds an address to the \
              account that has it.",
    default: "",
};

/// Whether identity assertions of an OpenID Connect provider are accepted.
pub const OIDC_ID_JAG: Variable = Variable {
    name: "OIDC_<NAME>_ID_JAG",
    meaning: "true: clients with a secret or a key get access tokens for users of this provider with its \
              identity assertions (ID-JAG, the MCP extension for enterprise-managed authorization), \
              without a sign-in here. The provider decides which client may act for which user. See \
              docs/machine-clients.md.",
    default: "false",
};

/// The secrets that encrypt tokens at identity providers.
pub const DATA_KEYS: Variable = Variable {
    name: "DATA_KEYS",
    meaning: "Secrets that encrypt the tokens of users at identity providers, with which memberships \
              and groups are checked again: at least 32 bytes \
              each, separated by commas. The first one encrypts, all of them decrypt, so put a \
              new one in front. Default: a key derived from JWT_SIGNING_SECRET, which still \
              decrypts when DATA_KEYS is set.",
    default: "",
};

/// Additional private-use URI schemes of redirect URIs.
pub const REDIRECT_SCHEMES: Variable = Variable {
    name: "REDIRECT_SCHEMES",
    meaning: "Additional private-use URI schemes that clients may redirect to, separated by \
              commas, such as com.example.app. Those of well-known clients are always allowed: \
              claude, cursor, vscode, windsurf, zed, jetbrains, raycast, warp and others.",
    default: "",
};

/// Preregistered clients.
pub const OAUTH_CLIENTS: Variable = Variable {
    name: "OAUTH_CLIENTS",
    meaning: "Preregistered clients: a JSON array of objects with client_id, client_name and \
              redirect_uris, and optionally client_secret (at least 32 bytes) and scope.",
    default: "",
};

/// Whether service clients get access tokens for themselves.
pub const CLIENT_CREDENTIALS: Variable = Variable {
    name: "CLIENT_CREDENTIALS",
    meaning: "true: programs without a user get access tokens with the grant type client_credentials. \
              Create a client for each with `clients create`. See docs/machine-clients.md.",
    default: "false",
};

/// Whether client metadata documents are fetched.
pub const CLIENT_METADATA_DOCUMENTS: Variable = Variable {
    name: "CLIENT_METADATA_DOCUMENTS",
    meaning: "Whether clients may identify themselves by a client metadata document, which this \
              server fetches from the client's site: on or off. Turn it off if the server has no \
              internet access: clients then register instead. See docs/closed-network.md.",
    default: "on",
};

/// Client metadata documents that are not fetched.
pub const CLIENT_DOCUMENTS: Variable = Variable {
    name: "CLIENT_DOCUMENTS",
    meaning: "Client metadata documents that the server uses instead of fetching them, even if \
              CLIENT_METADATA_DOCUMENTS is off: one JSON document, an array of them, or the path \
              of a file with either.",
    default: "",
};

/// The proxy for https URLs.
pub const HTTPS_PROXY: Variable = Variable {
    name: "HTTPS_PROXY",
    meaning: "The proxy for outgoing https requests (identity providers, client metadata documents, imports, \
              LLM_URL, traces), as http://user:password@host:port; it has to support CONNECT. \
              Loopback addresses are always reached directly. This and the next two variables \
              also work in lower case. See docs/closed-network.md.",
    default: "",
};

/// The proxy for plain http URLs.
pub const HTTP_PROXY: Variable = Variable {
    name: "HTTP_PROXY",
    meaning: "The proxy for outgoing plain http requests, such as those to a trace collector.",
    default: "",
};

/// The hosts that are connected to without a proxy.
pub const NO_PROXY: Variable = Variable {
    name: "NO_PROXY",
    meaning: "Hosts that are reached without a proxy, separated by commas: names (which include \
              their subdomains), addresses and networks, such as github.corp.example,10.0.0.0/8; \
              * for all hosts.",
    default: "",
};

/// The endpoint of the language model.
pub const LLM_URL: Variable = Variable {
    name: "LLM_URL",
    meaning: "The endpoint of a language model with the chat completions API of OpenAI, such as \
              https://api.openai.com/v1 or http://127.0.0.1:11434/v1. Tools use it if the client \
              offers no model. Has to be https unless it is a loopback address. The texts that a \
              tool works on are sent there.",
    default: "",
};

/// The name of the language model.
pub const LLM_MODEL: Variable = Variable {
    name: "LLM_MODEL",
    meaning: "The name of the model at LLM_URL. LLM_URL and LLM_MODEL have to be set together.",
    default: "",
};

/// The key for the language model.
pub const LLM_API_KEY: Variable = Variable {
    name: "LLM_API_KEY",
    meaning: "The key for LLM_URL, sent as a bearer token, if the endpoint requires one.",
    default: "",
};

/// Whether clients can only read.
pub const READ_ONLY: Variable = Variable {
    name: "READ_ONLY",
    meaning: "true: clients see and can call only the tools that change nothing. Jobs that were \
              started before still run.",
    default: "false",
};

/// The number of trusted proxies in front of the server.
pub const TRUSTED_PROXY_HOPS: Variable = Variable {
    name: "TRUSTED_PROXY_HOPS",
    meaning: "The number of your own proxies in front of the server, 0 to 10: the client's \
              address is that many entries from the right in X-Forwarded-For. If PUBLIC_URL is \
              not a loopback address, the default is 1.",
    default: "0",
};

/// The rate limit per user.
pub const RATE_LIMIT_PER_MINUTE: Variable = Variable {
    name: "RATE_LIMIT_PER_MINUTE",
    meaning: "The number of calls per user and minute, over all clients and instances, up to \
              100000; 0 means no limit. Requests to connect (initialize, the first page of each \
              list, …) have a separate quota, ten times as large and at least 120; further pages \
              of lists and task status requests have a third one, ten times as large.",
    default: "120",
};

/// The networks that are exempt from rate limits.
pub const UNLIMITED_NETWORKS: Variable = Variable {
    name: "UNLIMITED_NETWORKS",
    meaning: "Networks that are exempt from the rate limits on sign-in, registration and failed \
              requests, separated by commas, such as 192.0.2.0/24, 2001:db8::/32. Meant for \
              services through which many users connect from few addresses.",
    default: "",
};

/// The maximum number of unfinished jobs per user.
pub const UNFINISHED_JOBS_PER_PERSON: Variable = Variable {
    name: "UNFINISHED_JOBS_PER_PERSON",
    meaning: "The maximum number of unfinished jobs per user, up to 100000. The account page shows \
              both limits for jobs.",
    default: "1000",
};

/// The maximum size of the arguments of all unfinished jobs of a user.
pub const JOB_MEGABYTES_PER_PERSON: Variable = Variable {
    name: "JOB_MEGABYTES_PER_PERSON",
    meaning: "The maximum size of the arguments of all unfinished jobs of a user, in megabytes, from 8 \
              to 100000. The arguments of a job are deleted when it ends.",
    default: "64",
};

/// The lifetime of access tokens.
pub const ACCESS_TOKEN_TTL: Variable = Variable {
    name: "ACCESS_TOKEN_TTL",
    meaning: "The lifetime of an access token, from 1m to 1h.",
    default: "30m",
};

/// Whether tokens are bound to a key of the client.
pub const DPOP: Variable = Variable {
    name: "DPOP",
    meaning: "Whether tokens are bound to a key of the client (DPoP, RFC 9449), so that a copied token \
              is useless: off, allowed (for clients that support it) or required (no other client \
              can connect). See docs/dpop.md before you change it.",
    default: "off",
};

/// The idle lifetime of MCP sessions.
pub const SESSION_TTL: Variable = Variable {
    name: "SESSION_TTL",
    meaning: "How long an MCP session is kept after its last request, from 1m to 30d.",
    default: "24h",
};

/// The retention of the audit log.
pub const AUDIT_RETENTION: Variable = Variable {
    name: "AUDIT_RETENTION",
    meaning: "How long an entry of the audit log is kept, from 1d to 3650d. An entry takes about \
              300 bytes; every token refresh adds one.",
    default: "400d",
};

/// The retention of ended grants.
pub const ENDED_GRANT_RETENTION: Variable = Variable {
    name: "ENDED_GRANT_RETENTION",
    meaning: "How long an ended grant (a connection of an app) is kept with its refresh tokens, \
              from 2d to 365d, so that later use of a stolen token is detected. A grant lasts at \
              most 90 days, so refresh tokens are kept for at most 90 days longer than this.",
    default: "30d",
};

/// The time limit of a shutdown.
pub const SHUTDOWN_TIMEOUT: Variable = Variable {
    name: "SHUTDOWN_TIMEOUT",
    meaning: "How long running calls may take to finish after SIGTERM, from 1s to 5m. Keep it \
              below the time after which the platform kills the process.",
    default: "25s",
};

/// The number of jobs that a worker runs at the same time.
pub const WORKER_CONCURRENCY: Variable = Variable {
    name: "WORKER_CONCURRENCY",
    meaning: "The number of jobs that one worker runs at the same time, 1 to 1000. A quarter of \
              these slots is reserved for users who have no job running on this worker.",
    default: "16",
};

/// The port of a worker's probes and metrics.
pub const WORKER_PORT: Variable = Variable {
    name: "WORKER_PORT",
    meaning: "The TCP port, at the address HOST, at which a worker serves /livez, /healthz and \
              /metrics without authentication: keep it private.",
    default: "8081",
};

/// The log level.
pub const LOG: Variable = Variable {
    name: "LOG",
    meaning: "The log level: error, warn, info, debug or trace; also per module, as in \
              info,oauth=debug. No level logs secrets or the content of users.",
    default: "info",
};

/// The log format.
pub const LOG_FORMAT: Variable = Variable {
    name: "LOG_FORMAT",
    meaning: "The log format: pretty or json. If PUBLIC_URL is not a loopback address, the \
              default is json.",
    default: "pretty",
};

/// The port of the metrics listener.
pub const METRICS_PORT: Variable = Variable {
    name: "METRICS_PORT",
    meaning: "The TCP port of a second listener, at the address HOST, that serves GET /metrics \
              without authentication: keep it private. Default: no second listener.",
    default: "",
};

/// The token for metrics on the public port.
pub const METRICS_TOKEN: Variable = Variable {
    name: "METRICS_TOKEN",
    meaning: "A bearer token, at least 32 bytes, with which GET /metrics is also served on the \
              public port. Default: the public port has no /metrics (404).",
    default: "",
};

/// The address of the trace collector.
pub const OTEL_EXPORTER_OTLP_ENDPOINT: Variable = Variable {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    meaning: "The address of a collector that receives traces by OTLP over HTTP with protobuf, \
              such as http://localhost:4318; /v1/traces is appended. Default: no traces.",
    default: "",
};

/// Headers for the trace collector.
pub const OTEL_EXPORTER_OTLP_HEADERS: Variable = Variable {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    meaning: "Headers for the collector, as name=value pairs separated by commas, such as \
              api-key=secret.",
    default: "",
};

/// The share of traces that is kept.
pub const OTEL_TRACES_SAMPLER_ARG: Variable = Variable {
    name: "OTEL_TRACES_SAMPLER_ARG",
    meaning: "The share of traces that is kept, from 0 to 1. The trace id decides, so all \
              processes keep the same traces; the sampling flag of the caller is ignored.",
    default: "1",
};

/// The commit of the running version.
pub const RENDER_GIT_COMMIT: Variable = Variable {
    name: "RENDER_GIT_COMMIT",
    meaning: "The commit of the running version, for the metric build_info and the deploy \
              marks in dashboards. Render sets it.",
    default: "",
};
