//! [`Secret`]: a value that cannot be printed or serialized by accident, and is compared in
//! constant time.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// A secret text, such as the signing secret or a database URL with its password.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret. Search for calls of this method to find every use of a plain secret.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Derives a key by HKDF-SHA256. Keys with different labels are independent, so one secret can
    /// serve several purposes.
    pub fn derive<const N: usize>(&self, label: &str) -> [u8; N] {
        const { assert!(N > 0 && N <= 64, "a key of 1 to 64 bytes") };
        let mut key = [0; N];
        Hkdf::<Sha256>::new(None, self.0.as_bytes())
            .expand(label.as_bytes(), &mut key)
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        key
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
    }

    #[test]
    fn keys_depend_on_the_secret_and_on_the_label() {
        let key: [u8; 32] = Secret::new("a").derive("one");
        assert_eq!(key, Secret::new("a").derive::<32>("one"));
        assert_ne!(key, Secret::new("a").derive::<32>("two"));
        assert_ne!(key, Secret::new("b").derive::<32>("one"));
    }
}
