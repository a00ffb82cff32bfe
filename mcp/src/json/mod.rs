//! Strict parsing of JSON from outside the program.
//!
//! Serde's derived structs also accept an array, and fill their fields in order. The functions here
//! reject an array in the place of an object at every depth. This does not work for untagged and
//! internally tagged enums and for flattened fields, whose content Serde buffers; types for JSON
//! from clients must not use them.

mod members;
mod objects;
mod unique;

use std::fmt;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

pub(crate) use self::members::Members;
use self::objects::Objects;
pub use self::unique::{unique, unique_object};

/// Why a text or value could not be parsed. `Display` does not include the position, since the text
/// is often only a part of what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    path: Option<String>,
    problem: String,
    /// Line and column of a syntax error.
    position: Option<(usize, usize)>,
}

impl JsonError {
    /// Whether the text is valid JSON, but not of the expected form.
    pub fn is_data(&self) -> bool {
        self.position.is_none()
    }

    /// Line and column of a syntax error. `None`: the text is valid JSON.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.position
    }

    fn data(problem: impl Into<String>) -> Self {
        Self { path: None, problem: problem.into(), position: None }
    }

    fn new(path: Option<String>, error: &serde_json::Error, text: &[u8]) -> Self {
        let syntax = !error.is_data();
        let problem = if syntax && let Some(half) = unpaired_surrogate(text) {
            format!(
                "U+{half:04X} is half of a surrogate pair, not a character; send both halves, or \
                 leave it out"
            )
        } else {
            let text = error.to_string();
            text.split(" at line ").next().unwrap_or_default().to_owned()
        };
        let position = syntax.then(|| (error.line(), error.column()));
        // The path of `serde_path_to_error` ends in `?` if the last element has no name.
        let path = path.map(|path| path.trim_end_matches('?').trim_end_matches('.').to_owned());
        let path = path.filter(|path| !path.is_empty());
        Self { path, problem, position }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "`{path}`: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for JsonError {}

/// Parses a text.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    let read = || serde_json::Deserializer::from_str(text);
    parse(&mut read()).or_else(|_without_path| located(&mut read(), text.as_bytes()))
}

/// Parses bytes.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    let read = || serde_json::Deserializer::from_slice(bytes);
    parse(&mut read()).or_else(|_without_path| located(&mut read(), bytes))
}

/// Converts a value.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    serde_path_to_error::deserialize(Objects(value))
        .map_err(|error| JsonError::new(Some(error.path().to_string()), error.inner(), b""))
}

fn parse<'de, R: serde_json::de::Read<'de>, T: Deserialize<'de>>(
    json: &mut serde_json::Deserializer<R>,
) -> serde_json::Result<T> {
    let read = T::deserialize(Objects(&mut *json))?;
    json.end()?;
    Ok(read)
}

/// Parses a text again after an error, to determine the path of the error.
fn located<'de, R: serde_json::de::Read<'de>, T: Deserialize<'de>>(
    json: &mut serde_json::Deserializer<R>,
    text: &[u8],
) -> Result<T, JsonError> {
    let read = serde_path_to_error::deserialize(Objects(&mut *json))
        .map_err(|error| JsonError::new(Some(error.path().to_string()), error.inner(), text))?;
    json.end().map_err(|error| JsonError::new(None, &error, text))?;
    Ok(read)
}

/// Finds the first unpaired surrogate: an escape `\uD800` to `\uDFFF` that is not part of a pair.
fn unpaired_surrogate(text: &[u8]) -> Option<u16> {
    const ESCAPE: usize = r"\u0000".len();
    let unit = |at: usize| {
        let escape = text.get(at..at + ESCAPE)?;
        let digits = std::str::from_utf8(escape.strip_prefix(br"\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match (byte, unit(at), unit(at + ESCAPE)) {
            (_, Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPE,
            (_, Some(half @ 0xD800..=0xDFFF), _) => return Some(half),
            (_, Some(_), _) => ESCAPE,
            (b'\\', None, _) => 2,
            _ => 1,
        };
    }
    None
}

/// Deserializes an integer that may be written with a zero fraction or an exponent, such as `10.0`
/// or `1e1`. For `#[serde(deserialize_with)]`.
pub(crate) fn optional_integer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    number
        .map(|number| {
            whole(&number).and_then(|whole| whole.as_u64()).ok_or_else(|| {
                serde::de::Error::custom(format_args!("{number} is not an integer of at least 0"))
            })
        })
        .transpose()
}

/// Converts a number to an integer, however it is written. `None`: it has a fraction, does not fit
/// into 64 bits, or is too large to be exact.
pub(crate) fn whole(number: &serde_json::Number) -> Option<serde_json::Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    number.as_f64().and_then(whole_f64).map(Into::into)
}

/// Converts a floating-point number to an integer. `None`: it has a fraction or exceeds 2^53.
pub(crate) fn whole_f64(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and fits")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap};

    use serde_json::{json, value::RawValue};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        flag: bool,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Unit,
        New(Inner),
        Named { inner: Inner },
    }

    #[derive(Debug, Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
        #[serde(borrow)]
        raw: Option<&'a RawValue>,
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        map: BTreeMap<String, Inner>,
        kind: Option<Kind>,
        any: Option<Value>,
    }

    #[test]
    fn well_formed_json_is_parsed() {
        let text = r#"{"text":"t","raw":[1, {}],"inner":{"flag":true},"list":[{"flag":false}],
            "map":{"a":{"flag":true}},"kind":{"named":{"inner":{"flag":true}}},"any":[[1]]}"#;
        let read: Outer<'_> = from_str(text).unwrap();
        assert!(matches!(read.text, Cow::Borrowed("t")), "the text is borrowed");
        assert_eq!(read.raw.unwrap().get(), "[1, {}]");
        assert_eq!(read.inner, Some(Inner { flag: true }));
        assert_eq!((read.list.len(), read.map.len()), (1, 1));
        assert_eq!(read.kind, Some(Kind::Named { inner: Inner { flag: true } }));
        assert_eq!(read.any, Some(json!([[1]])));
        assert_eq!(from_value::<Kind>(json!("unit")), Ok(Kind::Unit));
        assert_eq!(from_value(json!({"new": {"flag": true}})), Ok(Kind::New(Inner { flag: true })));
    }

    #[test]
    fn an_array_is_rejected_in_place_of_an_object_at_any_depth() {
        for (value, path) in [
            (json!(["t", null, null]), None),
            (json!({"text": "t", "inner": [true]}), Some("inner")),
            (json!({"text": "t", "list": [{"flag": true}, [true]]}), Some("list[1]")),
            (json!({"text": "t", "map": {"a": [true]}}), Some("map.a")),
            (json!({"text": "t", "kind": {"new": [true]}}), Some("kind.new")),
            (json!({"text": "t", "kind": {"named": [{"flag": true}]}}), Some("kind.named")),
            (json!({"text": "t", "kind": {"named": {"inner": [true]}}}), Some("kind.named.inner")),
        ] {
            let text = value.to_string();
            let error = from_str::<Outer<'_>>(&text).unwrap_err();
            let place = path.map_or_else(String::new, |path| format!("`{path}`: "));
            let expected = format!("{place}invalid type: sequence, expected an object");
            assert_eq!(error.to_string(), expected, "{text}");
            assert!(error.is_data());
            assert_eq!(from_slice::<Outer<'_>>(text.as_bytes()).unwrap_err(), error);
        }
        assert!(from_value::<Inner>(json!([true])).is_err());
        assert!(
            serde_json::from_value::<Inner>(json!([true])).is_ok(),
            "serde alone accepts an array"
        );
    }

    #[test]
    fn the_error_names_an_unpaired_surrogate() {
        for (text, half) in [
            (r#"{"text": "\ud83d"}"#, "D83D"),
            (r#"{"text": "a\uDE00b"}"#, "DE00"),
            (r#"{"text": "\ud83d\ude00 \\ \ud83d!"}"#, "D83D"),
            (r#"{"text": "\ud83d\ud83d\ude00"}"#, "D83D"),
        ] {
            let error = from_str::<Outer<'_>>(text).unwrap_err();
            let expected = format!("`text`: U+{half} is half of a surrogate pair");
            assert!(error.to_string().starts_with(&expected), "{text}: {error}");
        }
        assert!(from_str::<Outer<'_>>(r#"{"text": "\ud83d\ude00 \\ud83d"}"#).is_ok());
        let other = from_str::<Outer<'_>>(r#"{"text": "\\ud83d", }"#).unwrap_err();
        assert_eq!(other.position(), Some((1, 21)), "{other}");
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction() {
        let read = |text: &str| whole(&serde_json::from_str(text).unwrap());
        for (text, number) in [("10", 10), ("10.0", 10), ("1e1", 10), ("-3.0E0", -3), ("0.0", 0)] {
            assert_eq!(read(text), Some(number.into()), "{text}");
        }
        for text in ["1.5", "1e30", "9007199254740994.0"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
