//! Encryption of the columns with users' content: arguments, answers, questions, checkpoints,
//! outcomes, progress messages and errors.
//!
//! The column `call` is in plain text: it says who started a job and how its end is delivered, and has
//! no content.

use std::borrow::Cow;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use entity::jobs::Column;
use mcp::{CannotOpen, ContentKeys, job::JobId};
use platform::db::Failure;
use sea_orm::IdenStatic as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::encoding;

/// What an encrypted column begins with; the rest is base64. It is not JSON, so that a version that
/// does not know encrypted columns leaves the job to others instead of running it with wrong arguments.
const SEALED: &str = "sealed:1:";

/// The result of a job whose content cannot be decrypted, for the model.
pub(crate) const LOST_CONTENT: &str = "The server can no longer read the stored data of this job, so \
    the job has failed. If it had begun, check what it has done; then start it again.";

/// Whether an operation failed because content cannot be decrypted.
pub(crate) fn is_lost(failure: &Failure) -> bool {
    matches!(failure, Failure::Internal(error) if error.downcast_ref::<CannotOpen>().is_some())
}

/// The content of one job. A value can be read only in the column and job that it was written for.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    keys: &'a ContentKeys,
    job: &'a str,
}

impl<'a> Content<'a> {
    /// The content of the job with this id.
    pub(crate) fn of(keys: &'a ContentKeys, job: &'a str) -> Self {
        Self { keys, job }
    }

    /// The content of this job.
    pub(crate) fn of_job(keys: &'a ContentKeys, job: &'a JobId) -> Self {
        Self::of(keys, job.as_str())
    }

    fn place(self, column: Column) -> String {
        format!("jobs/{}/{}", column.as_str(), self.job)
    }

    /// Encrypts a text.
    pub(crate) fn seal(self, column: Column, text: &str) -> String {
        let mut sealed = Vec::new();
        self.keys.seal_to(&mut sealed, &self.place(column), text.as_bytes());
        let mut stored = SEALED.to_owned();
        STANDARD_NO_PAD.encode_string(sealed, &mut stored);
        stored
    }

    /// Encodes a value like [`encoding::encode`], and encrypts it.
    pub(crate) fn encode(self, column: Column, value: &impl Serialize) -> Result<String, Failure> {
        Ok(self.seal(column, &encoding::encode(value)?))
    }

    /// Decrypts a text. Returns one that an older version stored in plain text as it is.
    pub(crate) fn open(self, column: Column, stored: &str) -> anyhow::Result<Cow<'_, str>> {
        let Some(sealed) = stored.strip_prefix(SEALED) else {
            return Ok(stored.into());
        };
        // A text that is not base64 is counted and refused like an empty value: it is damaged.
        let sealed = STANDARD_NO_PAD.decode(sealed).unwrap_or_default();
        let opened = self.keys.open_text(&self.place(column), &sealed);
        Ok(opened.context("an encrypted column cannot be decrypted")?.into())
    }

    /// Decodes what [`encode`](Self::encode) encoded.
    pub(crate) fn decode<T: DeserializeOwned>(
        self,
        column: Column,
        stored: &str,
    ) -> anyhow::Result<T> {
        encoding::decode(&self.open(column, stored)?)
    }

    /// Decodes a column that may be `NULL`; `NULL` is the default value.
    pub(crate) fn decode_or_default<T: DeserializeOwned + Default>(
        self,
        column: Column,
        stored: Option<&str>,
    ) -> anyhow::Result<T> {
        stored.map_or_else(|| Ok(T::default()), |stored| self.decode(column, stored))
    }
}

#[cfg(test)]
mod tests {
    use mcp::ContentKey;

    use super::*;
    use crate::convert::unreadable;

    fn keys(number: u8) -> ContentKeys {
        ContentKeys::new([ContentKey::new([number; 8], [number; 32])], "SETTING")
    }

    #[test]
    fn a_column_is_encrypted_for_its_own_job_and_column() {
        let keys = keys(1);
        let content = Content::of(&keys, "a-job");
        let stored = content.encode(Column::Outcome, &"a text").unwrap();
        assert!(stored.starts_with(SEALED) && !stored.contains("a text"));
        assert_eq!(content.decode::<String>(Column::Outcome, &stored).unwrap(), "a text");
        assert!(content.decode::<String>(Column::Answers, &stored).is_err());
        let other = Content::of(&keys, "another-job");
        assert!(other.decode::<String>(Column::Outcome, &stored).is_err());
        for damaged in ["sealed:1:", "sealed:1:?", &stored[..stored.len() - 2]] {
            let error = content.open(Column::Outcome, damaged).unwrap_err();
            assert!(is_lost(&unreadable("the outcome", error)), "{damaged}");
        }
    }

    #[test]
    fn a_column_of_an_older_version_is_read_in_plain_text() {
        let keys = keys(1);
        let content = Content::of(&keys, "a-job");
        let stored = encoding::encode(&"a text").unwrap();
        assert_eq!(content.decode::<String>(Column::Outcome, &stored).unwrap(), "a text");
        assert_eq!(content.open(Column::Message, "a text").unwrap(), "a text");
    }

    #[test]
    fn a_column_with_an_unknown_key_says_which_setting_to_check() {
        let stored = Content::of(&keys(1), "a-job").seal(Column::Message, "a text");
        let error = Content::of(&keys(2), "a-job").open(Column::Message, &stored).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(CannotOpen::UnknownKey { .. })));
        assert!(format!("{error:#}").contains("SETTING"));
    }

    #[test]
    fn an_encrypted_column_is_no_json() {
        let stored = Content::of(&keys(1), "a-job").seal(Column::Arguments, "{}");
        assert!(serde_json::from_str::<serde_json::Value>(&stored).is_err());
    }
}
