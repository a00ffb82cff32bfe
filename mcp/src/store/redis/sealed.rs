//! Values with users' content: encrypted, behind a format character of their own.
//!
//! Sealed are the events of streams, the calls that wait or may be run again, their answers, and
//! messages of jobs on the bus. Everything else is in plain text, because scripts read it or because
//! it contains no content: ids, numbers, capabilities, URIs of resources, and the keys that tools give
//! their questions.

use serde::{Serialize, de::DeserializeOwned};

use super::value::{FORMAT, field, unreadable};
use crate::{
    content_keys::ContentKeys,
    store::{SessionId, StoreError, StreamKey, Writer},
};

/// The first character of a sealed value. A value of an older version begins with [`FORMAT`].
const SEALED: u8 = b'2';

/// Seals and opens values. A place names the kind of a value and where it is stored: a value that is
/// moved to another session, stream, request or question cannot be opened. Events have no position in
/// their place, because only the script that appends them knows it.
#[derive(Clone)]
pub(super) struct Content(ContentKeys);

impl Content {
    pub(super) fn new(keys: ContentKeys) -> Self {
        Self(keys)
    }

    /// The place of the events of a stream.
    pub(super) fn of_event(key: &StreamKey) -> String {
        ["event/", key.session.as_str(), "/", key.stream.as_str()].concat()
    }

    /// The place of a stored call. All runs of a request have the same one.
    pub(super) fn of_call(writer: &Writer) -> String {
        let key = &writer.key;
        format!("call/{}/{}/{}", key.session.as_str(), key.stream.as_str(), field(&writer.request))
    }

    /// The place of the answer to an open question. The instance that stores it does not know yet
    /// which call the question belongs to, so the value contains the id of the question.
    pub(super) fn of_answer(session: &SessionId) -> String {
        format!("answer/{}", session.as_str())
    }

    /// The place of an answer that a call had when it asked again. `name`: the tool's key of the
    /// question.
    pub(super) fn of_earlier_answer(writer: &Writer, name: &str) -> String {
        format!("earlier-{}/{name}", Self::of_call(writer))
    }

    /// The place of a signal.
    pub(super) fn of_signal(channel: &str) -> String {
        format!("signal/{channel}")
    }

    /// Encrypts a text.
    pub(super) fn seal(&self, place: &str, text: &str) -> Vec<u8> {
        let mut value = vec![SEALED];
        self.0.seal_to(&mut value, place, text.as_bytes());
        value
    }

    /// Encodes a value as JSON, and encrypts it.
    pub(super) fn write(&self, place: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        let json = serde_json::to_string(value).map_err(unreadable)?;
        Ok(self.seal(place, &json))
    }

    /// Decrypts a text. Accepts one that an older version stored in plain text. `Ok(None)`: it cannot
    /// be decrypted, which has been logged; the caller treats it as lost.
    pub(super) fn open(&self, place: &str, value: &[u8]) -> Result<Option<String>, StoreError> {
        let Some(sealed) = value.strip_prefix(&[SEALED]) else {
            return plain(value).map(|text| Some(text.to_owned()));
        };
        let opened = self.0.open_text(place, sealed).inspect_err(|error| {
            tracing::error!(
                %error, kind = place.split('/').next(),
                "Could not decrypt a value in Redis; its call or stream is treated as lost"
            );
        });
        Ok(opened.ok())
    }

    /// Decodes what [`write`](Self::write) encoded; see [`open`](Self::open).
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        place: &str,
        value: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let Some(text) = self.open(place, value)? else {
            return Ok(None);
        };
        crate::json::from_str(&text).map(Some).map_err(unreadable)
    }
}

/// Whether a value is encrypted.
pub(super) fn is_sealed(value: &[u8]) -> bool {
    value.first() == Some(&SEALED)
}

/// The text of a value that is not encrypted.
fn plain(value: &[u8]) -> Result<&str, StoreError> {
    let text = str::from_utf8(value).ok().and_then(|text| text.strip_prefix(FORMAT));
    text.ok_or_else(|| unreadable("the value has a format that this version cannot read"))
}
