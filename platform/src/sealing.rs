//! Authenticated encryption with one key, for values stored where others can read them:
//! XChaCha20-Poly1305, with a random nonce before the ciphertext.
//!
//! The caller decides which key to use, what purpose a value is bound to, and what a value that
//! cannot be opened means.

use anyhow::anyhow;
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{self, Aead as _, KeyInit as _, Payload},
};

/// The size of a nonce in bytes: long enough to be random, without a counter that instances would
/// have to share.
const NONCE: usize = 24;

/// The sealed value is damaged, or was sealed with another key or for another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or was encrypted for another purpose")]
pub struct Damaged;

/// A key that seals and opens values.
#[derive(Clone)]
pub struct SealingKey(XChaCha20Poly1305);

impl SealingKey {
    /// Creates a key from 256 secret bits that are used for nothing else.
    pub fn new(key: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    /// Encrypts a value. Returns nonce and ciphertext, which can be opened for the same `purpose`
    /// only.
    pub fn seal(&self, purpose: &[u8], plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::random();
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: purpose })
            .map_err(|aead::Error| anyhow!("could not seal {} bytes", plain.len()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts a value from [`seal`](Self::seal).
    pub fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Damaged> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(Damaged)?;
        self.0
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: purpose })
            .map_err(|aead::Error| Damaged)
    }
}
