//! Conversion of complete schemas to the schemas that are published to clients.
//!
//! Clients pass the schemas of tools to model providers, each of which supports only a part of JSON
//! Schema: Gemini a subset of OpenAPI without `additionalProperties`, `oneOf`, `const`, unions of
//! types and most formats; `OpenAI`'s strict mode no lengths, defaults and `oneOf`. Published
//! schemas use only the keywords that all of them support, so that no client has to omit a tool.
//! The meaning of other keywords is added to the description; the server validates them regardless.

use serde_json::{Map, Value, json};

/// The keywords that all providers support, and `x-mcp-header` of the protocol.
const KEYWORDS: &[&str] = &[
    "type",
    "title",
    "description",
    "enum",
    "properties",
    "required",
    "items",
    "anyOf",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "x-mcp-header",
];

/// Converts a schema for clients. `null` is removed from optional properties, since omitting them
/// is equivalent.
pub(crate) fn publish(schema: Value) -> Value {
    let mut schema = node(schema);
    if let Some(root) = schema.as_object_mut()
        && root.get("type").is_some_and(|kind| kind == "object")
    {
        root.entry("properties").or_insert_with(|| json!({}));
    }
    schema
}

fn node(schema: Value) -> Value {
    // The boolean schemas `true` and `false`.
    let Value::Object(mut schema) = schema else {
        return json!({});
    };
    simplify(&mut schema);
    describe_dropped(&mut schema);
    schema.retain(|keyword, _| KEYWORDS.contains(&keyword.as_str()));
    publish_parts(&mut schema);
    schema.into()
}

/// Replaces `allOf`, `oneOf` and `const` by `type`, `enum` and `anyOf`.
pub(super) fn simplify(schema: &mut Map<String, Value>) {
    merge_all_of(schema);
    if let Some(constant) = schema.remove("const") {
        schema.insert("enum".into(), json!([constant]));
    }
    name_choices(schema);
    if let Some(choices) = schema.remove("oneOf") {
        schema.entry("anyOf").or_insert(choices);
    }
    split_types(schema);
    restrict_enum_to_strings(schema);
}

fn publish_parts(schema: &mut Map<String, Value>) {
    let required: Vec<Value> =
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            let mut own = property.take();
            if !required.iter().any(|required| required == name) {
                drop_null(&mut own);
            }
            *property = node(own);
        }
    }
    for keyword in ["items", "anyOf"] {
        match schema.get_mut(keyword) {
            Some(Value::Array(parts)) => {
                for part in parts {
                    *part = node(part.take());
                }
            }
            Some(part) => *part = node(part.take()),
            None => {}
        }
    }
}

/// Removes `null` from the allowed values of an optional property.
pub(super) fn drop_null(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [single] = types.as_slice() {
            let single = single.clone();
            schema.insert("type".into(), single);
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(choices)) = schema.get_mut(keyword) {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(_)] = choices.as_slice() {
                let only = choices.pop();
                schema.remove(keyword);
                merge(schema, only);
            }
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
}

/// Merges another schema. Existing keywords take precedence.
fn merge(schema: &mut Map<String, Value>, other: Option<Value>) {
    let Some(Value::Object(other)) = other else {
        return;
    };
    for (keyword, value) in other {
        match (schema.get_mut(&keyword), value) {
            (Some(Value::Object(own)), Value::Object(more)) if keyword == "properties" => {
                for (name, property) in more {
                    own.entry(name).or_insert(property);
                }
            }
            (Some(Value::Array(own)), Value::Array(more)) if keyword == "required" => {
                let new: Vec<Value> = more.into_iter().filter(|name| !own.contains(name)).collect();
                own.extend(new);
            }
            (Some(_), _) => {}
            (None, value) => drop(schema.insert(keyword, value)),
        }
    }
}

fn merge_all_of(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(parts)) = schema.remove("allOf") {
        for part in parts {
            merge(schema, Some(part));
        }
    }
}

/// Replaces alternatives that are constants by an `enum`, and moves their descriptions to that of
/// the whole schema.
fn name_choices(schema: &mut Map<String, Value>) {
    for keyword in ["oneOf", "anyOf"] {
        let Some(Value::Array(choices)) = schema.get(keyword) else {
            continue;
        };
        let Some(values) = choices.iter().map(constants).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let described: Vec<String> = choices
            .iter()
            .zip(&values)
            .filter_map(|(choice, values)| {
                let description = choice.get("description").or(choice.get("title"))?.as_str()?;
                let [value] = values.as_slice() else { return None };
                Some(format!("`{}`: {description}", shown(value)))
            })
            .collect();
        schema.remove(keyword);
        schema.insert("enum".into(), values.concat().into());
        describe(schema, &described.join(" "));
    }
}

/// The allowed values of a schema. `None`: it does not enumerate them.
fn constants(schema: &Value) -> Option<Vec<Value>> {
    match (schema.get("const"), schema.get("enum"), schema.get("type")) {
        (Some(value), _, _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values)), _) => Some(values.clone()),
        (None, None, Some(kind)) if kind == "null" => Some(vec![Value::Null]),
        _ => None,
    }
}

/// Replaces a list of types by alternatives. A type together with `null` is kept, for results that
/// may be `null`.
fn split_types(schema: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = schema.get("type") else {
        return;
    };
    let types = types.clone();
    match types.as_slice() {
        [single] => drop(schema.insert("type".into(), single.clone())),
        [_, null] | [null, _] if null == "null" => {}
        _ => {
            schema.remove("type");
            let parts: Vec<Value> = types.into_iter().map(|kind| json!({ "type": kind })).collect();
            schema.insert("anyOf".into(), parts.into());
        }
    }
}

/// Adds the type `string` to an `enum` of strings. An `enum` of other values, which most providers
/// do not support, becomes a sentence in the description.
fn restrict_enum_to_strings(schema: &mut Map<String, Value>) {
    let Some(Value::Array(values)) = schema.get("enum") else {
        return;
    };
    let values = values.clone();
    let nullable = values.iter().any(Value::is_null);
    let texts = |value: &Value| value.is_string() || value.is_null();
    if values.iter().all(texts) {
        let kind = if nullable { json!(["string", "null"]) } else { json!("string") };
        schema.insert("type".into(), kind);
        return;
    }
    schema.remove("enum");
    let kind = if values.iter().all(|value| value.is_i64() || value.is_u64()) {
        Some("integer")
    } else if values.iter().all(Value::is_number) {
        Some("number")
    } else if values.iter().all(Value::is_boolean) {
        Some("boolean")
    } else {
        None
    };
    if let Some(kind) = kind {
        schema.insert("type".into(), kind.into());
    }
    let listed: Vec<_> = values.iter().map(|value| format!("`{}`", shown(value))).collect();
    describe(schema, &format!("One of {}.", listed.join(", ")));
}

/// Adds the meaning of keywords that are not published to the description.
fn describe_dropped(schema: &mut Map<String, Value>) {
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    let length = match (number("minLength").filter(|least| *least > 0), number("maxLength")) {
        (None, None) => String::new(),
        (Some(least), None) => format!("At least {least} characters."),
        (None, Some(most)) => format!("At most {most} characters."),
        (Some(least), Some(most)) => format!("{least} to {most} characters."),
    };
    let form = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "As in RFC 3339.".to_owned(),
        Some(format @ ("date" | "time" | "duration" | "email" | "uri" | "hostname")) => {
            format!("Format: {format}.")
        }
        _ => String::new(),
    };
    let pattern = match schema.get("pattern").and_then(Value::as_str) {
        Some(pattern) => format!("Pattern: `{pattern}`."),
        None => String::new(),
    };
    let default = match schema.get("default") {
        Some(default) if is_worth_describing(default) => format!("Default: {}.", shown(default)),
        _ => String::new(),
    };
    for sentence in [length, form, pattern, default] {
        describe(schema, &sentence);
    }
}

/// Whether a default must be described: not if it is empty.
fn is_worth_describing(default: &Value) -> bool {
    match default {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Adds a sentence to the description, unless it contains the sentence already.
fn describe(schema: &mut Map<String, Value>, sentence: &str) {
    if sentence.is_empty() {
        return;
    }
    let described = match schema.get("description").and_then(Value::as_str) {
        None => sentence.to_owned(),
        Some(text) if text.contains(sentence) => return,
        Some(text) => format!("{text} {sentence}"),
    };
    schema.insert("description".into(), described.into());
}

/// Formats a value for a sentence.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keywords_that_every_provider_supports_are_published() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "required": ["format", "either"],
            "properties": {
                "format": { "type": "string", "format": "uuid", "description": "Which." },
                "default": {
                    "type": ["integer", "null"], "format": "uint32", "minimum": 0, "default": 20,
                },
                "title": { "type": "string", "minLength": 1, "maxLength": 200 },
                "type": { "const": "note" },
                "when": { "type": "string", "format": "date-time" },
                "either": { "type": ["string", "integer"], "description": "Both." },
                "some": { "anyOf": [{ "type": "number", "format": "double" }, { "type": "null" }] },
                "list": { "type": "array", "items": {
                    "type": "object", "additionalProperties": false, "properties": {
                        "const": { "type": ["object", "null"], "additionalProperties": true },
                    },
                } },
                "level": { "type": "integer", "enum": [1, 2] },
                "any": true,
            },
        });
        let expected = json!({
            "type": "object",
            "required": ["format", "either"],
            "properties": {
                "format": { "type": "string", "description": "Which." },
                "default": { "type": "integer", "minimum": 0, "description": "Default: 20." },
                "title": { "type": "string", "description": "1 to 200 characters." },
                "type": { "type": "string", "enum": ["note"] },
                "when": { "type": "string", "description": "As in RFC 3339." },
                "either": {
                    "anyOf": [{ "type": "string" }, { "type": "integer" }], "description": "Both.",
                },
                "some": { "type": "number" },
                "list": { "type": "array", "items": {
                    "type": "object", "properties": { "const": { "type": "object" } },
                } },
                "level": { "type": "integer", "description": "One of `1`, `2`." },
                "any": {},
            },
        });
        assert_eq!(publish(schema), expected);
        assert_eq!(
            publish(json!({ "type": "object" })),
            json!({ "type": "object", "properties": {} })
        );
    }

    #[test]
    fn constant_alternatives_become_an_enum_with_their_descriptions() {
        let described = json!({
            "description": "What to do.",
            "oneOf": [
                { "type": "string", "const": "ask", "description": "Ask first." },
                { "type": "string", "enum": ["skip", "keep"] },
            ],
        });
        let expected = json!({
            "type": "string",
            "enum": ["ask", "skip", "keep"],
            "description": "What to do. `ask`: Ask first.",
        });
        assert_eq!(node(described.clone()), expected);
        let optional = json!({
            "type": "object",
            "properties": { "choice": { "anyOf": [described, { "type": "null" }] } },
        });
        assert_eq!(publish(optional)["properties"]["choice"], expected);
    }

    #[test]
    fn null_is_published_for_required_properties_only() {
        let schema = json!({
            "type": "object",
            "required": ["always"],
            "properties": {
                "always": { "type": ["string", "null"] },
                "sometimes": { "type": ["string", "null"] },
            },
        });
        let properties = publish(schema)["properties"].clone();
        assert_eq!(properties["always"], json!({ "type": ["string", "null"] }));
        assert_eq!(properties["sometimes"], json!({ "type": "string" }));
    }
}
