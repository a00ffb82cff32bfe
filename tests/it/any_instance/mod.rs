//! Any instance serves any request, and none is missed when it goes: three instances, each a process
//! of its own, that share nothing but Redis and the database.
//!
//! What is promised when something is away, and where each promise is proved:
//!
//! | gone | what still works | what is refused, clearly | here, or in another module |
//! |---|---|---|---|
//! | Redis | modern calls, `/token`, `/revoke` | sessions: 503 with `Retry-After` | [`outages`]: `without_redis_modern_calls_go_on_and_sessions_are_told_to_wait` |
//! | | jobs, by polling | new sign-ins: 503 | [`outages`]: `without_redis_jobs_run_and_sign_ins_wait`; every step of a sign-in: `oauth::anywhere` |
//! | | limits, each instance for itself | | `limits::without_redis_each_instance_counts_for_itself_until_it_is_back` |
//! | Redis, for a moment | every stream, without a gap | | [`outages`]: `no_event_is_lost_when_the_connections_to_redis_are_cut` |
//! | what Redis held | everything, from a new handshake on | sessions: 404 | [`outages`]: `when_redis_lost_its_data_clients_begin_anew_and_everything_works` |
//! | PostgreSQL | tokens, lists, open streams | tools: what to do about it; `/token`, `/healthz`: 503 | [`outages`]: `without_the_database_lists_and_streams_go_on_and_the_rest_says_so` |
//! | PostgreSQL, for a moment | jobs that are being made or cancelled: each once | calls: try again | `jobs::outages` |
//! | PostgreSQL or Redis, without a word | everything, over new connections | while those are silent, too: calls, within seconds | [`silence`] |
//! | a worker | tools that are no jobs; its jobs, once its lease has ended | | [`workers`]: `a_job_of_a_lost_worker_goes_on_from_its_checkpoint` |
//! | a worker, for a while | its jobs, elsewhere; what it writes afterwards is void | | [`workers`]: `a_worker_that_was_only_slow_adds_nothing` |
//! | an instance | its sessions, streams, calls and questions, on the others | calls that may have taken effect | [`sessions`], [`streams`], [`questions`] |
//! | two instances at once | the same, on the third | | [`streams`]: `two_instances_that_die_at_once_are_missed_by_nobody` |
//! | all of them, one by one | every call, event and job | | [`draining`]: `a_rolling_restart_under_load_loses_no_call_no_event_and_no_job` |
//! | GitHub | whoever is signed in | new sign-ins: `temporarily_unavailable` | [`outages`]: `without_github_those_who_are_signed_in_go_on_and_others_are_told` |

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
    client::{Event, Modern},
    schema::Revision,
};

const REVISION: Revision = Revision::November2025;

/// What events say, in short: the progress, the text of an answer, or the code of an error.
fn told(events: &[Event]) -> Vec<String> {
    let messages = events.iter().filter_map(|event| event.message.as_ref());
    messages
        .map(|message| {
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

/// Looks at a task until it has ended.
async fn ended(client: &Modern, task: &Value) -> Value {
    tests::eventually("the task ends", async || {
        let answer = client.call("tasks/get", json!({ "taskId": task })).await;
        let ended = ["completed", "failed", "cancelled"].map(Value::from);
        ended.contains(&answer.result()["status"]).then(|| answer.result().clone())
    })
    .await
}
