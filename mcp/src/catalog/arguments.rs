//! Normalization of arguments with their schema.
//!
//! Clients and models make mistakes in JSON whose meaning is unambiguous. [`normalize`] corrects
//! these at every depth of the schema:
//!
//! - an optional property that is `null` or `""` is removed;
//! - an integer may be written `10.0` or `1e1`;
//! - a value of a type other than string may be sent as a string that contains JSON;
//! - properties that some clients add ([`ENVELOPE`]) are removed at the top level.
//!
//! Other errors are left to the type that parses the value, except for two that require the schema:
//! an unknown property, and an array in the place of an object.

use std::fmt;

use serde_json::{Map, Value};

use crate::{json, rpc::shorten};

/// Properties that clients add to the arguments of every tool, regardless of its schema: n8n (the
/// first five), Gemini CLI, Cursor (for a tool without arguments), Antigravity, and clients that
/// put the request's metadata into the arguments. Kept if the tool has an argument of that name.
const ENVELOPE: &[&str] = &[
    "toolCallId",
    "sessionId",
    "action",
    "chatInput",
    "tool",
    "tool_call_id",
    "wait_for_previous",
    "random_string",
    "waitForPreviousTools",
    "toolAction",
    "toolSummary",
    "_meta",
];

/// The maximum number of problems in an error message. A model corrects these and then sees the
/// rest.
const MAX_PROBLEMS: usize = 5;

/// The maximum number of known properties that a message lists.
const MAX_KNOWN: usize = 20;

/// The maximum length of a name that is compared with known ones, in bytes.
const MAX_COMPARED: usize = 64;

/// The maximum number of references that are followed, in case of a cycle.
const MAX_REFERENCES: usize = 8;

/// The problems of arguments, as a message for a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgumentProblems(Vec<String>);

impl fmt::Display for ArgumentProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// Normalizes `value` with `schema`. The schema is trusted.
pub(crate) fn normalize(schema: &Value, value: &mut Value) -> Result<(), ArgumentProblems> {
    let mut normalizer = Normalizer { root: schema, path: Vec::new(), problems: Vec::new() };
    normalizer.normalize(schema, value);
    if normalizer.problems.is_empty() { Ok(()) } else { Err(ArgumentProblems(normalizer.problems)) }
}

struct Normalizer<'a> {
    /// The root of references.
    root: &'a Value,
    path: Vec<String>,
    problems: Vec<String>,
}

impl<'a> Normalizer<'a> {
    fn normalize(&mut self, schema: &'a Value, value: &mut Value) {
        let schema = self.resolve(schema);
        self.decode(schema, value);
        if let Value::Number(number) = value
            && self.allows(schema, "integer")
            && !self.allows(schema, "number")
            && let Some(whole) = json::whole(number)
        {
            *value = Value::Number(whole);
        }
        match value {
            Value::Object(object) => self.object(schema, object),
            Value::Array(_) if !self.allows(schema, "array") && self.allows(schema, "object") => {
                self.problem("an array, where an object is expected");
            }
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.at(format!("[{index}]"), |this| this.normalize(schema, item));
                    }
                }
            }
            _ => {}
        }
        for part in list(schema, "allOf") {
            self.normalize(part, value);
        }
        self.alternatives(schema, value);
    }

    /// Resolves a reference within the schema.
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..MAX_REFERENCES {
            let reference = schema.get("$ref").and_then(Value::as_str);
            match reference.and_then(|pointer| self.root.pointer(pointer.strip_prefix('#')?)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// Replaces a string by the JSON in it, if a string is not allowed but a value of that type is.
    fn decode(&self, schema: &'a Value, value: &mut Value) {
        let Value::String(text) = &*value else {
            return;
        };
        if self.allows(schema, "string") {
            return;
        }
        if let Ok(decoded) = json::unique(text.as_bytes())
            && !decoded.is_null()
            && self.allows(schema, kind(&decoded))
        {
            *value = decoded;
        }
    }

    fn object(&mut self, schema: &'a Value, object: &mut Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
            && schema.get("patternProperties").is_none();
        let is_known = |name: &str| properties.is_some_and(|known| known.contains_key(name));
        if closed && self.path.is_empty() {
            object.retain(|name, _| is_known(name) || !ENVELOPE.contains(&name.as_str()));
        }
        if closed {
            for name in object.keys().filter(|name| !is_known(name)) {
                let known = properties.into_iter().flat_map(|it| it.keys()).map(String::as_str);
                self.problem(&unknown(name, &known.collect::<Vec<_>>()));
            }
        }
        let parts = list(schema, "allOf").iter().chain([schema]);
        let required: Vec<&str> =
            parts.flat_map(|part| list(part, "required")).filter_map(Value::as_str).collect();
        for (name, schema) in properties.into_iter().flatten() {
            if !required.contains(&name.as_str())
                && object.get(name).is_some_and(|value| is_absent(self.resolve(schema), value))
            {
                object.remove(name);
            }
            if let Some(value) = object.get_mut(name) {
                self.at(name.clone(), |this| this.normalize(schema, value));
            }
        }
        if let Some(schema @ Value::Object(_)) = schema.get("additionalProperties") {
            for (name, value) in object.iter_mut().filter(|entry| !is_known(entry.0)) {
                self.at(shorten(name).into_owned(), |this| this.normalize(schema, value));
            }
        }
    }

    /// Normalizes with the first alternative that the value matches.
    fn alternatives(&mut self, schema: &'a Value, value: &mut Value) {
        for keyword in ["anyOf", "oneOf"] {
            let mut problems = None;
            let mut matched = false;
            for schema in list(schema, keyword) {
                let schema = self.resolve(schema);
                let mut tried = value.clone();
                self.decode(schema, &mut tried);
                if !self.allows(schema, kind(&tried)) || !self.has_constants(schema, &tried) {
                    continue;
                }
                let before = self.problems.len();
                self.normalize(schema, &mut tried);
                let found = self.problems.split_off(before);
                if found.is_empty() {
                    *value = tried;
                    matched = true;
                    break;
                }
                problems.get_or_insert(found);
            }
            if !matched {
                self.problems.extend(problems.unwrap_or_default());
            }
        }
    }

    /// Whether the value has the constants that distinguish this alternative from others.
    fn has_constants(&self, schema: &'a Value, value: &Value) -> bool {
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().all(|(name, schema)| {
            let constant = self.resolve(schema).get("const");
            constant.is_none_or(|constant| value.get(name).is_none_or(|value| value == constant))
        })
    }

    /// Whether the schema allows values of a type.
    fn allows(&self, schema: &'a Value, wanted: &str) -> bool {
        let schema = self.resolve(schema);
        let is_wanted = |kind: &str| kind == wanted || (kind == "number" && wanted == "integer");
        match schema.get("type") {
            Some(Value::String(single)) => is_wanted(single),
            Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).any(is_wanted),
            _ => {
                let constant = schema.get("const").map(std::slice::from_ref);
                let values =
                    constant.or(schema.get("enum").and_then(Value::as_array).map(Vec::as_slice));
                let mut parts =
                    list(schema, "anyOf").iter().chain(list(schema, "oneOf")).peekable();
                match values {
                    Some(values) => values.iter().any(|value| is_wanted(kind(value))),
                    None if parts.peek().is_some() => parts.any(|part| self.allows(part, wanted)),
                    None if schema.get("properties").is_some() => is_wanted("object"),
                    None => list(schema, "allOf").iter().all(|part| self.allows(part, wanted)),
                }
            }
        }
    }

    fn at(&mut self, name: String, work: impl FnOnce(&mut Self)) {
        self.path.push(name);
        work(self);
        self.path.pop();
    }

    fn problem(&mut self, problem: &str) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let place = self.path.join(".").replace(".[", "[");
        self.problems.push(if place.is_empty() {
            problem.to_owned()
        } else {
            format!("`{place}`: {problem}")
        });
    }
}

/// The JSON Schema type of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if json::whole(number).is_some() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether an optional property is treated as absent: `null`, or an empty string that is not one of
/// the enumerated values.
fn is_absent(schema: &Value, value: &Value) -> bool {
    value.is_null() || (value == "" && !list(schema, "enum").iter().any(|allowed| allowed == ""))
}

fn list<'a>(schema: &'a Value, keyword: &str) -> &'a [Value] {
    schema.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn unknown(name: &str, known: &[&str]) -> String {
    let shown = shorten(name);
    let Some(nearest) = nearest(name, known) else {
        return format!("`{shown}` is unknown, and no properties are expected here: leave it out");
    };
    let listed: Vec<_> = known.iter().take(MAX_KNOWN).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > MAX_KNOWN { ", …" } else { "" };
    format!(
        "`{shown}` is unknown; the nearest known name is `{nearest}` (known are {}{more})",
        listed.join(", ")
    )
}

/// Finds the most similar known name, ignoring case and punctuation.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| -> String {
        name.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let name = plain(&name[..name.floor_char_boundary(MAX_COMPARED)]);
    let similarity = |known: &str| strsim::normalized_damerau_levenshtein(&plain(known), &name);
    known.iter().copied().max_by(|a, b| {
        let jaro = |known: &str| strsim::jaro_winkler(&plain(known), &name);
        similarity(a).total_cmp(&similarity(b)).then_with(|| jaro(a).total_cmp(&jaro(b)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["query", "filter"],
            "properties": {
                "query": { "type": "string" },
                "limit": { "type": "integer", "minimum": 1 },
                "ratio": { "type": "number" },
                "exact": { "type": "boolean" },
                "tags": { "type": "array", "items": { "type": "string" } },
                "counts": { "type": "array", "items": { "type": "integer" } },
                "order": { "type": "string", "enum": ["asc", "desc"] },
                "prefix": { "type": "string", "enum": ["", "x"] },
                "filter": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "since": { "type": "string" },
                        "depth": { "type": ["integer", "null"] },
                        "next": { "$ref": "#/$defs/next" },
                    },
                },
                "anything": {},
                "choice": { "anyOf": [{ "type": "integer" }, { "type": "object", "properties": {
                    "kind": { "const": "a" }, "size": { "type": "integer" } } }] },
            },
            "$defs": { "next": {
                "type": "object",
                "additionalProperties": false,
                "properties": { "title": { "type": "string" }, "next": { "$ref": "#/$defs/next" } },
            } },
        })
    }

    fn normalized(mut value: Value) -> Result<Value, String> {
        normalize(&schema(), &mut value).map_err(|it| it.to_string()).map(|()| value)
    }

    #[test]
    fn unambiguous_values_are_normalized() {
        for (sent, read) in [
            (json!({"limit": 10.0}), json!({"limit": 10})),
            (json!({"limit": 1e1}), json!({"limit": 10})),
            (json!({"limit": "10"}), json!({"limit": 10})),
            (json!({"limit": 1.5}), json!({"limit": 1.5})),
            (json!({"limit": "ten"}), json!({"limit": "ten"})),
            (json!({"ratio": 1.5}), json!({"ratio": 1.5})),
            (json!({"exact": "true"}), json!({"exact": true})),
            (json!({"limit": null, "tags": "", "order": ""}), json!({})),
            (json!({"prefix": ""}), json!({"prefix": ""})),
            (json!({"query": "", "filter": null}), json!({"query": "", "filter": null})),
            (json!({"query": "[1]"}), json!({"query": "[1]"})),
            (json!({"tags": "[\"a\", \"b\"]"}), json!({"tags": ["a", "b"]})),
            (json!({"tags": "a, b"}), json!({"tags": "a, b"})),
            (json!({"counts": [1.0, "2", 3]}), json!({"counts": [1, 2, 3]})),
            (
                json!({"filter": "{\"since\": \"\", \"depth\": 2.0}"}),
                json!({"filter": {"depth": 2}}),
            ),
            (
                json!({"filter": {"next": {"title": "", "next": "{\"title\": null}"}}}),
                json!({"filter": {"next": {"next": {}}}}),
            ),
            (json!({"anything": "[1]"}), json!({"anything": "[1]"})),
            (json!({"choice": "7.0"}), json!({"choice": 7})),
            (
                json!({"choice": {"kind": "a", "size": 1.0}}),
                json!({"choice": {"kind": "a", "size": 1}}),
            ),
        ] {
            assert_eq!(normalized(sent.clone()), Ok(read), "{sent}");
        }
    }

    #[test]
    fn all_arguments_may_be_sent_as_one_json_string() {
        let sent = json!("{\"query\": \"tea\", \"toolCallId\": \"1\"}");
        assert_eq!(normalized(sent), Ok(json!({"query": "tea"})));
    }

    #[test]
    fn properties_that_clients_add_are_removed_at_the_top_level_only() {
        let mut sent = json!({"query": "tea"});
        for name in ENVELOPE {
            sent[*name] = json!("added");
        }
        assert_eq!(normalized(sent), Ok(json!({"query": "tea"})));
        let problem = normalized(json!({"filter": {"sessionId": "added"}})).unwrap_err();
        assert!(problem.starts_with("`filter`: `sessionId` is unknown"), "{problem}");
        let own = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": { "action": { "type": "string" } },
        });
        let mut sent = json!({"action": "delete", "sessionId": "added"});
        assert_eq!(normalize(&own, &mut sent), Ok(()));
        assert_eq!(sent, json!({"action": "delete"}));
    }

    #[test]
    fn an_unknown_property_is_named_with_the_nearest_known_one() {
        for (name, nearest) in [
            ("querry", "query"),
            ("Limit", "limit"),
            ("max_limit", "limit"),
            ("tag", "tags"),
            ("filters", "filter"),
            ("ORDER-BY", "order"),
        ] {
            let problem = normalized(json!({ "query": "x", name: null })).unwrap_err();
            let expected = format!("`{name}` is unknown; the nearest known name is `{nearest}` (");
            assert!(problem.starts_with(&expected), "{problem}");
        }
        let problem = normalized(json!({"filter": {"next": {"titel": "x"}}})).unwrap_err();
        assert!(problem.starts_with("`filter.next`: `titel` is unknown"), "{problem}");
        assert!(problem.contains("`title`"), "{problem}");
        let no_properties = json!({ "type": "object", "additionalProperties": false });
        assert!(normalize(&no_properties, &mut json!({"a": 1})).is_err());
        let any_properties = json!({ "type": "object" });
        assert_eq!(normalize(&any_properties, &mut json!({"a": 1})), Ok(()));
        let long = "x".repeat(1 << 20);
        assert!(normalized(json!({ long: 1 })).unwrap_err().len() < 500);
        let many: Map<String, Value> = (0..100).map(|n| (n.to_string(), Value::Null)).collect();
        assert!(normalized(many.into()).unwrap_err().len() < 2_000);
    }

    #[test]
    fn an_array_is_rejected_in_place_of_an_object() {
        for (sent, place) in [
            (json!([]), ""),
            (json!({"filter": []}), "`filter`: "),
            (json!({"filter": {"next": [true]}}), "`filter.next`: "),
        ] {
            let problem = normalized(sent.clone());
            let expected = format!("{place}an array, where an object is expected");
            assert_eq!(problem, Err(expected), "{sent}");
        }
    }
}
