//! Encryption of users' content in stores that hold it only for a while: stream logs, calls that
//! wait for an answer, messages between instances, and jobs.
//!
//! The cipher is AES-256-GCM-SIV (RFC 8452) with random nonces of 96 bits. Every event of a stream is
//! sealed and opened, so a cipher for which processors have instructions is worth it: sealing and
//! opening an event takes 3,200 instructions. XChaCha20-Poly1305, which seals the request states, takes
//! several times as many. Instances share no counter, so a nonce may repeat after many billions of
//! values; with this cipher, that reveals only whether two values are equal.

use std::{fmt, sync::Arc};

use aws_lc_rs::aead::{
    AES_256_GCM_SIV, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey,
};

/// The length of a key id, in bytes.
const KEY_ID: usize = 8;

/// By how many bytes a sealed value is longer than its content.
const OVERHEAD: usize = KEY_ID + NONCE_LEN + MAX_TAG_LEN;

/// The keys that encrypt content: the first one seals, and all of them open. All instances must have
/// the same keys. Cheap to clone.
#[derive(Clone)]
pub struct ContentKeys {
    keys: Arc<[ContentKey]>,
    settings: &'static str,
}

/// A key of [`ContentKeys`], with the id that its values begin with.
pub struct ContentKey {
    id: [u8; KEY_ID],
    key: LessSafeKey,
}

/// A sealed value cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// Its key is not among the keys of this process.
    #[error(
        "it is encrypted with a key that this process does not have; list the secrets of all \
         processes in {settings}"
    )]
    UnknownKey {
        /// The settings from which the keys are derived.
        settings: &'static str,
    },
    /// It is damaged, or was sealed for another place.
    #[error("it is damaged, or belongs to another place")]
    Damaged,
}

impl ContentKey {
    /// Creates a key from 256 secret bits that are used for no other purpose. `id`: distinguishes the
    /// keys of a list; stored in plain text.
    pub fn new(id: [u8; KEY_ID], key: [u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &key).expect("a key of 256 bits");
        Self { id, key: LessSafeKey::new(key) }
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey")
    }
}

impl ContentKeys {
    /// Creates a list of keys, newest first. `settings`: the names of the settings from which they are
    /// derived, for the error about an unknown key.
    ///
    /// # Panics
    /// If `keys` is empty.
    pub fn new(keys: impl IntoIterator<Item = ContentKey>, settings: &'static str) -> Self {
        let keys: Arc<[ContentKey]> = keys.into_iter().collect();
        assert!(!keys.is_empty(), "content needs at least one key");
        Self { keys, settings }
    }

    /// Encrypts content with the first key and appends it to `out`. `place` says what the value is
    /// and where it is stored; the value can be opened with the same place only.
    pub fn seal_to(&self, out: &mut Vec<u8>, place: &str, content: &[u8]) {
        let ContentKey { id, key } = self.keys.first().expect("checked by `new`");
        let nonce: [u8; NONCE_LEN] = rand::random();
        out.reserve(OVERHEAD + content.len());
        out.extend(id);
        out.extend(nonce);
        let start = out.len();
        out.extend(content);
        let content = out.split_at_mut(start).1;
        let tag = key
            .seal_in_place_separate_tag(Nonce::from(&nonce), Aad::from(place), content)
            .expect("content that fits into memory can be sealed");
        out.extend(tag.as_ref());
    }

    /// Decrypts a value of [`seal_to`](Self::seal_to). A failure is counted ([`crate::COUNTED`]); the
    /// caller logs what it means.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        self.decrypt(place, sealed).inspect_err(|error| match error {
            CannotOpen::UnknownKey { .. } => {
                tracing::debug!(target: crate::COUNTED, content_unknown_key = 1_u64, "{error}");
            }
            CannotOpen::Damaged => {
                tracing::debug!(target: crate::COUNTED, content_damaged = 1_u64, "{error}");
            }
        })
    }

    fn decrypt(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let (id, sealed) = sealed.split_first_chunk::<KEY_ID>().ok_or(CannotOpen::Damaged)?;
        let key = self.keys.iter().find(|key| key.id == *id);
        let key = key.ok_or(CannotOpen::UnknownKey { settings: self.settings })?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CannotOpen::Damaged)?;
        let mut content = sealed.to_vec();
        let opened = key.key.open_in_place(Nonce::from(nonce), Aad::from(place), &mut content);
        let length = opened.map_err(|_unspecified| CannotOpen::Damaged)?.len();
        content.truncate(length);
        Ok(content)
    }

    /// Decrypts a value whose content is a text.
    pub fn open_text(&self, place: &str, sealed: &[u8]) -> Result<String, CannotOpen> {
        let content = self.open(place, sealed)?;
        String::from_utf8(content).map_err(|_not_text| CannotOpen::Damaged)
    }
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKeys({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(numbers: &[u8]) -> ContentKeys {
        let key = |number: &u8| ContentKey::new([*number; KEY_ID], [*number; 32]);
        ContentKeys::new(numbers.iter().map(key), "SETTING")
    }

    fn sealed(keys: &ContentKeys, place: &str, content: &str) -> Vec<u8> {
        let mut out = Vec::new();
        keys.seal_to(&mut out, place, content.as_bytes());
        assert_eq!(out.len(), OVERHEAD + content.len());
        out
    }

    #[test]
    fn the_first_key_seals_and_all_keys_open() {
        let (old, new, both) = (keys(&[1]), keys(&[2]), keys(&[2, 1]));
        let by_old = sealed(&old, "event/a", "a text");
        assert_eq!(both.open_text("event/a", &by_old).as_deref(), Ok("a text"));
        let by_both = sealed(&both, "event/a", "a text");
        assert_eq!(new.open_text("event/a", &by_both).as_deref(), Ok("a text"));
        let unknown = old.open_text("event/a", &by_both).unwrap_err();
        assert_eq!(unknown, CannotOpen::UnknownKey { settings: "SETTING" });
        assert!(unknown.to_string().contains("in SETTING"));
    }

    #[test]
    fn a_value_opens_in_its_own_context_only_and_is_never_the_same_twice() {
        let keys = keys(&[1]);
        let one = sealed(&keys, "event/a", "a text");
        assert_eq!(keys.open("event/b", &one), Err(CannotOpen::Damaged));
        assert_ne!(one, sealed(&keys, "event/a", "a text"));
        assert_eq!(format!("{keys:?}"), "ContentKeys(1)");
    }

    proptest! {
        #[test]
        fn only_an_unmodified_value_opens(
            text in any::<String>(), at in any::<prop::sample::Index>(), flip in 1_u8..=255,
        ) {
            let keys = keys(&[1]);
            let mut value = sealed(&keys, "x", &text);
            let opened = keys.open_text("x", &value);
            prop_assert_eq!(opened.as_deref(), Ok(text.as_str()));
            let at = at.index(value.len());
            prop_assert!(keys.open("x", &value[..at]).is_err());
            value[at] ^= flip;
            prop_assert!(keys.open("x", &value).is_err());
        }
    }
}
