//! JSON from strangers: one object, and no key twice, because parsers disagree on which one counts.
//!
//! A member that is `null` counts as absent, at every depth: serializers write it for what was never
//! set, and no member of client metadata gives `null` a meaning.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Reads one object, without the members that are `null`. Depth is bounded by the parser, size by
/// whoever has read the bytes.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Object(object))) => Some(object),
        _ => None,
    }
}

/// The value of an optional member. An empty string is as absent, too: Go writes it for a field that
/// was never set.
pub(super) fn optional<'a>(object: &'a Map<String, Value>, member: &str) -> Option<&'a Value> {
    object.get(member).filter(|value| value.as_str() != Some(""))
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a key twice")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a key stands twice"));
            }
        }
        // Only now, so that a second value for a key that was `null` is noticed.
        object.retain(|_, value| !value.is_null());
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_usual() {
        let text = br#"{"a": [1, -2, 1.5, true, null, "x"], "b": {"a": {}}}"#;
        let expected: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(object(text).map(Value::Object), Some(expected));
    }

    #[test]
    fn a_member_that_is_null_is_absent() {
        let read = object(br#"{"a": null, "b": [{"c": null, "d": 1}, null], "e": ""}"#).unwrap();
        let expected = serde_json::json!({"b": [{"d": 1}, null], "e": ""});
        assert_eq!(Value::Object(read.clone()), expected);
        assert_eq!(optional(&read, "e"), None);
        assert!(optional(&read, "b").is_some());
    }

    #[test]
    fn anything_unusual_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for bad in [
            &b""[..],
            b"[]",
            b"null",
            b"\"x\"",
            b"{",
            b"{} {}",
            b"{\"a\": 1, \"a\": 1}",
            b"{\"a\": null, \"a\": 1}",
            b"{\"a\": 1, \"a\": null}",
            b"{\"b\": {\"a\": 1, \"\\u0061\": 2}}",
            b"{\"a\": \"\xff\"}",
            b"\xef\xbb\xbf{}",
            deep.as_bytes(),
        ] {
            assert!(object(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
