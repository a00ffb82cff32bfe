//! Sealing what is kept for a person, under keys that the operator can change.
//!
//! The keys are a list: the first one seals, every one opens. So a new key goes to the front, and the
//! old one leaves once nothing is sealed under it any more.

use std::fmt;

use crate::{
    sealing::{Damaged, SealingKey},
    secret::Secret,
};

/// Bytes of the name of a key.
const KEY_ID: usize = 8;

/// The keys of `DATA_KEYS`.
#[derive(Clone, Default)]
pub struct DataKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: [u8; KEY_ID],
    sealing: SealingKey,
}

/// What was sealed cannot be opened: under a key that is not in the list, for somebody else, or
/// damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// The key is not in the list.
    #[error("it is sealed under a key that is not in DATA_KEYS")]
    UnknownKey,
    /// It is not what was sealed for this purpose.
    #[error("{Damaged}")]
    Damaged,
}

impl DataKeys {
    /// Derives the keys from secrets, the sealing one first.
    pub fn new(secrets: &[Secret]) -> Self {
        let keys = secrets.iter().map(|secret| {
            let sealing = SealingKey::new(secret.derive("data-key/v1"));
            Key { id: secret.derive("data-key-id"), sealing }
        });
        Self(keys.collect())
    }

    /// Whether there is none, so nothing can be sealed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seals a text for one purpose, such as the person that it belongs to: it opens for the same
    /// purpose only. Nothing without a key.
    pub fn seal(&self, purpose: &str, text: &str) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let sealed = key.sealing.seal(purpose.as_bytes(), text.as_bytes()).ok()?;
        Some([&key.id[..], &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Secret, CannotOpen> {
        let (id, sealed) = sealed.split_first_chunk::<KEY_ID>().ok_or(CannotOpen::Damaged)?;
        let key = self.0.iter().find(|it| it.id == *id).ok_or(CannotOpen::UnknownKey)?;
        let text = key.sealing.open(purpose.as_bytes(), sealed);
        let text = text.map_err(|Damaged| CannotOpen::Damaged)?;
        String::from_utf8(text).map(Secret::new).map_err(|_not_text| CannotOpen::Damaged)
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

    fn keys(secrets: &[&str]) -> DataKeys {
        DataKeys::new(&secrets.iter().map(|it| Secret::new(*it)).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let old = keys(&["old"]);
        let sealed = old.seal("github:1", "gho_x").unwrap();
        let both = keys(&["new", "old"]);
        assert_eq!(both.open("github:1", &sealed).unwrap().expose(), "gho_x");
        let sealed = both.seal("github:1", "gho_y").unwrap();
        assert_eq!(keys(&["new"]).open("github:1", &sealed).unwrap().expose(), "gho_y");
        assert_eq!(old.open("github:1", &sealed), Err(CannotOpen::UnknownKey));
    }

    #[test]
    fn what_is_sealed_belongs_to_one_person() {
        let keys = keys(&["key"]);
        let sealed = keys.seal("github:1", "gho_x").unwrap();
        assert_eq!(keys.open("github:2", &sealed), Err(CannotOpen::Damaged));
        assert_ne!(sealed, keys.seal("github:1", "gho_x").unwrap());
    }

    #[test]
    fn without_a_key_nothing_is_sealed() {
        assert!(DataKeys::default().seal("github:1", "gho_x").is_none());
        assert_eq!(format!("{:?}", keys(&["hunter2"])), "DataKeys(1)");
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_nothing_else_does(
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
