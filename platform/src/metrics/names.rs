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

/// The values of `level`.
pub const LOG_LEVELS: [&str; 2] = ["warn", "error"];

macro_rules! catalogue {
    ($(
        $(#[$meta:meta])*
        $constant:ident: $kind:ident $unit:ident $name:literal [$($label:literal),*] $help:literal;
    )*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric<{ how_many(&[$($label),*]) }> = Metric {
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
const fn how_many(labels: &[&str]) -> usize {
    labels.len()
}

catalogue! {
    // HTTP
    HTTP_REQUEST_DURATION: Histogram Seconds "http_server_request_duration_seconds"
        ["http_route", "http_request_method", "http_response_status_code"]
        "Time until an answer began, by the route that gave it; its count is that of requests.";
    HTTP_FAILURES: Counter Count "http_server_failures_total" ["http_route", "shown_as"]
        "Requests that failed for a reason on our side, as a 5xx, in a 2xx or 3xx, or in a stream.";
    HTTP_ACTIVE_REQUESTS: Gauge Count "http_server_active_requests" []
        "Requests that wait for the beginning of their answer.";

    // MCP
    MCP_OPERATION_DURATION: Histogram Seconds "mcp_server_operation_duration_seconds"
        ["mcp_method_name", "gen_ai_tool_name", "era", "outcome"]
        "Time until an MCP request was answered; for a streamed answer, until its stream ended.";
    MCP_SESSION_DURATION: Histogram Seconds "mcp_server_session_duration_seconds" []
        "Time from initialize to DELETE, of legacy sessions that their clients ended.";
    MCP_SESSIONS: Counter Count "mcp_sessions_total" ["event"]
        "Legacy sessions created, deleted, and asked for in vain.";
    MCP_SESSIONS_OPEN: Gauge Count "mcp_sessions_open" []
        "Legacy sessions in the shared store, by a sample of its keys.";
    MCP_STREAMS: Counter Count "mcp_streams_total" ["kind"]
        "Event streams that were opened.";
    MCP_STREAMS_OPEN: Gauge Count "mcp_streams_open" ["kind"]
        "Event streams that are open in this instance.";
    MCP_STREAM_DURATION: Histogram Seconds "mcp_stream_duration_seconds" ["kind"]
        "How long event streams were open.";
    MCP_STREAM_RESUMES: Counter Count "mcp_stream_resumes_total" []
        "Requests that came back for the rest of a stream, with Last-Event-ID.";
    MCP_STREAM_EVENTS: Counter Count "mcp_stream_events_total" ["event"]
        "Events of legacy streams: appended to a log, sent, sent again, missed, and lost.";
    MCP_CALLS_TAKEN_OVER: Counter Count "mcp_calls_taken_over_total" []
        "Legacy calls whose instance went silent, so that another one answered for it.";
    MCP_QUESTIONS: Counter Count "mcp_questions_total" ["event"]
        "Questions to clients: asked, answered, answered too late, and withdrawn.";
    MCP_CANCELLATIONS: Counter Count "mcp_cancellations_total" ["era"]
        "Calls that clients gave up: by a notification, or by leaving an answer unread.";

    // Sign-in
    OAUTH_REQUESTS: Counter Count "oauth_requests_total" ["endpoint", "grant_type", "error"]
        "Requests of clients to the OAuth endpoints, by error code.";
    OAUTH_SIGN_INS: Counter Count "oauth_sign_ins_total" ["outcome"]
        "Persons who came back from the identity provider, by what came of it.";
    OAUTH_EVENTS: Counter Count "oauth_events_total" ["event"]
        "Entries of the audit log: sign-ins, consents, tokens, replays, revocations, keys.";
    OAUTH_GATE_REFUSALS: Counter Count "oauth_gate_refusals_total" ["reason"]
        "People who were not let in, or no longer.";
    OAUTH_SIGNING_KEYS: Gauge Count "oauth_signing_keys" ["state"]
        "Keys for access tokens by state; `signing` is the one that this instance signs with.";
    OAUTH_SIGNING_KEY_AGE: Gauge Seconds "oauth_signing_key_age_seconds" ["state"]
        "Age of the oldest key in each state that is still trusted.";
    RATE_LIMIT_DECISIONS: Counter Count "rate_limit_decisions_total" ["bucket", "verdict"]
        "What rate limits said.";
    GITHUB_REQUEST_DURATION: Histogram Seconds "github_request_duration_seconds" ["outcome"]
        "Time of requests to GitHub; `refused` is a status that no rule of ours expects.";
    GITHUB_RATE_LIMIT_REMAINING: Gauge Count "github_rate_limit_remaining" []
        "What GitHub last said is left of the quota of the token that was used.";

    // Database
    DB_OPERATION_DURATION: Histogram Seconds "db_client_operation_duration_seconds" ["outcome"]
        "Time of SQL statements, including the wait for a connection.";
    DB_CONNECTIONS: Gauge Count "db_client_connections" ["state"]
        "Connections of this process' pool.";
    DB_CONNECTIONS_MAX: Gauge Count "db_client_connection_max" []
        "The size of this process' pool.";
    DB_CONNECTION_WAIT: Histogram Seconds "db_client_connection_wait_time_seconds" []
        "How long requests waited for a connection of the pool.";
    DB_CONNECTION_TIMEOUTS: Counter Count "db_client_connection_timeouts_total" []
        "Requests that got no connection of the pool in time.";
    DB_SIZE: Gauge Bytes "database_size_bytes" []
        "Size of the database on disk.";
    DB_CLOCK_OFFSET: Gauge Seconds "database_clock_offset_seconds" []
        "How far the clock of the database is ahead of ours.";
    DB_PING: Gauge Seconds "database_ping_seconds" []
        "Time of a trivial statement, just now.";
    PG_CONNECTIONS: Gauge Count "postgres_connections" ["state"]
        "Connections of all clients of the Postgres server.";
    PG_MAX_CONNECTIONS: Gauge Count "postgres_max_connections" []
        "How many connections the Postgres server takes from clients.";
    PG_LONGEST_TRANSACTION: Gauge Seconds "postgres_longest_transaction_seconds" []
        "Age of the oldest transaction that is open.";
    PG_TRANSACTIONS: Counter Count "postgres_transactions_total" ["outcome"]
        "Transactions of the database since its statistics began.";
    PG_BLOCKS: Counter Count "postgres_blocks_total" ["source"]
        "Blocks that the database took from its cache or read from disk.";
    PG_DEADLOCKS: Counter Count "postgres_deadlocks_total" []
        "Deadlocks in the database since its statistics began.";

    // Jobs. The values from the database are the same in every process that exports them: take the
    // maximum, never the sum.
    JOBS_ENDED: Counter Count "jobs_ended_total" ["tool", "outcome"]
        "Jobs that ended, in all processes. From the database: take max, not sum.";
    JOB_ATTEMPTS: Counter Count "job_attempts_total" ["tool", "outcome"]
        "Attempts at jobs that ended, in all processes. From the database: take max, not sum.";
    JOBS_UNFINISHED: Gauge Count "jobs_unfinished" ["status"]
        "Jobs that have not ended. From the database: take max, not sum.";
    JOBS_OVERDUE: Gauge Seconds "jobs_overdue_seconds" []
        "How long the oldest job that could run has waited. From the database: take max.";
    WORKER_SILENCE: Gauge Seconds "worker_silence_seconds" []
        "How long no worker has run a schedule; +Inf if none ever has. From the database.";
    JOB_ATTEMPT_DURATION: Histogram Seconds "job_attempt_duration_seconds" ["tool", "outcome"]
        "Time of attempts at jobs in this worker.";
    JOB_WAIT: Histogram Seconds "job_wait_seconds" []
        "How long jobs that this worker began could have run before.";
    WORKER_JOBS: Gauge Count "worker_jobs" []
        "Jobs that this worker runs now.";
    WORKER_PLACES: Gauge Count "worker_places" []
        "How many jobs this worker runs at once, at most.";
    WORKER_CLAIMS: Counter Count "worker_claims_total" ["found"]
        "Looks of this worker at the queue, by what it found.";
    SCHEDULE_RUNS: Counter Count "schedule_runs_total" ["schedule", "outcome"]
        "Runs of schedules, from the database: take max. `elsewhere`: left to another worker.";

    // Redis
    REDIS_OPERATION_DURATION: Histogram Seconds "redis_client_operation_duration_seconds"
        ["operation", "outcome"]
        "Time of operations of the shared stores: each is one command, script or pipeline.";
    REDIS_PING: Gauge Seconds "redis_ping_seconds" []
        "Round trip to Redis, just now.";
    REDIS_RECONNECTS: Counter Count "redis_client_reconnects_total" []
        "How often the connection that samples Redis had to be made anew.";
    REDIS_MEMORY: Gauge Bytes "redis_memory_used_bytes" []
        "Memory that Redis uses.";
    REDIS_MEMORY_MAX: Gauge Bytes "redis_memory_max_bytes" []
        "Memory that Redis may use; 0 means all there is.";
    REDIS_CLIENTS: Gauge Count "redis_connected_clients" []
        "Connections of all clients of the Redis server.";
    REDIS_KEYS: Gauge Count "redis_keys" []
        "Keys in the database of Redis that we use.";
    REDIS_COMMANDS: Counter Count "redis_commands_total" []
        "Commands that the Redis server has processed, of all clients.";
    REDIS_CONNECTIONS: Counter Count "redis_connections_received_total" []
        "Connections that the Redis server has accepted, of all clients.";
    REDIS_EVICTED: Counter Count "redis_evicted_keys_total" []
        "Keys that Redis threw away because its memory was full. Has to stay 0.";
    REDIS_FULL: Counter Count "redis_refused_writes_total" []
        "Writes that Redis refused because its memory was full, of all clients. Has to stay 0.";
    REDIS_REJECTED: Counter Count "redis_rejected_connections_total" []
        "Connections that Redis refused because there were too many.";

    // The process
    UP: Gauge Count "dependency_up" ["dependency"]
        "Whether the database and Redis answered just now.";
    BUILD_INFO: Gauge Count "build_info" ["version", "revision"]
        "Always 1; the labels say what runs.";
    PANICS: Counter Count "panics_total" []
        "Panics. Each is a defect.";
    LOG_EVENTS: Counter Count "log_events_total" ["level"]
        "Lines of the log that somebody should read.";
    TASKS: Gauge Count "tokio_alive_tasks" []
        "Tasks of the runtime that have not ended.";
    QUEUE_DEPTH: Gauge Count "tokio_global_queue_depth" []
        "Tasks that wait for a thread of the runtime. Stays near 0 while the CPU keeps up.";
    // Set by metrics-process.
    PROCESS_CPU: Counter Seconds "process_cpu_seconds_total" []
        "CPU time of this process.";
    PROCESS_FDS: Gauge Count "process_open_fds" []
        "File descriptors that are open.";
    PROCESS_MAX_FDS: Gauge Count "process_max_fds" []
        "How many file descriptors may be open.";
    PROCESS_MEMORY: Gauge Bytes "process_resident_memory_bytes" []
        "Memory of this process.";
    PROCESS_VIRTUAL_MEMORY: Gauge Bytes "process_virtual_memory_bytes" []
        "Address space of this process.";
    PROCESS_VIRTUAL_MEMORY_MAX: Gauge Bytes "process_virtual_memory_max_bytes" []
        "How much address space this process may have.";
    PROCESS_START: Gauge Seconds "process_start_time_seconds" []
        "When this process began, in seconds since the Unix epoch.";
    PROCESS_THREADS: Gauge Count "process_threads" []
        "Threads of this process.";
}

/// Histograms with the buckets of [`super::LONG_SECONDS`], for what may stay open for hours.
pub(super) const LONG: [&str; 2] =
    ["mcp_server_session_duration_seconds", "mcp_stream_duration_seconds"];
