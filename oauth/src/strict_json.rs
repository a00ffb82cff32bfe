//! Strict JSON for client metadata: one object, without duplicate keys.
//!
//! A member that is `null` counts as absent, at every depth: serializers write it for fields that
//! were never set, and no member of client metadata gives `null` a meaning.

use mcp::json::{self, JsonError};
use serde_json::{Map, Value};

/// Parses one object, without the members that are `null`. The parser bounds the depth; the caller
/// must bound the size.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let mut object = json::unique_object(bytes)?;
    drop_nulls(&mut object);
    Ok(object)
}

fn drop_nulls(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    object.values_mut().for_each(drop_nulls_within);
}

fn drop_nulls_within(value: &mut Value) {
    match value {
        Value::Object(object) => drop_nulls(object),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls_within),
        _ => {}
    }
}

/// Returns the value of an optional member. An empty string counts as absent, too: Go writes it for
/// a field that was never set.
pub(super) fn optional<'a>(object: &'a Map<String, Value>, member: &str) -> Option<&'a Value> {
    object.get(member).filter(|value| value.as_str() != Some(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_null_is_absent() {
        let read = object(br#"{"a": null, "b": [{"c": null, "d": 1}, null], "e": ""}"#).unwrap();
        let expected = serde_json::json!({"b": [{"d": 1}, null], "e": ""});
        assert_eq!(Value::Object(read.clone()), expected);
        assert_eq!(optional(&read, "e"), None);
        assert!(optional(&read, "b").is_some());
    }

    #[test]
    fn anything_but_one_object_with_each_key_once_is_refused() {
        for bad in [&b"[]"[..], b"null", b"{\"a\": null, \"a\": 1}", b"{} {}"] {
            assert!(object(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
