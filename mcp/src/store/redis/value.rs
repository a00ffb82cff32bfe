//! How values are written in Redis.

use std::{collections::HashMap, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::BoxError,
    json,
    rpc::RequestId,
    store::{StoreError, StoredCall},
};

/// Marks the format of every value, here and in the scripts. Readers of the next format will know
/// this one too.
pub(super) const FORMAT: char = '1';

/// The call without its answers, as JSON.
const CALL: &str = "call";

/// One field per answer begins so.
const ANSWER: &str = "answer:";

/// What log events call Redis in their field `dependency`.
pub(super) const REDIS: &str = "redis";

pub(super) fn unavailable(error: impl Into<BoxError>) -> StoreError {
    StoreError::new(Some(REDIS), error)
}

fn unreadable(error: impl Into<BoxError>) -> StoreError {
    StoreError::new(None, error)
}

/// A value as it is stored.
pub(super) fn write(value: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_string(value).map_err(unreadable)?;
    Ok(format!("{FORMAT}{json}"))
}

/// A stored value.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    let value = text
        .strip_prefix(FORMAT)
        .ok_or_else(|| unreadable("the value has a format that this version cannot read"))?;
    json::from_str(value).map_err(unreadable)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A message as it is stored.
pub(super) fn stored_text(message: &str) -> String {
    format!("{FORMAT}{message}")
}

/// A request as a part of a name. Tells the number 1 from the string "1".
pub(super) fn field(request: &RequestId) -> String {
    serde_json::to_string(request).unwrap_or_default()
}

/// The call of a hash, if it has one.
pub(super) fn assemble(fields: &HashMap<String, String>) -> Result<Option<StoredCall>, StoreError> {
    let Some(call) = fields.get(CALL) else {
        return Ok(None);
    };
    let mut call: StoredCall = read(call)?;
    for (name, answer) in fields {
        if let Some(key) = name.strip_prefix(ANSWER) {
            call.answers.insert(key.to_owned(), read(answer)?);
        }
    }
    Ok(Some(call))
}
