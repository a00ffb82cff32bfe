//! The format of values in Redis.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{error::BoxError, json, rpc::RequestId, store::StoreError};

/// The first character of every value that is not sealed, here and in the scripts. Identifies the
/// format; a reader of a later format must accept this one, too.
pub(super) const FORMAT: char = '1';

/// The value of the field `dependency` of log events about Redis.
pub(super) const REDIS: &str = "redis";

/// The error of a command that Redis did not answer.
pub(super) fn unavailable(error: impl Into<BoxError>) -> StoreError {
    StoreError::new(Some(REDIS), error)
}

/// The error of a stored value that cannot be read. Redis itself is available.
pub(super) fn unreadable(error: impl Into<BoxError>) -> StoreError {
    StoreError::new(None, error)
}

/// Encodes a value as JSON with the format prefix.
pub(super) fn write(value: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_string(value).map_err(unreadable)?;
    Ok(format!("{FORMAT}{json}"))
}

/// Decodes what [`write()`] encoded.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    let value = text
        .strip_prefix(FORMAT)
        .ok_or_else(|| unreadable("the value has a format that this version cannot read"))?;
    json::from_str(value).map_err(unreadable)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A text with the format prefix.
pub(super) fn stored_text(message: &str) -> String {
    format!("{FORMAT}{message}")
}

/// A request id as part of a key or field name, as JSON: the number 1 differs from the string "1".
pub(super) fn field(request: &RequestId) -> String {
    serde_json::to_string(request).unwrap_or_default()
}
