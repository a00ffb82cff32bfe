//! All metrics: name, type, unit, labels and help. `grafana/README.md` lists the panels and alerts
//! that use them.

use ::metrics::Unit;

use super::{About, Kind, Metric};

/// The label value for a response without an error.
pub const NO_ERROR: &str = "none";

/// The values of `verdict`.
pub const VERDICTS: [&str; 2] = ["allowed", "refused"];

/// The values of `era`.
pub const ERAS: [&str; 2] = ["modern", "legacy"];

/// The values of `kind` for streams: the response to a call, the stream of `subscriptions/listen`,
/// and the stream of a GET.
pub const STREAM_KINDS: [&str; 3] = ["call", "listen", "get"];

/// The values of `event` for events of legacy streams. `missed`: no longer in the log when the
/// client resumed the stream; `lost`: removed from the log while the client was connected.
pub const STREAM_EVENT_KINDS: [&str; 5] = ["appended", "sent", "replayed", "missed", "lost"];

/// The values of `event` for sessions.
pub const SESSION_EVENT_KINDS: [&str; 4] = ["created", "deleted", "evicted", "unknown"];

/// The values of `event` for questions to the client.
pub const QUESTION_EVENT_KINDS: [&str; 4] = ["asked", "answered", "late", "withdrawn"];

/// The values of `status` for unfinished jobs.
pub const JOB_STATUSES: [&str; 4] = ["queued", "running", "waiting", "input_required"];

/// The values of `outcome` for jobs. `tool_error`: a result in which the tool reports an error;
/// `failed`: there is no result.
pub const JOB_OUTCOMES: [&str; 4] = ["ok", "tool_error", "failed", "cancelled"];

/// The values of `outcome` for attempts at jobs: ended with an answer, with questions to the
/// client, with child jobs to wait for, or with a transient error; released by a stopping worker;
/// cancelled; lost with a worker that died.
pub const JOB_ENDS: [&str; 7] =
    ["answered", "input_required", "children", "retry", "released", "cancelled", "lost"];

/// The value of `outcome` for an attempt that was cancelled or lost, in the metrics of the worker
/// that ran it, which cannot tell the two apart.
pub const STOPPED: &str = "stopped";

/// The values of `found` for a worker's claims.
pub const CLAIMS: [&str; 3] = ["some", "nothing", "no_answer"];

/// The value of `outcome` for a schedule that was due in this worker and had already been run by
/// another one. The other values, `ran` and `failed`, come from the database.
pub const ELSEWHERE: &str = "elsewhere";

/// The values of `reason` for content that cannot be decrypted. `damaged`: also a value that was
/// moved to another place.
pub const DECRYPTION_FAILURES: [&str; 2] = ["unknown_key", "damaged"];

/// The values of `level`.
pub const LOG_LEVELS: [&str; 2] = ["warn", "error"];

macro_rules! define_metrics {
    ($(
        $(#[$meta:meta])*
        $constant:ident: $kind:ident $unit:ident $name:literal [$($label:literal),*] $help:literal;
    )*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric<{ count(&[$($label),*]) }> = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: [$($label),*],
                help: $help,
            };
        )*

        /// All metrics.
        pub static ALL: &[About] = &[$($constant.about()),*];
    };
}

/// Counts the labels, for the type of a metric.
const fn count(labels: &[&str]) -> usize {
    labels.len()
}

define_metrics! {
    // HTTP
    HTTP_REQUEST_DURATION: Histogram Seconds "http_server_request_duration_seconds"
        ["http_route", "http_request_method", "http_response_status_code"]
        "Time from receiving an HTTP request until its response begins, by route.";
    HTTP_FAILURES: Counter Count "http_server_failures_total" ["http_route", "shown_as"]
        "HTTP requests that failed because of an error on the server's side. `shown_as`: a 5xx \
         status, an error in a 2xx or 3xx response, or an error in an event stream.";
    HTTP_ACTIVE_REQUESTS: Gauge Count "http_server_active_requests" []
        "HTTP requests in progress whose response has not begun.";

    // MCP
    MCP_OPERATION_DURATION: Histogram Seconds "mcp_server_operation_duration_seconds"
        ["mcp_method_name", "gen_ai_tool_name", "era", "outcome"]
        "Time until the response to an MCP request is complete; for an event stream, until it \
         ends.";
    MCP_SESSION_DURATION: Histogram Seconds "mcp_server_session_duration_seconds" []
        "Lifetime of legacy sessions that clients ended: from `initialize` to DELETE.";
    MCP_SESSIONS: Counter Count "mcp_sessions_total" ["event"]
        "Events of legacy sessions: created, deleted by the client, evicted, or requested but \
         unknown.";
    MCP_SESSIONS_OPEN: Gauge Count "mcp_sessions_open" []
        "Legacy sessions in the shared store, estimated from a sample of its keys.";
    MCP_STREAMS: Counter Count "mcp_streams_total" ["kind"]
        "Event streams opened, by kind.";
    MCP_STREAMS_OPEN: Gauge Count "mcp_streams_open" ["kind"]
        "Event streams open in this process, by kind.";
    MCP_STREAM_DURATION: Histogram Seconds "mcp_stream_duration_seconds" ["kind"]
        "Time for which event streams were open, by kind.";
    MCP_STREAM_RESUMES: Counter Count "mcp_stream_resumes_total" []
        "Requests that resume an event stream with Last-Event-ID.";
    MCP_STREAM_EVENTS: Counter Count "mcp_stream_events_total" ["event"]
        "Events of legacy streams: appended to a log, sent, replayed after a reconnect, missed \
         before a reconnect, or lost while connected.";
    MCP_CALLS_TAKEN_OVER: Counter Count "mcp_calls_taken_over_total" []
        "Legacy calls that another instance took over because their own instance stopped \
         responding.";
    MCP_QUESTIONS: Counter Count "mcp_questions_total" ["event"]
        "Questions to clients (elicitation, sampling, roots): asked, answered, answered too late, \
         or withdrawn.";
    MCP_CANCELLATIONS: Counter Count "mcp_cancellations_total" ["era"]
        "Calls that clients cancelled, by a notification or by disconnecting.";

    // Sign-in
    OAUTH_REQUESTS: Counter Count "oauth_requests_total" ["endpoint", "grant_type", "error"]
        "Requests to the OAuth endpoints, by OAuth error code.";
    OAUTH_SIGN_INS: Counter Count "oauth_sign_ins_total" ["outcome"]
        "Sign-ins that returned from the identity provider, by outcome.";
    OAUTH_EVENTS: Counter Count "oauth_events_total" ["event"]
        "Entries written to the audit log, by event.";
    OAUTH_GATE_REFUSALS: Counter Count "oauth_gate_refusals_total" ["reason"]
        "Users whom the access policy refused at sign-in or at a later check, by reason.";
    OAUTH_SIGNING_KEYS: Gauge Count "oauth_signing_keys" ["state"]
        "Signing keys of access tokens, by state; `signing` is the key that this process signs \
         with.";
    OAUTH_SIGNING_KEY_AGE: Gauge Seconds "oauth_signing_key_age_seconds" ["state"]
        "Age of the oldest trusted signing key in each state.";
    RATE_LIMIT_DECISIONS: Counter Count "rate_limit_decisions_total" ["bucket", "verdict"]
        "Decisions of the rate limiter, by bucket and verdict.";
    GITHUB_REQUEST_DURATION: Histogram Seconds "github_request_duration_seconds" ["outcome"]
        "Duration of requests to GitHub. Outcome `refused`: a response with an unexpected status.";
    OIDC_REQUEST_DURATION: Histogram Seconds "oidc_request_duration_seconds" ["provider", "outcome"]
        "Duration of requests to OpenID Connect providers, by configured provider. Outcome \
         `refused`: a response with an unexpected status.";
    GITHUB_RATE_LIMIT_REMAINING: Gauge Count "github_rate_limit_remaining" []
        "Requests left in GitHub's rate limit, as of its last response, for the token that was \
         used.";

    // Database
    DB_OPERATION_DURATION: Histogram Seconds "db_client_operation_duration_seconds" ["outcome"]
        "Duration of SQL statements, without the wait for a connection.";
    DB_CONNECTIONS: Gauge Count "db_client_connections" ["state"]
        "Connections in the pool of this process, by state.";
    DB_CONNECTIONS_MAX: Gauge Count "db_client_connection_max" []
        "Maximum number of connections in the pool of this process.";
    DB_CONNECTION_WAIT: Histogram Seconds "db_client_connection_wait_time_seconds" []
        "Time that statements waited for a connection from the pool.";
    DB_CONNECTION_TIMEOUTS: Counter Count "db_client_connection_timeouts_total" []
        "Statements that timed out while waiting for a connection from the pool.";
    DB_SIZE: Gauge Bytes "database_size_bytes" []
        "Size of the database on disk.";
    DB_CLOCK_OFFSET: Gauge Seconds "database_clock_offset_seconds" []
        "Offset of the database's clock from the clock of this process; positive if it is ahead.";
    DB_PING: Gauge Seconds "database_ping_seconds" []
        "Duration of a trivial SQL statement, measured at the scrape.";
    PG_CONNECTIONS: Gauge Count "postgres_connections" ["state"]
        "Connections to the PostgreSQL server from all clients, by state.";
    PG_MAX_CONNECTIONS: Gauge Count "postgres_max_connections" []
        "Maximum number of connections that the PostgreSQL server accepts from clients.";
    PG_LONGEST_TRANSACTION: Gauge Seconds "postgres_longest_transaction_seconds" []
        "Age of the oldest open transaction.";
    PG_TRANSACTIONS: Counter Count "postgres_transactions_total" ["outcome"]
        "Transactions in the database since its statistics were reset, by outcome.";
    PG_BLOCKS: Counter Count "postgres_blocks_total" ["source"]
        "Blocks that the database read, from its cache or from disk, since its statistics were \
         reset.";
    PG_DEADLOCKS: Counter Count "postgres_deadlocks_total" []
        "Deadlocks in the database since its statistics were reset.";

    // Jobs. The values from the database are the same in every process that exports them: take the
    // maximum, never the sum.
    JOBS_ENDED: Counter Count "jobs_ended_total" ["tool", "outcome"]
        "Jobs that ended, in all processes. From the database: take max, not sum.";
    JOB_ATTEMPTS: Counter Count "job_attempts_total" ["tool", "outcome"]
        "Attempts to run a job that ended, in all processes. From the database: take max, not sum.";
    JOBS_UNFINISHED: Gauge Count "jobs_unfinished" ["status"]
        "Unfinished jobs, by status. From the database: take max, not sum.";
    JOBS_OVERDUE: Gauge Seconds "jobs_overdue_seconds" []
        "Time that the oldest runnable job has waited for a worker. From the database: take max, \
         not sum.";
    WORKER_SILENCE: Gauge Seconds "worker_silence_seconds" []
        "Time since any worker last ran a schedule; +Inf if none ever has. From the database: take \
         max, not sum.";
    JOB_ATTEMPT_DURATION: Histogram Seconds "job_attempt_duration_seconds" ["tool", "outcome"]
        "Duration of attempts to run a job in this worker.";
    JOB_WAIT: Histogram Seconds "job_wait_seconds" []
        "Time from when a job could run until this worker started it.";
    WORKER_JOBS: Gauge Count "worker_jobs" []
        "Jobs running in this worker.";
    WORKER_PLACES: Gauge Count "worker_places" []
        "Maximum number of jobs that this worker runs at once.";
    WORKER_CLAIMS: Counter Count "worker_claims_total" ["found"]
        "Polls of the job queue by this worker, by result.";
    SCHEDULE_RUNS: Counter Count "schedule_runs_total" ["schedule", "outcome"]
        "Runs of schedules, from the database: take max, not sum. `elsewhere`: due in this worker, \
         but run by another one.";

    // Redis
    REDIS_OPERATION_DURATION: Histogram Seconds "redis_client_operation_duration_seconds"
        ["operation", "outcome"]
        "Duration of round trips to Redis, by the operation of the shared stores that makes them; \
         each is one command, script or pipeline.";
    REDIS_PING: Gauge Seconds "redis_ping_seconds" []
        "Round-trip time to Redis, measured at the scrape.";
    REDIS_RECONNECTS: Counter Count "redis_client_reconnects_total" []
        "Reconnects of the connection that samples Redis.";
    REDIS_MEMORY: Gauge Bytes "redis_memory_used_bytes" []
        "Memory that Redis uses.";
    REDIS_MEMORY_MAX: Gauge Bytes "redis_memory_max_bytes" []
        "Memory limit of Redis; 0 means no limit.";
    REDIS_CLIENTS: Gauge Count "redis_connected_clients" []
        "Connections to the Redis server from all clients.";
    REDIS_KEYS: Gauge Count "redis_keys" []
        "Keys in the Redis database of this program.";
    REDIS_COMMANDS: Counter Count "redis_commands_total" []
        "Commands that the Redis server has processed, from all clients.";
    REDIS_CONNECTIONS: Counter Count "redis_connections_received_total" []
        "Connections that the Redis server has accepted, from all clients.";
    REDIS_EVICTED: Counter Count "redis_evicted_keys_total" []
        "Keys that Redis evicted because its memory was full. Must stay 0.";
    REDIS_FULL: Counter Count "redis_refused_writes_total" []
        "Writes that Redis refused because its memory was full, from all clients. Must stay 0.";
    REDIS_REJECTED: Counter Count "redis_rejected_connections_total" []
        "Connections that Redis refused because its connection limit was reached.";

    // The process
    UP: Gauge Count "dependency_up" ["dependency"]
        "1 if the dependency responded at the scrape, otherwise 0.";
    BUILD_INFO: Gauge Count "build_info" ["version", "revision"]
        "Always 1; the labels are the version and the commit of the running program.";
    PANICS: Counter Count "panics_total" []
        "Panics in this process. Each is a bug.";
    CONTENT_DECRYPTION_FAILURES: Counter Count "content_decryption_failures_total" ["reason"]
        "Values with users' content, from Redis or the queue of jobs, that this process could not \
         decrypt. Must stay 0.";
    LOG_EVENTS: Counter Count "log_events_total" ["level"]
        "Log events at level WARN or ERROR.";
    TASKS: Gauge Count "tokio_alive_tasks" []
        "Tasks of the Tokio runtime that have not ended.";
    QUEUE_DEPTH: Gauge Count "tokio_global_queue_depth" []
        "Tasks in the global queue of the Tokio runtime. Near 0 unless the CPU is saturated.";
    // Set by metrics-process.
    PROCESS_CPU: Counter Seconds "process_cpu_seconds_total" []
        "User and system CPU time of this process.";
    PROCESS_FDS: Gauge Count "process_open_fds" []
        "Open file descriptors of this process.";
    PROCESS_MAX_FDS: Gauge Count "process_max_fds" []
        "Maximum number of open file descriptors of this process.";
    PROCESS_MEMORY: Gauge Bytes "process_resident_memory_bytes" []
        "Resident memory of this process.";
    PROCESS_VIRTUAL_MEMORY: Gauge Bytes "process_virtual_memory_bytes" []
        "Virtual memory of this process.";
    PROCESS_VIRTUAL_MEMORY_MAX: Gauge Bytes "process_virtual_memory_max_bytes" []
        "Maximum virtual memory of this process.";
    PROCESS_START: Gauge Seconds "process_start_time_seconds" []
        "Start time of this process, in seconds since the Unix epoch.";
    PROCESS_THREADS: Gauge Count "process_threads" []
        "Operating system threads of this process.";
}

/// Histograms with the buckets of [`super::LONG_SECONDS`], for what may stay open for hours.
pub(super) const LONG: [&str; 2] =
    ["mcp_server_session_duration_seconds", "mcp_stream_duration_seconds"];
