//! The JSON in the columns of a job. Each value contains the version of its format, so that an instance
//! of another version, during a deployment, detects a value that it cannot read.

use anyhow::{Context as _, bail};
use platform::db::Failure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::convert::internal;

/// The version of the JSON format that this program writes.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Writing<'a, T> {
    v: u8,
    it: &'a T,
}

#[derive(Deserialize)]
struct Reading<T> {
    it: T,
}

#[derive(Deserialize)]
struct Version {
    v: u8,
}

/// Encodes a value for a column.
pub(crate) fn encode(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(&Writing { v: VERSION, it: value }).map_err(internal)
}

/// Decodes a column. Fails if the value has no version, or another version than [`VERSION`].
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let Version { v } = serde_json::from_str(text).context("the value has no format version")?;
    if v != VERSION {
        bail!("the value has format version {v}; this program reads version {VERSION}");
    }
    Ok(serde_json::from_str::<Reading<T>>(text)?.it)
}

#[cfg(test)]
mod tests {
    use mcp::{RpcError, job::JobOutcome};
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_value_of_another_format_version_is_rejected() {
        let text = encode(&"it").unwrap();
        assert_eq!(text, r#"{"v":1,"it":"it"}"#);
        assert_eq!(decode::<String>(&text).unwrap(), "it");
        assert!(decode::<String>(r#"{"v":2,"it":"it"}"#).is_err());
        assert!(decode::<String>(r#""it""#).is_err());
    }

    #[test]
    fn an_outcome_is_restored_byte_for_byte() {
        let text = r#"{ "content": [],  "x": "\u0000" }"#;
        let result = RawValue::from_string(text.to_owned()).unwrap();
        let kept =
            encode(&JobOutcome::Result { result, is_error: false, is_fault: false }).unwrap();
        let JobOutcome::Result { result, is_error: false, .. } = decode(&kept).unwrap() else {
            panic!("expected a result")
        };
        assert_eq!(result.get(), text);
        let error = RpcError::invalid_params("no");
        let kept = encode(&JobOutcome::Error(error.clone())).unwrap();
        assert!(matches!(decode(&kept).unwrap(), JobOutcome::Error(decoded) if decoded == error));
    }
}
