//! JSON Schemas of Rust types.
//!
//! Subschemas are inlined, without `$ref`, because several clients cannot resolve references.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::publish::{drop_null, publish, simplify};

/// The complete schema of arguments. The schema for clients is the result of [`publish`].
pub(crate) fn arguments<T: JsonSchema>() -> Value {
    plain::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of a tool's structured output, for clients.
pub(crate) fn output<T: JsonSchema>() -> Value {
    publish(plain::<T>(SchemaSettings::draft2020_12().for_serialize()))
}

/// The schema of an elicitation form, for clients: a flat object of primitives and enums
/// (2025-11-25, client/elicitation, "Requested Schema").
pub(crate) fn form<T: JsonSchema>() -> Value {
    let mut schema = arguments::<T>();
    if let Some(root) = schema.as_object_mut() {
        root.retain(|key, _| matches!(key.as_str(), "type" | "properties" | "required"));
        root.entry("properties").or_insert_with(|| json!({}));
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(Map::values_mut) {
        drop_null(property);
        let Some(property) = property.as_object_mut() else {
            continue;
        };
        simplify(property);
        let is_text = property.get("type").is_some_and(|kind| kind == "string");
        property.retain(|key, value| match key.as_str() {
            "type" | "title" | "description" | "default" | "enum" | "items" | "minItems"
            | "maxItems" | "minLength" | "maxLength" | "minimum" | "maximum" => true,
            "format" => {
                is_text
                    && ["email", "uri", "date", "date-time"]
                        .contains(&value.as_str().unwrap_or_default())
            }
            _ => false,
        });
    }
    schema
}

fn plain<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let mut settings = settings;
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        // The tool definition has its own name and description.
        root.remove("title");
        root.remove("description");
    }
    join_lines(&mut schema);
    schema
}

/// Joins the lines of doc comments, which are wrapped for the source code.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    value => join_lines(value),
                }
            }
        }
        _ => {}
    }
}

/// A parameter that a modern client repeats in an `Mcp-Param-<name>` header, because its schema has
/// `x-mcp-header` (2026-07-28, Streamable HTTP, "Custom Headers").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderParam {
    /// The part of the header name after `Mcp-Param-`, in lower case.
    pub(crate) header: String,
    /// The path of the value: property names from the root of the arguments.
    pub(crate) path: Vec<String>,
}

/// Collects the `x-mcp-header` annotations of an input schema. Annotations that are not reachable by
/// `properties` alone, such as those within `items`, are ignored.
///
/// # Panics
/// If an annotation violates the rules of the protocol: it must be on a string, integer or boolean,
/// and its name must consist of letters, digits and `-` and be unique without regard to case.
pub(crate) fn header_params(schema: &Value) -> Vec<HeaderParam> {
    let mut found = Vec::new();
    collect_header_params(schema, &mut Vec::new(), &mut found);
    for (index, param) in found.iter().enumerate() {
        assert!(
            found[..index].iter().all(|other| other.header != param.header),
            "x-mcp-header `{}` is used twice",
            param.header
        );
    }
    found
}

fn collect_header_params(schema: &Value, path: &mut Vec<String>, found: &mut Vec<HeaderParam>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            assert!(
                !header.is_empty()
                    && header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "x-mcp-header `{header}` is not a header token"
            );
            let kind = property.get("type").and_then(Value::as_str);
            assert!(
                matches!(kind, Some("string" | "integer" | "boolean")),
                "x-mcp-header `{header}` is not on a string, integer or boolean"
            );
            found.push(HeaderParam { header: header.to_ascii_lowercase(), path: path.clone() });
        }
        collect_header_params(property, path, found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Sample {
        /// How many.
        count: Option<u32>,
        mood: Mood,
        size: Option<Size>,
        #[schemars(extend("x-mcp-header" = "Region"))]
        region: String,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Mood {
        Good,
        Bad,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        /// As big as a house.
        Big,
        /// As small as a mouse.
        Small,
    }

    #[test]
    fn a_published_schema_has_no_references_and_no_nulls() {
        let schema = publish(arguments::<Sample>());
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["properties"]["count"]["type"], "integer");
        assert_eq!(schema["required"], json!(["mood", "region"]));
        assert!(!schema.to_string().contains("$ref"), "{schema}");
        assert!(!schema.to_string().contains("null"), "{schema}");
    }

    #[test]
    fn a_form_has_only_keywords_that_the_protocol_allows() {
        let schema = form::<Sample>();
        assert_eq!(
            schema["properties"]["count"],
            json!({ "type": "integer", "description": "How many.", "minimum": 0 })
        );
        assert_eq!(schema["properties"]["mood"], json!({"type":"string","enum":["good","bad"]}));
        assert_eq!(
            schema["properties"]["size"],
            json!({
                "type": "string",
                "enum": ["big", "small"],
                "description": "`big`: As big as a house. `small`: As small as a mouse.",
            })
        );
    }

    #[test]
    fn header_parameters_are_found_by_their_path() {
        let expected = HeaderParam { header: "region".into(), path: vec!["region".into()] };
        assert_eq!(header_params(&publish(arguments::<Sample>())), [expected]);
    }
}
