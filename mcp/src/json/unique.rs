//! Parsing of JSON without duplicate keys, because parsers disagree on which value of a key is
//! used.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::JsonError;
use crate::rpc::shorten;

/// Parses a text in which no object has duplicate keys. The parser limits the depth to 128.
pub fn unique(bytes: &[u8]) -> Result<Value, JsonError> {
    super::from_slice::<Strict>(bytes).map(|it| it.0)
}

/// Parses an object without duplicate keys at any depth.
pub fn unique_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match unique(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(JsonError::data("expected an object")),
    }
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
        f.write_str("JSON")
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
            if object.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "the key `{}` occurs twice",
                    shorten(&key)
                )));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_duplicate_keys_is_parsed() {
        let text = br#"{"a": [1, -2, 1.5, true, null, "x"], "b": {"a": {}}}"#;
        let expected: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(unique(text), Ok(expected));
    }

    #[test]
    fn duplicate_keys_and_malformed_json_are_rejected() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for bad in [
            &b""[..],
            b"{",
            b"{} {}",
            b"{\"a\": 1, \"a\": 1}",
            b"{\"b\": {\"a\": 1, \"\\u0061\": 2}}",
            b"{\"a\": \"\xff\"}",
            b"\xef\xbb\xbf{}",
            deep.as_bytes(),
        ] {
            assert!(unique(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let error = unique(br#"{"b": {"a": 1, "a": 2}}"#).unwrap_err().to_string();
        assert_eq!(error, "`b`: the key `a` occurs twice");
    }
}
