//! Properties that hold for any input: the fuzz targets of the protocol. `fuzz` searches for an input
//! that violates one, and `tests/it/corpus.rs` runs the inputs that are kept in `fuzz/corpus`.

use serde_json::Value;

use crate::{
    engine::fuzzing::{self, caller},
    json,
    question::ClientAnswer,
    seal::{self, Binding, SealKey, SealedAnswers},
    store::EventId,
};

/// The name of a target, which is also that of its folder in `fuzz/corpus`, and a function that panics
/// if the property does not hold for an input.
pub type Target = (&'static str, fn(&[u8]));

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    ("event_id", event_id),
    ("list_cursor", fuzzing::list_cursor),
    ("request_state", request_state),
    ("stream_resume", fuzzing::stream_resume),
];

/// The arguments of the call that the state of [`request_state`] belongs to.
const ARGUMENTS: &str = r#"{"a":1,"b":"two"}"#;

/// An id is refused, or displays as the same text.
fn event_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(id) = EventId::parse(text) {
        assert_eq!(id.to_string(), text);
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
    }
}

/// A `requestState` and, after a line end, the arguments of a call: only the state that the server
/// created is opened, and only for the same arguments.
fn request_state(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (state, arguments) = text.split_once('\n').unwrap_or((text, ARGUMENTS));
    let keys = [SealKey::new([2; 32]), SealKey::new([1; 32])];
    let caller = caller("dev:ada");
    let binding =
        |arguments| Binding { caller: &caller, method: "tools/call", target: "t", arguments };
    let kept = SealedAnswers {
        answers: [("user".to_owned(), ClientAnswer::Result(true.into()))].into(),
        job: None,
        asked_at: Some(100),
    };
    // An older key, as during a rotation. The nonce is fixed, so that the corpus can contain the state.
    let sealed = seal::seal(&keys[1..], 100, [3; 24], &binding(ARGUMENTS), &kept);
    match seal::open(&keys, 101, &binding(arguments), state) {
        Err(_) => {
            let is_own = state == sealed && arguments == ARGUMENTS;
            assert!(!is_own, "the server refuses its own state");
        }
        Ok(opened) => {
            assert_eq!(state, sealed, "a state that the server did not create");
            assert_eq!(opened, kept);
            let value = |text| json::from_str::<Value>(text).ok();
            assert_eq!(value(arguments), value(ARGUMENTS), "a state of other arguments");
        }
    }
}
