//! Encryption of stored user secrets, with keys that the operator can rotate.
//!
//! The keys are a list: the first one encrypts, and all of them decrypt. It contains the secrets of
//! `DATA_KEYS`, and after them a key derived from each secret of `JWT_SIGNING_SECRET`. So
//! `DATA_KEYS` is optional, and values that were encrypted before it was set, or before either
//! variable got a new first value, can still be decrypted.

use std::fmt;

use platform::{
    sealing::{Damaged, SealingKey},
    secret::Secret,
};

/// The length of a key id, in bytes.
const KEY_ID: usize = 8;

/// The keys of `DATA_KEYS` and those derived from `JWT_SIGNING_SECRET`.
#[derive(Clone, Default)]
pub struct DataKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: [u8; KEY_ID],
    sealing: SealingKey,
    source: KeySource,
}

/// The variable that a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A secret of `DATA_KEYS`.
    DataKeys,
    /// Derived from a secret of `JWT_SIGNING_SECRET`.
    SigningSecret,
}

impl KeySource {
    /// Returns the HKDF labels of the key and of its id. They differ from every other label that is
    /// used with the same secret.
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::DataKeys => ("data-key/v1", "data-key-id"),
            Self::SigningSecret => {
                ("data-key-of-signing-secret/v1", "data-key-of-signing-secret-id")
            }
        }
    }
}

/// A value cannot be decrypted: its key is not in the list, it belongs to another purpose, or it is
/// damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// The key is not in the list.
    #[error(
        "it is encrypted with a key that is derived neither from DATA_KEYS nor from \
         JWT_SIGNING_SECRET; append the old secret to the variable that was changed: new,old"
    )]
    UnknownKey,
    /// The value is damaged, or was encrypted for another purpose.
    #[error("{Damaged}")]
    Damaged,
}

impl DataKeys {
    /// Derives the keys from the secrets of both variables, newest first. The first key encrypts:
    /// that of the first data key, or, without one, that of the first signing secret.
    pub fn new(data_keys: &[Secret], signing_secrets: &[Secret]) -> Self {
        let of_data_keys = data_keys.iter().map(|it| Key::derive(it, KeySource::DataKeys));
        let derived = signing_secrets.iter().map(|it| Key::derive(it, KeySource::SigningSecret));
        Self(of_data_keys.chain(derived).collect())
    }

    /// Returns the variable that the encrypting key comes from. `None`: there is no key.
    pub fn seals_with(&self) -> Option<KeySource> {
        self.0.first().map(|key| key.source)
    }

    /// Returns whether there is no key, so that nothing can be encrypted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encrypts a text for one purpose, such as the user that it belongs to: it can be decrypted
    /// for the same purpose only. `None`: there is no key.
    pub fn seal(&self, purpose: &str, text: &str) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let sealed = key.sealing.seal(purpose.as_bytes(), text.as_bytes()).ok()?;
        Some([&key.id[..], &sealed].concat())
    }

    /// Returns whether a value is encrypted with the first key, so that the others are not needed
    /// for it.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        self.0.first().is_some_and(|key| sealed.starts_with(&key.id))
    }

    /// Decrypts a value of [`seal`](Self::seal).
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Secret, CannotOpen> {
        let (id, sealed) = sealed.split_first_chunk::<KEY_ID>().ok_or(CannotOpen::Damaged)?;
        let key = self.0.iter().find(|it| it.id == *id).ok_or(CannotOpen::UnknownKey)?;
        let text = key.sealing.open(purpose.as_bytes(), sealed);
        let text = text.map_err(|Damaged| CannotOpen::Damaged)?;
        String::from_utf8(text).map(Secret::new).map_err(|_not_text| CannotOpen::Damaged)
    }
}

impl Key {
    fn derive(secret: &Secret, source: KeySource) -> Self {
        let (key, id) = source.labels();
        Self { id: secret.derive(id), sealing: SealingKey::new(secret.derive(key)), source }
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKeys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|it| Secret::new(*it)).collect()
    }

    fn keys(data_keys: &[&str]) -> DataKeys {
        DataKeys::new(&secrets(data_keys), &[])
    }

    fn both(data_keys: &[&str], signing_secrets: &[&str]) -> DataKeys {
        DataKeys::new(&secrets(data_keys), &secrets(signing_secrets))
    }

    #[test]
    fn the_first_key_encrypts_and_all_keys_decrypt() {
        let old = keys(&["old"]);
        let sealed = old.seal("github:1", "gho_x").unwrap();
        let both = keys(&["new", "old"]);
        assert_eq!(both.open("github:1", &sealed).unwrap().expose(), "gho_x");
        let sealed = both.seal("github:1", "gho_y").unwrap();
        assert_eq!(keys(&["new"]).open("github:1", &sealed).unwrap().expose(), "gho_y");
        assert_eq!(old.open("github:1", &sealed), Err(CannotOpen::UnknownKey));
    }

    #[test]
    fn values_stay_readable_whichever_variable_changes() {
        let opens = |keys: &DataKeys, sealed: &[u8]| {
            keys.open("github:1", sealed).map(|it| it.expose().to_owned())
        };
        let derived = both(&[], &["a"]);
        assert_eq!(derived.seals_with(), Some(KeySource::SigningSecret));
        let old = derived.seal("github:1", "gho_x").unwrap();

        for (case, after) in [
            ("another instance", both(&[], &["a"])),
            ("DATA_KEYS is set", both(&["k"], &["a"])),
            ("the signing secret changes", both(&[], &["b", "a"])),
            ("it changes twice", both(&[], &["c", "b", "a"])),
            ("both change", both(&["k"], &["b", "a"])),
        ] {
            assert_eq!(opens(&after, &old).as_deref(), Ok("gho_x"), "{case}");
        }
        assert!(!both(&["k"], &["a"]).is_current(&old) && derived.is_current(&old));
        for (case, without) in [
            ("another secret", both(&[], &["b"])),
            ("the same text is another key in DATA_KEYS", both(&["a"], &[])),
        ] {
            assert_eq!(opens(&without, &old), Err(CannotOpen::UnknownKey), "{case}");
        }

        let explicit = both(&["k"], &["a"]);
        assert_eq!(explicit.seals_with(), Some(KeySource::DataKeys));
        let sealed = explicit.seal("github:1", "gho_y").unwrap();
        for after in [both(&["k"], &["b"]), both(&["l", "k"], &["b"])] {
            assert_eq!(opens(&after, &sealed).as_deref(), Ok("gho_y"));
        }
    }

    #[test]
    fn a_sealed_value_is_bound_to_its_purpose() {
        let keys = keys(&["key"]);
        let sealed = keys.seal("github:1", "gho_x").unwrap();
        assert_eq!(keys.open("github:2", &sealed), Err(CannotOpen::Damaged));
        assert_ne!(sealed, keys.seal("github:1", "gho_x").unwrap());
    }

    #[test]
    fn sealing_without_a_key_returns_none() {
        assert!(DataKeys::default().seal("github:1", "gho_x").is_none());
        assert_eq!(format!("{:?}", keys(&["hunter2"])), "DataKeys(1)");
    }

    proptest! {
        #[test]
        fn only_an_unmodified_value_opens(
            text in any::<String>(), at in any::<prop::sample::Index>(), flip in 1_u8..=255,
        ) {
            let keys = keys(&["key"]);
            let mut sealed = keys.seal("github:1", &text).unwrap();
            let opened = keys.open("github:1", &sealed).unwrap();
            prop_assert_eq!(opened.expose(), &text);
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(keys.open("github:1", &sealed).is_err());
            prop_assert!(keys.open("github:1", &sealed[..at]).is_err());
        }
    }
}
