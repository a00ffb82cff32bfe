//! The ids that the server creates: 128 random bits each.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The id of a legacy session: 128 random bits in URL-safe base64. Not a credential: a session is
/// looked up by its id and its user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Creates a random id.
    pub fn random() -> Self {
        Self::from_bits(&rand::random())
    }

    /// Creates an id from 128 bits, which must be random.
    pub fn from_bits(bits: &[u8; 16]) -> Self {
        Self(encoded_id(bits).into())
    }

    /// Parses an id sent by a client. `None`: not in the format of an id.
    pub fn parse(text: &str) -> Option<Self> {
        is_random_id(text).then(|| Self(text.into()))
    }

    /// The id as in the `Mcp-Session-Id` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

/// The id of an event stream of a session: random for the stream of a POST, and
/// [`StreamId::standalone`] for the stream that GET opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(Arc<str>);

impl StreamId {
    const STANDALONE: &'static str = "get";

    /// Creates a random id for the stream of a POST.
    pub fn random() -> Self {
        Self::from_bits(&rand::random())
    }

    /// Creates an id for the stream of a POST from 128 bits, which must be random.
    pub fn from_bits(bits: &[u8; 16]) -> Self {
        Self(encoded_id(bits).into())
    }

    /// The id of the session's stream for messages that do not belong to a call.
    pub fn standalone() -> Self {
        Self(Self::STANDALONE.into())
    }

    /// Parses what [`Self::as_str`] returned.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (is_random_id(text) || text == Self::STANDALONE).then(|| Self(text.into()))
    }

    /// Parses what [`Self::as_str`] returned for the stream of a POST.
    pub(crate) fn of_call(text: &str) -> Option<Self> {
        is_random_id(text).then(|| Self(text.into()))
    }

    /// Takes an id from a store, without checking it.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether this is the stream that GET opens.
    pub fn is_standalone(&self) -> bool {
        &*self.0 == Self::STANDALONE
    }

    /// The id as in an event id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a job: 128 random bits in URL-safe base64. Also its MCP task id. Not a credential: a
/// job is looked up by its id and its user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Arc<str>);

impl JobId {
    /// Creates a random id.
    pub fn random() -> Self {
        Self::from_bits(&rand::random())
    }

    /// Creates an id from 128 bits, which must be random.
    pub fn from_bits(bits: &[u8; 16]) -> Self {
        Self(encoded_id(bits).into())
    }

    /// Derives an id from a hash.
    pub(crate) fn of_hash(hash: &[u8; 32]) -> Self {
        Self(encoded_id(hash.first_chunk().expect("a hash is longer than an id")).into())
    }

    /// Parses an id sent by a client. `None`: not in the format of an id.
    pub fn parse(text: &str) -> Option<Self> {
        is_random_id(text).then(|| Self(text.into()))
    }

    /// The id as sent to the client.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The length of 128 bits in base64 without padding.
const ID_LENGTH: usize = 22;

/// Creates 128 random bits in URL-safe base64.
pub(crate) fn random_id() -> String {
    encoded_id(&rand::random())
}

pub(crate) fn encoded_id(bits: &[u8; 16]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bits)
}

pub(crate) fn is_random_id(text: &str) -> bool {
    text.len() == ID_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_format_of_an_id_is_accepted() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        for bad in ["", "x", "aaaaaaaaaaaaaaaaaaaaa!", "aaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(SessionId::parse(bad), None);
        }
    }
}
