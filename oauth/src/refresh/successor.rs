//! The encryption of a successor with a key derived from its predecessor.

use anyhow::{Context as _, anyhow};
use entity::oauth_refresh_tokens::Model;
use platform::{
    sealing::{Damaged, SealingKey},
    secret::Secret,
};

use crate::token_format::PlainToken;

/// Encrypts the successor of a presented token.
pub(super) fn seal(
    presented: &PlainToken,
    row: &Model,
    successor: &PlainToken,
) -> anyhow::Result<Vec<u8>> {
    key(presented).seal(&purpose(row), successor.expose().as_bytes())
}

/// Decrypts the successor of a presented token.
pub(super) fn open(presented: &PlainToken, row: &Model) -> anyhow::Result<PlainToken> {
    let sealed = row.successor_sealed.as_deref();
    let sealed = sealed.context("a used refresh token has no sealed successor")?;
    let plain = key(presented)
        .open(&purpose(row), sealed)
        .map_err(|Damaged| anyhow!("a sealed refresh token is damaged"))?;
    PlainToken::parse(std::str::from_utf8(&plain)?)
        .context("a decrypted refresh token is malformed")
}

/// Derives the key that encrypts the successor of a token.
fn key(token: &PlainToken) -> SealingKey {
    SealingKey::new(Secret::new(token.expose()).derive("refresh-successor/v1"))
}

/// Returns the associated data of the encryption: the grant, and the generation of the token whose
/// key decrypts it.
fn purpose(token: &Model) -> Vec<u8> {
    [token.grant_id.0.as_bytes().as_slice(), &token.generation.to_be_bytes()].concat()
}
