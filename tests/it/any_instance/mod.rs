//! Any instance serves any request, and none is missed when it goes: three instances, each a process
//! of its own, that share nothing but Redis and the database.

mod cancel;
mod changes;
mod deploys;
mod draining;
mod outages;
mod questions;
mod sessions;
mod streams;

use serde_json::{Value, json};
use tests::{
    client::{Event, Stream},
    schema::Revision,
};

const REVISION: Revision = Revision::November2025;

/// A call of a gate that takes steps and tells of each.
fn steps(tool: &str, gate: &str, steps: u32) -> Value {
    json!({
        "name": tool,
        "arguments": { "gate": gate, "steps": steps },
        "_meta": { "progressToken": gate },
    })
}

/// Reads up to and with the next message.
async fn next_message(stream: &mut Stream) -> Event {
    loop {
        let event = stream.next().await.expect("the stream goes on");
        if event.message.is_some() {
            return event;
        }
    }
}

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
