//! Any instance serves any request, and losing one loses nothing. Three instances run as separate processes
//! that share only Redis and the database.
//!
//! The guarantees during each outage, and the tests that prove them:
//!
//! | unavailable | still works | rejected with a clear error | test |
//! |---|---|---|---|
//! | Redis | modern calls, `/token`, `/revoke` | sessions: 503 with `Retry-After` | [`outages`]: `without_redis_modern_calls_go_on_and_sessions_are_told_to_wait` |
//! | | jobs, by polling | new sign-ins: 503 | [`outages`]: `without_redis_jobs_run_and_sign_ins_wait`; every step of a sign-in: `oauth::anywhere` |
//! | | limits, each instance for itself | | `limits::without_redis_each_instance_counts_for_itself_until_it_is_back` |
//! | Redis, briefly | every stream, without a gap | | [`outages`]: `no_event_is_lost_when_the_connections_to_redis_are_cut` |
//! | the data in Redis | everything, after a new handshake | sessions: 404 | [`outages`]: `when_redis_lost_its_data_clients_begin_anew_and_everything_works` |
//! | PostgreSQL | tokens, lists, open streams | tools: an error with advice; `/token`, `/healthz`: 503 | [`outages`]: `without_the_database_lists_and_streams_go_on_and_the_rest_says_so` |
//! | PostgreSQL, briefly | jobs that are being created or cancelled: each exactly once | calls: try again | `jobs::outages` |
//! | PostgreSQL or Redis, connections open but silent | everything, over new connections | calls, within seconds, while new connections are silent as well | [`silence`] |
//! | a worker | tools that are not jobs; its jobs, soon | | [`workers`]: `a_job_of_a_lost_worker_goes_on_from_its_checkpoint` |
//! | a worker, for a while | its jobs, at another worker; its later writes are rejected | | [`workers`]: `a_worker_that_was_only_slow_adds_nothing` |
//! | an instance | its sessions, streams, calls and questions, at the others | calls that may have taken effect | [`sessions`], [`streams`], [`questions`] |
//! | two instances at once | the same, at the third | | [`streams`]: `two_instances_that_die_at_once_are_missed_by_nobody` |
//! | all of them, one by one | every call, event and job | | [`draining`]: `a_rolling_restart_under_load_loses_no_call_no_event_and_no_job` |
//! | GitHub | users who are signed in | new sign-ins: `temporarily_unavailable` | [`outages`]: `without_github_those_who_are_signed_in_go_on_and_others_are_told` |

mod cancel;
mod changes;
mod deploys;
mod draining;
mod outages;
mod questions;
mod sessions;
mod silence;
mod streams;
mod workers;

use serde_json::{Value, json};
use tests::{
    client::{Event, Modern, restart},
    schema::Revision,
};

const REVISION: Revision = Revision::November2025;

/// Summarizes events: the progress, the text about a job that was started again, the text of a response, or the code of an error.
fn told(events: &[Event]) -> Vec<String> {
    let messages = events.iter().filter_map(|event| event.message.as_ref());
    messages
        .map(|message| {
            if let Some(text) = restart(message) {
                return text.to_owned();
            }
            if let Some(progress) = message["params"]["progress"].as_f64() {
                return progress.to_string();
            }
            if let Some(code) = message["error"]["code"].as_i64() {
                return format!("error {code}");
            }
            message["result"]["content"][0]["text"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// Polls a task until it has ended.
async fn ended(client: &Modern, task: &Value) -> Value {
    tests::eventually("the task ends", async || {
        let answer = client.call("tasks/get", json!({ "taskId": task })).await;
        let ended = ["completed", "failed", "cancelled"].map(Value::from);
        ended.contains(&answer.result()["status"]).then(|| answer.result().clone())
    })
    .await
}
