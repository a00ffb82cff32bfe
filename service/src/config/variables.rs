//! Every variable of the environment: its name, what it means, and what holds without it.

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
    CLIENT_METADATA_DOCUMENTS,
    CLIENT_DOCUMENTS,
    HTTPS_PROXY,
    HTTP_PROXY,
    NO_PROXY,
    LLM_URL,
    LLM_MODEL,
    LLM_API_KEY,
    TRUSTED_PROXY_HOPS,
    RATE_LIMIT_PER_MINUTE,
    UNLIMITED_NETWORKS,
    NOTES_PER_PERSON,
    MEGABYTES_PER_PERSON,
    UNFINISHED_JOBS_PER_PERSON,
    JOB_MEGABYTES_PER_PERSON,
    ACCESS_TOKEN_TTL,
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

/// Where clients reach us.
pub const PUBLIC_URL: Variable = Variable {
    name: "PUBLIC_URL",
    meaning: "Where clients reach the server: scheme and host, without a path. It names this server \
              in every access token, so a change signs everybody out. Anything but a loopback \
              address has to be https, and makes DATABASE_URL, \
              REDIS_URL, JWT_SIGNING_SECRET and the GITHUB_CLIENT_ variables mandatory.",
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

/// Where the rest is that instances share.
pub const REDIS_URL: Variable = Variable {
    name: "REDIS_URL",
    meaning: "Redis 7 or Valkey 8, one server or a cluster, as redis:// or rediss://: sessions, \
              streams, signals, half-done sign-ins and rate limits. With a public URL that is not a \
              loopback address it is mandatory; without it they end with the process.",
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
              time; tokens that were already issued stay valid. Other keys are derived from it, too: \
              keep the old value behind the new one for 90 days, as new,old, so that what was sealed \
              under it can still be read. Without it, one is generated in DATA_DIR.",
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
              another account that takes over the name cannot. Without it, or with *, everybody may. An \
              account that is removed from the list loses all access as soon as the first server \
              with the new list starts.",
    default: "*",
};

/// Who may sign in, by membership.
pub const ALLOWED_GITHUB_ORG: Variable = Variable {
    name: "ALLOWED_GITHUB_ORG",
    meaning: "The GitHub organization whose active members may sign in. Asks people for the \
              permission read:org, and keeps their GitHub tokens, sealed, to check the membership \
              again. With ALLOWED_GITHUB_LOGINS as well, both must hold.",
    default: "",
};

/// What seals GitHub's tokens.
pub const DATA_KEYS: Variable = Variable {
    name: "DATA_KEYS",
    meaning: "Seals the GitHub tokens that membership is checked with: secrets of at least 32 bytes \
              each, separated by commas. The first one seals, all of them open, so a new one goes \
              to the front. Without it, a key derived from JWT_SIGNING_SECRET seals them; that key \
              still opens them once DATA_KEYS is set.",
    default: "",
};

/// Which programs a code may be sent to besides web sites.
pub const REDIRECT_SCHEMES: Variable = Variable {
    name: "REDIRECT_SCHEMES",
    meaning: "URI schemes of further programs that clients may redirect to, separated by commas, \
              such as com.example.app. Those of well-known clients are always allowed: claude, \
              cursor, vscode, windsurf, zed, jetbrains, raycast, warp and others.",
    default: "",
};

/// Clients that we vouch for.
pub const OAUTH_CLIENTS: Variable = Variable {
    name: "OAUTH_CLIENTS",
    meaning: "Clients that need not register: a JSON array of objects with client_id, client_name \
              and redirect_uris, and if need be client_secret (at least 32 bytes) and scope.",
    default: "",
};

/// Whether clients may name a document that says who they are.
pub const CLIENT_METADATA_DOCUMENTS: Variable = Variable {
    name: "CLIENT_METADATA_DOCUMENTS",
    meaning: "Whether a client may be identified by a metadata document that this server fetches \
              from the client's site: on or off. Turn it off where the server has no way to the \
              internet: clients then register instead. See docs/closed-network.md.",
    default: "on",
};

/// Documents that need not be fetched.
pub const CLIENT_DOCUMENTS: Variable = Variable {
    name: "CLIENT_DOCUMENTS",
    meaning: "Client metadata documents that need not be fetched, whatever \
              CLIENT_METADATA_DOCUMENTS says: one JSON document or an array of them, or the path of \
              a file that holds that.",
    default: "",
};

/// The proxy for https addresses.
pub const HTTPS_PROXY: Variable = Variable {
    name: "HTTPS_PROXY",
    meaning: "The proxy for requests of this server to https addresses (GitHub, documents of \
              clients, imports, LLM_URL, traces), as http://user:password@host:port; it has to take \
              CONNECT. This machine is always reached directly. The lower-case names of this and \
              the next two variables work as well. See docs/closed-network.md.",
    default: "",
};

/// The proxy for plain http addresses.
pub const HTTP_PROXY: Variable = Variable {
    name: "HTTP_PROXY",
    meaning: "The proxy for requests of this server to plain http addresses, such as that of a \
              collector of traces.",
    default: "",
};

/// What is reached without a proxy.
pub const NO_PROXY: Variable = Variable {
    name: "NO_PROXY",
    meaning: "Hosts that are reached without a proxy, separated by commas: names, which stand for \
              everything below them as well, addresses and networks, such as \
              github.corp.example,10.0.0.0/8; * for all.",
    default: "",
};

/// Which endpoint summarizes.
pub const LLM_URL: Variable = Variable {
    name: "LLM_URL",
    meaning: "The endpoint of a language model that speaks the chat completions of OpenAI, such as \
              https://api.openai.com/v1 or http://127.0.0.1:11434/v1, for notes_digest when the \
              client has no model to offer. Has to be https unless it is a loopback address. The \
              texts of notes are sent there.",
    default: "",
};

/// Which model summarizes.
pub const LLM_MODEL: Variable = Variable {
    name: "LLM_MODEL",
    meaning: "The name of the model at LLM_URL. The two belong together.",
    default: "",
};

/// How we prove that we may ask it.
pub const LLM_API_KEY: Variable = Variable {
    name: "LLM_API_KEY",
    meaning: "The key for LLM_URL, sent as a bearer token, if it wants one.",
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

/// How much one person may ask.
pub const RATE_LIMIT_PER_MINUTE: Variable = Variable {
    name: "RATE_LIMIT_PER_MINUTE",
    meaning: "How many calls one person may make within a minute, over all clients and instances, up \
              to 100000; 0 for any number. What a client sends to connect has a quota of its own, \
              ten times as large and at least 120; so have further pages of lists and looks at tasks.",
    default: "120",
};

/// Whom no limit applies to.
pub const UNLIMITED_NETWORKS: Variable = Variable {
    name: "UNLIMITED_NETWORKS",
    meaning: "Networks that may sign in, register and fail as often as they like, separated by \
              commas, such as 192.0.2.0/24, 2001:db8::/32: those of services from which many people \
              come with few addresses.",
    default: "",
};

/// How many notes one person may keep.
pub const NOTES_PER_PERSON: Variable = Variable {
    name: "NOTES_PER_PERSON",
    meaning: "How many notes one person may keep, up to 10000000. Who has more, because it was \
              lowered, can read, export and delete them. The account page shows both limits.",
    default: "50000",
};

/// How much one person may keep.
pub const MEGABYTES_PER_PERSON: Variable = Variable {
    name: "MEGABYTES_PER_PERSON",
    meaning: "How many megabytes the titles, tags and texts of one person's notes may be together, up \
              to 1000000. In the database they take about three times as much with their index.",
    default: "500",
};

/// How many unfinished jobs one person may have.
pub const UNFINISHED_JOBS_PER_PERSON: Variable = Variable {
    name: "UNFINISHED_JOBS_PER_PERSON",
    meaning: "How many jobs of one person may be unfinished at once, up to 100000. The account page \
              shows both limits for jobs.",
    default: "1000",
};

/// How large the arguments of one person's unfinished jobs may be.
pub const JOB_MEGABYTES_PER_PERSON: Variable = Variable {
    name: "JOB_MEGABYTES_PER_PERSON",
    meaning: "How many megabytes the arguments of one person's unfinished jobs may take together, from \
              8 to 100000. They are deleted when a job ends.",
    default: "64",
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

/// How long the audit log is kept.
pub const AUDIT_RETENTION: Variable = Variable {
    name: "AUDIT_RETENTION",
    meaning: "How long an entry of the audit log is kept, from 1d to 3650d. About 300 bytes each; a \
              refresh of a token is one.",
    default: "400d",
};

/// How long ended grants are kept.
pub const ENDED_GRANT_RETENTION: Variable = Variable {
    name: "ENDED_GRANT_RETENTION",
    meaning: "How long a connection of an app is kept after it has ended, with its refresh tokens, from \
              2d to 365d: a stolen token that is used later is still recognized. A connection lasts 90 \
              days at most, so refresh tokens are kept for at most 90 days longer than this.",
    default: "30d",
};

/// How long a shutdown may take.
pub const SHUTDOWN_TIMEOUT: Variable = Variable {
    name: "SHUTDOWN_TIMEOUT",
    meaning: "How long running calls may take to finish after a request to stop, from 1s to 5m. \
              Keep it below the time after which the platform kills the process.",
    default: "25s",
};

/// How many jobs at once.
pub const WORKER_CONCURRENCY: Variable = Variable {
    name: "WORKER_CONCURRENCY",
    meaning: "How many jobs one worker runs at once, 1 to 1000. A quarter of that is kept for people \
              who have nothing running there.",
    default: "16",
};

/// Where a worker answers probes.
pub const WORKER_PORT: Variable = Variable {
    name: "WORKER_PORT",
    meaning: "The TCP port, on the address of HOST, on which a worker process answers /livez, \
              /healthz and /metrics to anybody: keep it private.",
    default: "8081",
};

/// What is logged.
pub const LOG: Variable = Variable {
    name: "LOG",
    meaning: "What is logged: error, warn, info, debug or trace, also for each module, as in \
              info,service=debug. No level shows a secret or the text of a note.",
    default: "info",
};

/// How it is logged.
pub const LOG_FORMAT: Variable = Variable {
    name: "LOG_FORMAT",
    meaning: "How it is logged: pretty for people or json for machines. With a public URL that is \
              not a loopback address the default is json.",
    default: "pretty",
};

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

/// Where Prometheus asks.
pub const METRICS_PORT: Variable = Variable {
    name: "METRICS_PORT",
    meaning: "The TCP port of a second listener, on the address of HOST, that answers GET /metrics \
              to anybody: keep it private. Without it there is no such listener.",
    default: "",
};

/// What opens the metrics on the public port.
pub const METRICS_TOKEN: Variable = Variable {
    name: "METRICS_TOKEN",
    meaning: "Shows /metrics on the public port, too, to whoever sends this as a bearer token: at \
              least 32 bytes. Without it the path is not found there.",
    default: "",
};

/// Where traces go.
pub const OTEL_EXPORTER_OTLP_ENDPOINT: Variable = Variable {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    meaning: "Where traces are sent, by OTLP over HTTP with protobuf: the address of a collector, \
              such as http://localhost:4318, to which /v1/traces is added. Without it nothing is \
              traced.",
    default: "",
};

/// What is sent along with traces.
pub const OTEL_EXPORTER_OTLP_HEADERS: Variable = Variable {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    meaning: "Headers for the collector, as name=value pairs separated by commas, such as \
              api-key=secret.",
    default: "",
};

/// How much is traced.
pub const OTEL_TRACES_SAMPLER_ARG: Variable = Variable {
    name: "OTEL_TRACES_SAMPLER_ARG",
    meaning: "The part of all traces that is kept, from 0 to 1. The id of a trace decides, so that \
              all processes keep the same ones; what a caller wishes does not.",
    default: "1",
};

/// Which commit runs.
pub const RENDER_GIT_COMMIT: Variable = Variable {
    name: "RENDER_GIT_COMMIT",
    meaning: "The commit that runs, for the metric notes_build_info, and through it for the marks of \
              deploys in dashboards. Render sets it.",
    default: "",
};
