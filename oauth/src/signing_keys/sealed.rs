//! Keys and their rows: creating a key, encrypting the private key, and decrypting the rows that an
//! instance reads.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::{
    error::Unspecified,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use entity::{Kid, oauth_signing_keys::Model};
use jsonwebtoken::{DecodingKey, EncodingKey};
use platform::{
    sealing::{Damaged, SealingKey},
    secret::Secret,
};
use sea_orm::ActiveEnum as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    key_set::{ALGORITHM, EARLY, KeySet, Signer, Verifier},
    rotation::newest_that_signs,
};

/// A new key that is not stored yet.
pub(super) struct FreshKey {
    pub(super) kid: Kid,
    pub(super) jwk: Value,
    pkcs8: Vec<u8>,
}

impl FreshKey {
    pub(super) fn generate() -> anyhow::Result<Self> {
        use aws_lc_rs::signature::KeyPair as _;

        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|Unspecified| anyhow!("could not generate a P-256 key"))?;
        let pkcs8 = pair
            .to_pkcs8v1()
            .map_err(|Unspecified| anyhow!("could not encode a P-256 key"))?
            .as_ref()
            .to_owned();
        // An uncompressed point: 4, x, y.
        let [4, point @ ..] = pair.public_key().as_ref() else {
            return Err(anyhow!("a P-256 public key is not an uncompressed point"));
        };
        let (x, y) = point.split_at(point.len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = thumbprint(&x, &y);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y,
            "use": "sig", "alg": ALGORITHM, "kid": kid,
        });
        Ok(Self { kid, jwk, pkcs8 })
    }
}

/// Computes the thumbprint of RFC 7638: the hash of the required members in the order of their
/// names, without white space.
fn thumbprint(x: &str, y: &str) -> Kid {
    let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Kid(URL_SAFE_NO_PAD.encode(Sha256::digest(required)))
}

/// The key-encryption key: encrypts private keys, and is identified by its id.
pub(super) struct Kek {
    pub(super) id: String,
    sealing: SealingKey,
}

impl Kek {
    pub(super) fn derive(secret: &Secret) -> Self {
        let id: [u8; 8] = secret.derive("kek-id");
        Self {
            id: format!("{:016x}", u64::from_be_bytes(id)),
            sealing: SealingKey::new(secret.derive("signing-kek/v1")),
        }
    }

    /// Encrypts the private key, bound to the key's id, its algorithm and this key-encryption key.
    pub(super) fn seal(&self, key: &FreshKey) -> anyhow::Result<Vec<u8>> {
        self.sealing.seal(self.purpose(&key.kid, ALGORITHM).as_bytes(), &key.pkcs8)
    }

    fn open(&self, key: &Model) -> anyhow::Result<EncodingKey> {
        let sealed = key.private_sealed.as_deref().context("the private key was deleted")?;
        let pkcs8 = self
            .sealing
            .open(self.purpose(&key.kid, &key.alg).as_bytes(), sealed)
            .map_err(|Damaged| anyhow!("the encrypted private key is damaged"))?;
        Ok(EncodingKey::from_ec_der(&pkcs8))
    }

    fn purpose(&self, kid: &Kid, alg: &str) -> String {
        format!("{kid}|{alg}|{}", self.id)
    }

    /// Builds the key set from the rows: the keys that verify, and the key that signs. A damaged
    /// key is logged and left out: the others still work.
    pub(super) fn open_all(&self, rows: Vec<Model>, now: DateTime<Utc>) -> KeySet {
        let mut verifying = HashMap::new();
        let mut usable = Vec::new();
        for row in rows {
            match verifying_key(&row) {
                Ok(key) => {
                    let verifier = Verifier { key: Arc::new(key), from: row.activate_at - EARLY };
                    verifying.insert(row.kid.clone(), verifier);
                    usable.push(row);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(kid = %row.kid, error, "A signing key is unusable; ignoring it");
                }
            }
        }
        KeySet {
            read_at: now,
            verifying,
            signing: self.signer(&usable, now),
            jwks: Arc::new(json!({
                "keys": usable.into_iter().map(|it| it.public_jwk).collect::<Vec<_>>(),
            })),
        }
    }

    /// Returns the newest key that signs and can be decrypted.
    fn signer(&self, rows: &[Model], now: DateTime<Utc>) -> Option<Arc<Signer>> {
        let mut candidates = rows.to_vec();
        while let Some(row) = newest_that_signs(&candidates, &self.id, now) {
            let kid = row.kid.clone();
            match self.open(row) {
                Ok(key) => return Some(Arc::new(Signer { kid, key })),
                Err(error) => {
                    let (state, error) = (row.state.to_value(), format!("{error:#}"));
                    tracing::error!(%kid, state, error, "Could not decrypt the private key of a signing key");
                }
            }
            candidates.retain(|it| it.kid != kid);
        }
        None
    }
}

/// Returns the public key of a row, after a check that it matches the key id.
fn verifying_key(row: &Model) -> anyhow::Result<DecodingKey> {
    let coordinate = |name| {
        row.public_jwk
            .get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("`{name}` is missing"))
    };
    let (x, y) = (coordinate("x")?, coordinate("y")?);
    anyhow::ensure!(row.alg == ALGORITHM, "its algorithm is {}", row.alg);
    anyhow::ensure!(row.kid == thumbprint(x, y), "its id is not the thumbprint of its public key");
    Ok(DecodingKey::from_ec_components(x, y)?)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use entity::oauth_signing_keys::State;

    use super::*;

    fn day(n: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(n)
    }

    fn row(kek: &Kek, key: FreshKey) -> Model {
        let sealed = kek.seal(&key).unwrap();
        Model {
            kid: key.kid,
            alg: ALGORITHM.to_owned(),
            public_jwk: key.jwk,
            private_sealed: Some(sealed),
            kek_id: kek.id.clone(),
            state: State::Active,
            created_at: DateTime::UNIX_EPOCH,
            activate_at: DateTime::UNIX_EPOCH,
            retire_at: None,
            wiped_at: None,
            last_signed_at: None,
            replace_at: None,
        }
    }

    #[test]
    fn a_pending_key_verifies_no_token_early() {
        let kek = Kek::derive(&Secret::new("one secret"));
        let key = Model {
            state: State::Pending,
            activate_at: day(1),
            ..row(&kek, FreshKey::generate().unwrap())
        };
        let set = kek.open_all(vec![key.clone()], day(0));
        assert_eq!(set.jwks["keys"].as_array().unwrap().len(), 1, "but it is published");
        for (at, trusted) in [
            (day(0), false),
            (day(1) - EARLY - TimeDelta::seconds(1), false),
            (day(1) - EARLY, true),
            (day(2), true),
        ] {
            assert_eq!(set.verifier(&key.kid, at).is_some(), trusted, "{at}");
        }
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_7638() {
        // The EC key of RFC 7517, appendix A.1, and its thumbprint by another implementation.
        let kid = thumbprint(
            "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        );
        assert_eq!(kid.as_str(), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[test]
    fn a_private_key_is_decrypted_only_with_its_id_and_secret() {
        let kek = Kek::derive(&Secret::new("one secret"));
        let key = row(&kek, FreshKey::generate().unwrap());
        assert!(kek.open(&key).is_ok());

        let other = row(&kek, FreshKey::generate().unwrap());
        assert!(kek.open(&Model { kid: other.kid, ..key.clone() }).is_err());
        assert!(kek.open(&Model { alg: "ES384".to_owned(), ..key.clone() }).is_err());
        assert!(kek.open(&Model { private_sealed: None, ..key.clone() }).is_err());
        assert!(kek.open(&Model { private_sealed: Some(vec![0; 8]), ..key.clone() }).is_err());
        assert!(Kek::derive(&Secret::new("another secret")).open(&key).is_err());
    }

    #[test]
    fn only_consistent_keys_are_used() {
        let kek = Kek::derive(&Secret::new("one secret"));
        let good = row(&kek, FreshKey::generate().unwrap());
        let other = row(&kek, FreshKey::generate().unwrap());
        let renamed = Model { kid: Kid("another-name".to_owned()), ..good.clone() };
        let swapped = Model { public_jwk: other.public_jwk.clone(), ..good.clone() };
        let weak = Model { alg: "HS256".to_owned(), ..good.clone() };
        let not_yet =
            Model { activate_at: DateTime::UNIX_EPOCH + TimeDelta::days(1), ..other.clone() };
        let now = DateTime::UNIX_EPOCH;

        for bad in [renamed, swapped, weak] {
            let set = kek.open_all(vec![bad, good.clone()], now);
            assert_eq!(set.verifying.keys().collect::<Vec<_>>(), [&good.kid]);
            assert_eq!(set.jwks["keys"].as_array().unwrap().len(), 1);
        }
        let set = kek.open_all(vec![good.clone(), not_yet], now);
        assert_eq!((set.verifying.len(), &set.signing.unwrap().kid), (2, &good.kid));
        let elsewhere = Kek::derive(&Secret::new("another secret"));
        let set = elsewhere.open_all(vec![good, other], now);
        assert_eq!((set.verifying.len(), set.signing.is_none()), (2, true));
    }
}
