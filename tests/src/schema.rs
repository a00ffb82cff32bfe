//! Validates every message against the official JSON schema of its protocol revision.
//!
//! A message is validated twice: as a JSON-RPC envelope, and by its method. Requests and notifications
//! contain their method; a result is validated by the method of its request, so a [`Ledger`] records the
//! requests in both directions.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use jsonschema::Validator;
use serde_json::{Value, json};

/// A revision of the protocol that the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// Batches; no structured output, no elicitation.
    March2025,
    /// Structured output, elicitation, the version header.
    June2025,
    /// The last one with sessions: priming events, icons, URL elicitation.
    November2025,
    /// Stateless: no sessions.
    July2026,
}

impl Revision {
    /// The revisions with `initialize`.
    pub const LEGACY: [Self; 3] = [Self::March2025, Self::June2025, Self::November2025];

    /// The version string of the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::March2025 => "2025-03-26",
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
            Self::July2026 => "2026-07-28",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::March2025 => include_str!("../data/schema/2025-03-26.json"),
            Self::June2025 => include_str!("../data/schema/2025-06-18.json"),
            Self::November2025 => include_str!("../data/schema/2025-11-25.json"),
            Self::July2026 => include_str!("../data/schema/2026-07-28.json"),
        }
    }

    fn envelopes(self) -> Envelopes {
        if self < Self::November2025 {
            Envelopes { result: "JSONRPCResponse", error: "JSONRPCError" }
        } else {
            Envelopes { result: "JSONRPCResultResponse", error: "JSONRPCErrorResponse" }
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The definitions of answers were renamed between revisions.
struct Envelopes {
    result: &'static str,
    error: &'static str,
}

/// Panics with all validation errors if `value` does not match `definition` of `revision`.
pub fn check(revision: Revision, definition: &str, value: &Value) {
    let problems = problems(revision, definition, value);
    assert!(
        problems.is_empty(),
        "not a valid {definition} of {revision}:\n  {}\n{value:#}",
        problems.join("\n  ")
    );
}

/// Returns the errors of validating `value` as `definition` of `revision`.
pub fn problems(revision: Revision, definition: &str, value: &Value) -> Vec<String> {
    validator(revision, definition)
        .iter_errors(value)
        .map(|error| format!("{error} at `{}`", error.instance_path()))
        .collect()
}

/// The messages of one client. Records the requests of both sides, so that every response can be validated
/// by the method of its request.
pub struct Ledger {
    revision: Revision,
    /// The method of every request that was sent or received, by sender and id.
    methods: Mutex<HashMap<(Side, String), String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Client,
    Server,
}

impl Ledger {
    /// Creates a ledger for messages of `revision`.
    pub fn new(revision: Revision) -> Self {
        Self { revision, methods: Mutex::default() }
    }

    /// The revision of all its messages.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Validates a message from the client.
    pub fn sent(&self, message: &Value) {
        self.message(Side::Client, message);
    }

    /// Validates a message from the server.
    pub fn received(&self, message: &Value) {
        self.message(Side::Server, message);
    }

    /// Records a request that is invalid on purpose: only its response is validated.
    pub fn sent_on_purpose(&self, message: &Value) {
        if let (Some(id), Some(method)) =
            (message.get("id"), message.get("method").and_then(Value::as_str))
        {
            self.remember(Side::Client, id, method);
        }
    }

    fn message(&self, from: Side, message: &Value) {
        let envelopes = self.revision.envelopes();
        let method = message.get("method").and_then(Value::as_str);
        match (method, message.get("id")) {
            (Some(method), Some(id)) => {
                check(self.revision, "JSONRPCRequest", message);
                if let Some(definition) = definitions(self.revision).requests.get(method) {
                    check(self.revision, definition, message);
                } else if !self.is_extension(method) {
                    panic!("{} has no request `{method}`", self.revision);
                }
                self.remember(from, id, method);
            }
            (Some(method), None) => {
                check(self.revision, "JSONRPCNotification", message);
                match definitions(self.revision).notifications.get(method) {
                    Some(definition) => check(self.revision, definition, message),
                    None if self.is_extension(method) => {}
                    None => panic!("{} has no notification `{method}`", self.revision),
                }
            }
            (None, id) if message.get("error").is_some() => {
                // A response to an unparsable body has no request id, which the schemas before
                // 2025-11-25 do not allow.
                if id.is_some_and(|id| !id.is_null()) || self.revision >= Revision::November2025 {
                    check(self.revision, envelopes.error, message);
                }
                if let Some(definition) = message
                    .pointer("/error/code")
                    .and_then(Value::as_i64)
                    .and_then(|code| definitions(self.revision).errors.get(&code))
                {
                    check(self.revision, definition, message);
                }
            }
            (None, Some(id)) => {
                check(self.revision, envelopes.result, message);
                let asked_by = if from == Side::Client { Side::Server } else { Side::Client };
                let method = self
                    .method(asked_by, id)
                    .unwrap_or_else(|| panic!("an answer to nothing that was asked: {message:#}"));
                self.result(&method, &message["result"]);
            }
            (None, None) => panic!("neither request, notification nor answer: {message:#}"),
        }
    }

    /// Whether a method belongs to the tasks extension, which the schema does not contain.
    fn is_extension(&self, method: &str) -> bool {
        self.revision == Revision::July2026
            && (method.starts_with("tasks/") || method == "notifications/tasks")
    }

    fn result(&self, method: &str, result: &Value) {
        let definition = if result.get("resultType") == Some(&json!("input_required")) {
            "InputRequiredResult"
        } else if result.get("resultType") == Some(&json!("task")) {
            "EmptyResult"
        } else if method == "tools/call" && result.get("task").is_some() {
            "CreateTaskResult"
        } else {
            definitions(self.revision).results.get(method).map_or("EmptyResult", String::as_str)
        };
        check(self.revision, definition, result);
    }

    fn remember(&self, side: Side, id: &Value, method: &str) {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        methods.insert((side, id.to_string()), method.to_owned());
    }

    fn method(&self, side: Side, id: &Value) -> Option<String> {
        let methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        methods.get(&(side, id.to_string())).cloned()
    }
}

/// The names of the definitions of a revision, read from its schema.
struct Definitions {
    /// Method → request definition.
    requests: HashMap<String, String>,
    /// Method → result definition; a method that is not in the map has an empty result.
    results: HashMap<String, String>,
    /// Method → notification definition.
    notifications: HashMap<String, String>,
    /// Error code → definition of the error response, for codes that prescribe their data.
    errors: HashMap<i64, String>,
}

impl Definitions {
    fn read(schema: &Value) -> Self {
        let mut found = Self {
            requests: HashMap::new(),
            results: HashMap::new(),
            notifications: HashMap::new(),
            errors: HashMap::new(),
        };
        let all = all_definitions(schema);
        for (name, definition) in all {
            let method = definition.pointer("/properties/method/const").and_then(Value::as_str);
            if let Some(method) = method {
                if let Some(stem) = name.strip_suffix("Request") {
                    found.requests.insert(method.to_owned(), name.clone());
                    let result = format!("{stem}Result");
                    if all.contains_key(&result) {
                        found.results.insert(method.to_owned(), result);
                    }
                } else if name.ends_with("Notification") && !name.starts_with("Client") {
                    found.notifications.insert(method.to_owned(), name.clone());
                }
            }
            let code = definition
                .pointer("/properties/error/allOf/1/properties/code/const")
                .and_then(Value::as_i64);
            if let Some(code) = code {
                found.errors.insert(code, name.clone());
            }
        }
        found
    }
}

fn definitions(revision: Revision) -> &'static Definitions {
    static ALL: LazyLock<HashMap<Revision, Definitions>> = LazyLock::new(|| {
        all_revisions().map(|revision| (revision, Definitions::read(&SCHEMAS[&revision]))).collect()
    });
    &ALL[&revision]
}

static SCHEMAS: LazyLock<HashMap<Revision, Value>> = LazyLock::new(|| {
    all_revisions()
        .map(|revision| {
            let schema = serde_json::from_str(revision.source()).expect("a schema file is JSON");
            (revision, schema)
        })
        .collect()
});

fn all_revisions() -> impl Iterator<Item = Revision> {
    Revision::LEGACY.into_iter().chain([Revision::July2026])
}

fn all_definitions(schema: &Value) -> &serde_json::Map<String, Value> {
    schema
        .get("$defs")
        .or_else(|| schema.get("definitions"))
        .and_then(Value::as_object)
        .expect("a schema file has definitions")
}

/// A cache of validators, because compiling one takes milliseconds.
fn validator(revision: Revision, definition: &str) -> Arc<Validator> {
    type Compiled = HashMap<(Revision, String), Arc<Validator>>;
    static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (revision, definition.to_owned());
    if let Some(validator) = compiled.get(&key) {
        return Arc::clone(validator);
    }
    let mut schema = SCHEMAS[&revision].clone();
    let place = if schema.get("$defs").is_some() { "$defs" } else { "definitions" };
    assert!(
        all_definitions(&schema).contains_key(definition),
        "{revision} defines no `{definition}`"
    );
    schema["allOf"] = json!([{ "$ref": format!("#/{place}/{definition}") }]);
    let validator = Arc::new(
        jsonschema::options()
            .should_validate_formats(true)
            // `byte` of 2025-03-26 is not a format of JSON Schema.
            .should_ignore_unknown_formats(true)
            .build(&schema)
            .expect("a schema file is a valid schema"),
    );
    compiled.insert(key, Arc::clone(&validator));
    validator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_of_every_revision_compiles() {
        for revision in all_revisions() {
            let found = definitions(revision);
            for name in found
                .requests
                .values()
                .chain(found.results.values())
                .chain(found.notifications.values())
                .chain(found.errors.values())
            {
                validator(revision, name);
            }
            assert_eq!(found.results["tools/call"], "CallToolResult");
            assert_eq!(found.results["tools/list"], "ListToolsResult");
            assert_eq!(found.requests["tools/list"], "ListToolsRequest");
            assert_eq!(found.notifications["notifications/progress"], "ProgressNotification");
            assert_eq!(
                found.notifications["notifications/cancelled"], "CancelledNotification",
                "not the union of what a client may send"
            );
        }
        assert_eq!(definitions(Revision::July2026).errors[&-32021], {
            "MissingRequiredClientCapabilityError"
        });
    }

    #[test]
    fn a_result_is_checked_as_the_result_of_its_method() {
        let result = json!({ "tools": [{ "name": "a tool without a schema" }] });
        assert!(problems(Revision::November2025, "Result", &result).is_empty());
        assert!(!problems(Revision::November2025, "ListToolsResult", &result).is_empty());
    }

    #[test]
    #[should_panic(expected = "not a valid ListToolsResult")]
    fn the_ledger_knows_what_was_asked() {
        let ledger = Ledger::new(Revision::November2025);
        ledger.sent(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
        ledger.received(&json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": {} } }));
    }

    #[test]
    #[should_panic(expected = "an answer to nothing")]
    fn an_answer_needs_a_question() {
        let ledger = Ledger::new(Revision::November2025);
        ledger.received(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    }
}
