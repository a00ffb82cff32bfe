//! What codes, refresh tokens, client ids and client secrets look like, and what is kept of them.
//!
//! Each is a prefix that says what it is, 256 random bits, and a short checksum: `mac_…` an
//! authorization code, `mrt_…` a refresh token, `mcl_…` a client id, `mcs_…` a client secret,
//! `mxp_…` the way to an exported file. The
//! prefix lets a scanner find one that was leaked; the checksum lets us refuse garbage without
//! asking the database. It is no secret and proves nothing.
//!
//! A secret is two types: [`Plain`] is shown once, [`Digest`] is kept. The hash is a plain SHA-256: with
//! 256 random bits there is nothing to guess, and a slow hash would only be a way to keep us busy.

use std::{fmt, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use entity::{ClientId, Digest};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Random bytes of each value.
const RANDOM_BYTES: usize = 32;

/// Characters of those in base64url.
const RANDOM_CHARS: usize = 43;

/// Characters of the checksum: garbage passes once in 64⁶ times.
const CHECKSUM_CHARS: usize = 6;

/// Characters of a prefix.
const PREFIX_CHARS: usize = 4;

/// Characters of every value.
pub const LENGTH: usize = PREFIX_CHARS + RANDOM_CHARS + CHECKSUM_CHARS;

/// What a secret is for. Two kinds cannot be mistaken for each other, neither in the program nor by
/// their text.
pub trait Kind {
    /// How its text begins: four characters.
    const PREFIX: &'static str;
    /// What it prints instead of itself.
    const NAME: &'static str;
}

/// An authorization code.
pub enum Code {}

/// A refresh token.
pub enum RefreshToken {}

/// The secret of a confidential client.
pub enum ClientSecret {}

/// What the address of an exported file ends with.
pub enum Download {}

impl Kind for Code {
    const PREFIX: &'static str = "mac_";
    const NAME: &'static str = "PlainCode";
}

impl Kind for RefreshToken {
    const PREFIX: &'static str = "mrt_";
    const NAME: &'static str = "PlainToken";
}

impl Kind for ClientSecret {
    const PREFIX: &'static str = "mcs_";
    const NAME: &'static str = "PlainClientSecret";
}

impl Kind for Download {
    const PREFIX: &'static str = "mxp_";
    const NAME: &'static str = "PlainDownload";
}

/// The prefix of ids of clients that register themselves. They are no secrets.
const CLIENT_ID_PREFIX: &str = "mcl_";

/// An authorization code, as the client gets it.
pub type PlainCode = Plain<Code>;

/// A refresh token, as the client gets it.
pub type PlainToken = Plain<RefreshToken>;

/// What the address of an exported file ends with.
pub type PlainDownload = Plain<Download>;

/// A client secret, as the client gets it.
pub type PlainClientSecret = Plain<ClientSecret>;

/// A secret as it is shown, once: made by us, or sent by somebody and well-formed. It cannot be
/// printed or stored by chance.
pub struct Plain<K> {
    text: Box<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Plain<K> {
    /// A new one.
    pub fn generate() -> Self {
        Self::of(generate(K::PREFIX))
    }

    /// Takes what somebody sent, if it could be one of ours. That says nothing about whether it is.
    pub fn parse(text: &str) -> Option<Self> {
        is_well_formed(K::PREFIX, text).then(|| Self::of(text.to_owned()))
    }

    /// The text itself. Search for this name to see everywhere that one is let out.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn hash(&self) -> Digest {
        Digest::new(Sha256::digest(self.text.as_bytes()).into())
    }

    /// Whether a kept hash is the hash of this one, in constant time.
    pub fn matches(&self, kept: &Digest) -> bool {
        self.hash().as_bytes().ct_eq(kept.as_bytes()).into()
    }

    fn of(text: String) -> Self {
        Self { text: text.into(), kind: PhantomData }
    }
}

impl<K> Clone for Plain<K> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), kind: PhantomData }
    }
}

impl<K: Kind> fmt::Debug for Plain<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::NAME)
    }
}

/// A new id for a client that registers itself. It never looks like the address of a metadata
/// document.
pub fn new_client_id() -> ClientId {
    ClientId(generate(CLIENT_ID_PREFIX))
}

/// Whether a text could be an id that [`new_client_id`] made.
pub fn is_client_id(text: &str) -> bool {
    is_well_formed(CLIENT_ID_PREFIX, text)
}

fn generate(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    URL_SAFE_NO_PAD.encode_string(rand::random::<[u8; RANDOM_BYTES]>(), &mut text);
    let checksum = checksum(&text);
    text + &checksum
}

fn is_well_formed(prefix: &str, text: &str) -> bool {
    let Some((body, sum)) = text.split_at_checked(LENGTH - CHECKSUM_CHARS) else {
        return false;
    };
    // The decoder refuses padding, the other alphabet, and bits that mean nothing: one secret has
    // one spelling.
    body.strip_prefix(prefix).is_some_and(|random| URL_SAFE_NO_PAD.decode(random).is_ok())
        && sum == checksum(body)
}

/// Covers the prefix too, so that a code with another prefix is garbage.
fn checksum(body: &str) -> String {
    let mut sum = URL_SAFE_NO_PAD.encode(Sha256::digest(body.as_bytes()));
    sum.truncate(CHECKSUM_CHARS);
    sum
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_we_make_is_well_formed_and_never_the_same() {
        let made: BTreeSet<String> =
            (0..100).map(|_| PlainCode::generate().expose().to_owned()).collect();
        assert_eq!(made.len(), 100);
        for text in &made {
            assert_eq!(text.len(), LENGTH);
            assert!(PlainCode::parse(text).is_some());
            assert!(PlainToken::parse(text).is_none(), "a code is no token");
        }
        let id = new_client_id();
        assert!(is_client_id(id.as_str()));
        assert!(!is_client_id(PlainCode::generate().expose()));
    }

    #[test]
    fn garbage_is_recognised() {
        let good = PlainToken::generate().expose().to_owned();
        let body = &good[..LENGTH - CHECKSUM_CHARS];
        let last = good.chars().last().unwrap();
        let other = if last == 'A' { 'B' } else { 'A' };
        for bad in [
            String::new(),
            "mrt_".to_owned(),
            body.to_owned(),
            format!("{good}A"),
            format!("{good} "),
            format!("{good}\0"),
            format!(" {good}"),
            good.replacen("mrt_", "mac_", 1),
            good.replacen("mrt_", "MRT_", 1),
            format!("{}{other}", &good[..LENGTH - 1]),
            format!("{body}{}", checksum("mrt_")),
            "x".repeat(1_000_000),
            "é".repeat(LENGTH),
            format!("{}é", &good[..LENGTH - CHECKSUM_CHARS - 1]),
        ] {
            assert!(PlainToken::parse(&bad).is_none(), "{bad:.80}");
        }
        assert!(PlainToken::parse(&good).is_some());
    }

    #[test]
    fn a_secret_does_not_print() {
        let token = PlainToken::generate();
        assert_eq!(format!("{token:?} {:?}", token.hash()), "PlainToken Digest");
        assert_eq!(format!("{:?}", PlainCode::generate()), "PlainCode");
        assert_eq!(format!("{:?}", PlainClientSecret::generate()), "PlainClientSecret");
    }

    #[test]
    fn a_hash_matches_its_secret_alone() {
        let secret = PlainClientSecret::generate();
        assert!(secret.matches(&secret.clone().hash()));
        assert!(!secret.matches(&PlainClientSecret::generate().hash()));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(at in 0..LENGTH, to in "[A-Za-z0-9_-]") {
            let good = PlainCode::generate().expose().to_owned();
            let mut changed = good.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(PlainCode::parse(&changed).is_some(), changed == good);
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "(mac_)?\\PC{0,80}") {
            drop(PlainCode::parse(&text));
        }
    }
}
