//! The keys that sign access tokens, kept in the database so that all instances share them.
//!
//! The private half of a key is sealed under a key-encryption key that is derived from
//! `JWT_SIGNING_SECRET`; the public half is in clear. So an instance that was started with another
//! secret cannot use the old private keys, makes one of its own, and still verifies everything that
//! the old ones signed: changing the secret signs nobody out.
//!
//! A key set is held in memory. It is read again when it is older than [`REFRESH_AFTER`], and at
//! once when a token names a key that is not in it. A reading that did not find the key is followed
//! by a pause ([`RELOAD_PAUSE`]), so that invented key ids cannot become load on the database.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::{
    error::Unspecified,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{self, Aead as _, KeyInit as _, Payload},
};
use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    Kid,
    oauth_signing_keys::{ActiveModel, COLUMN, Column, Entity, Model, State},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use sea_orm::{
    ActiveEnum as _, ColumnTrait as _, Condition, DatabaseConnection, EntityTrait as _,
    QueryFilter as _, Set,
    sea_query::{Expr, OnConflict},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::{clock::Clock, db::Failure, secret::Secret};

/// The only algorithm. Every client library can check it, and it needs no RSA implementation.
pub(crate) const ALGORITHM: &str = "ES256";

/// How old a key set may become. A revoked key is trusted for this long at most.
const REFRESH_AFTER: TimeDelta = TimeDelta::seconds(60);

/// How long nothing is looked up after a look-up in vain or a failed one. A token signed by a
/// brand-new key of another instance is refused for this long at most, and only if somebody has just
/// sent one that names a key that does not exist.
const RELOAD_PAUSE: TimeDelta = TimeDelta::seconds(5);

/// How exactly `last_signed_at` is kept: one write a minute, however many tokens are signed.
const SIGNED_AT_PRECISION: TimeDelta = TimeDelta::seconds(60);

/// Bytes of a nonce of XChaCha20-Poly1305: long enough to be random without a counter that
/// instances would have to share.
const NONCE: usize = 24;

/// The signing keys as one instance knows them. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct SigningKeys(Arc<Inner>);

struct Inner {
    db: DatabaseConnection,
    clock: Arc<dyn Clock>,
    kek: Kek,
    /// The last key set that was read; nothing before the first reading.
    known: RwLock<Option<Arc<KeySet>>>,
    /// Held while the keys are read, so that one reading serves all who wait for it.
    reloading: Arc<Mutex<Outcomes>>,
    /// When `last_signed_at` was last written.
    signed: std::sync::Mutex<Option<(Kid, DateTime<Utc>)>>,
}

/// How earlier readings went, as far as it bears on the next one.
#[derive(Default)]
struct Outcomes {
    /// When a key was last looked for and not found.
    in_vain: Option<DateTime<Utc>>,
    /// When the last reading failed; nothing if it succeeded.
    failed: Option<DateTime<Utc>>,
}

/// The keys at one point in time.
struct KeySet {
    read_at: DateTime<Utc>,
    verifying: HashMap<Kid, Arc<DecodingKey>>,
    signing: Option<Arc<Signer>>,
    jwks: Arc<Value>,
}

/// The key that signs now, and its name.
pub(crate) struct Signer {
    pub(crate) kid: Kid,
    pub(crate) key: EncodingKey,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl SigningKeys {
    /// Reads nothing yet: the first use does, and makes the first key if there is none.
    pub fn new(db: DatabaseConnection, clock: Arc<dyn Clock>, secret: &Secret) -> Self {
        Self(Arc::new(Inner {
            db,
            clock,
            kek: Kek::derive(secret),
            known: RwLock::default(),
            reloading: Arc::default(),
            signed: std::sync::Mutex::default(),
        }))
    }

    /// The public keys whose signatures count, as the JWK Set that is published (RFC 7517). Makes
    /// the first key if there is none, so it is never empty.
    pub async fn jwks(&self) -> Result<Arc<Value>, Failure> {
        self.signer().await?;
        let set = self
            .known()
            .context("no keys after a reading")
            .map_err(Failure::Internal)?;
        Ok(Arc::clone(&set.jwks))
    }

    /// The key to sign with. Makes one if this instance can open none; of instances that do so at
    /// once, the unique index lets one win, and all sign with that one.
    pub(crate) async fn signer(&self) -> Result<Arc<Signer>, Failure> {
        if let Some(signer) = self.current().and_then(|set| set.signing.clone()) {
            return Ok(signer);
        }
        let mut outcomes = self.0.reloading.lock().await;
        // Whoever held the lock before may have done all of this.
        if let Some(signer) = self.known().and_then(|set| set.signing.clone()) {
            return Ok(signer);
        }
        let mut set = self.reload(&mut outcomes).await?;
        if set.signing.is_none() {
            self.insert_first_key().await?;
            set = self.reload(&mut outcomes).await?;
        }
        set.signing
            .clone()
            .ok_or_else(|| anyhow!("the active signing key of this instance cannot be opened"))
            .map_err(Failure::Internal)
    }

    /// The public half of a key, if its signatures count. A name that does not exist costs a reading
    /// of the database at most once in [`RELOAD_PAUSE`].
    pub(crate) async fn verifier(&self, kid: &Kid) -> Result<Option<Arc<DecodingKey>>, Failure> {
        if let Some(key) = self
            .current()
            .and_then(|set| set.verifying.get(kid).cloned())
        {
            return Ok(Some(key));
        }
        let mut outcomes = self.0.reloading.lock().await;
        // Whoever held the lock before may have read the key that we are looking for.
        if let Some(key) = self.known().and_then(|set| set.verifying.get(kid).cloned()) {
            return Ok(Some(key));
        }
        let now = self.0.clock.now();
        if outcomes
            .failed
            .is_some_and(|it| within(it, now, RELOAD_PAUSE))
        {
            return Err(unavailable_a_moment_ago());
        }
        if outcomes
            .in_vain
            .is_some_and(|it| within(it, now, RELOAD_PAUSE))
        {
            return Ok(None);
        }
        let found = self
            .reload(&mut outcomes)
            .await?
            .verifying
            .get(kid)
            .cloned();
        if found.is_none() {
            outcomes.in_vain = Some(now);
        }
        Ok(found)
    }

    /// Whether signatures of a key still count, from memory.
    pub(crate) fn still_trusts(&self, kid: &Kid) -> bool {
        self.current()
            .is_some_and(|set| set.verifying.contains_key(kid))
    }

    /// Remembers that a key has signed, to the minute: a retiring key is kept until what it signed
    /// last has expired.
    pub(crate) async fn has_signed(&self, kid: &Kid) -> Result<(), Failure> {
        let now = self.0.clock.now();
        {
            let mut signed = self.0.signed.lock().unwrap_or_else(PoisonError::into_inner);
            match &*signed {
                Some((last, at)) if last == kid && within(*at, now, SIGNED_AT_PRECISION) => {
                    return Ok(());
                }
                _ => *signed = Some((kid.clone(), now)),
            }
        }
        Entity::update_many()
            .col_expr(Column::LastSignedAt, Expr::value(now))
            .filter(COLUMN.kid.eq(kid.clone()))
            .filter(
                Condition::any()
                    .add(Column::LastSignedAt.is_null())
                    .add(Column::LastSignedAt.lt(now)),
            )
            .exec(&self.0.db)
            .await?;
        Ok(())
    }

    fn known(&self) -> Option<Arc<KeySet>> {
        self.0
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is known, which has itself refreshed in the background if it is old. Nobody waits for
    /// that: while the database is away, what is known goes on being used.
    fn current(&self) -> Option<Arc<KeySet>> {
        let set = self.known()?;
        let now = self.0.clock.now();
        if !within(set.read_at, now, REFRESH_AFTER) {
            self.refresh_in_background(now);
        }
        Some(set)
    }

    fn refresh_in_background(&self, now: DateTime<Utc>) {
        // Somebody else is at it if the lock is taken.
        let Ok(mut outcomes) = Arc::clone(&self.0.reloading).try_lock_owned() else {
            return;
        };
        if outcomes
            .failed
            .is_some_and(|it| within(it, now, RELOAD_PAUSE))
        {
            return;
        }
        let keys = self.clone();
        tokio::spawn(async move {
            if let Err(error) = keys.reload(&mut outcomes).await {
                tracing::warn!(error = ?error, "The signing keys could not be read again: {error}");
            }
        });
    }

    async fn reload(&self, outcomes: &mut Outcomes) -> Result<Arc<KeySet>, Failure> {
        let now = self.0.clock.now();
        // Stays if this future is dropped half-way, which counts as a failure.
        outcomes.failed = Some(now);
        let rows = Entity::trusted().all(&self.0.db).await?;
        outcomes.failed = None;
        let set = Arc::new(self.0.kek.open_all(rows, now));
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        Ok(set)
    }

    async fn insert_first_key(&self) -> Result<(), Failure> {
        let now = self.0.clock.now();
        let fresh = FreshKey::generate().map_err(Failure::Internal)?;
        let sealed = self.0.kek.seal(&fresh).map_err(Failure::Internal)?;
        let kid = fresh.kid.clone();
        let row = ActiveModel {
            kid: Set(fresh.kid),
            alg: Set(ALGORITHM.to_owned()),
            public_jwk: Set(fresh.jwk),
            private_sealed: Set(Some(sealed)),
            kek_id: Set(self.0.kek.id.clone()),
            state: Set(State::Active),
            created_at: Set(now),
            activate_at: Set(now),
            retire_at: Set(None),
            wiped_at: Set(None),
            last_signed_at: Set(None),
            replace_at: Set(None),
        };
        // Whichever unique index objects: somebody else's key is as good as ours.
        let on_conflict = OnConflict::new().do_nothing().to_owned();
        let inserted = Entity::insert(row)
            .on_conflict(on_conflict)
            .exec_without_returning(&self.0.db)
            .await?;
        if inserted == 1 {
            tracing::info!(%kid, "Made signing key `{kid}`");
        }
        Ok(())
    }
}

/// Whether less than `span` has passed. A clock that was set back counts as time that has passed.
fn within(then: DateTime<Utc>, now: DateTime<Utc>, span: TimeDelta) -> bool {
    let passed = now - then;
    TimeDelta::zero() <= passed && passed < span
}

/// The last reading failed, so nothing can be concluded from a key not being known.
fn unavailable_a_moment_ago() -> Failure {
    Failure::Unavailable(sea_orm::DbErr::Custom(
        "the signing keys could not be read a moment ago".to_owned(),
    ))
}

/// A key that was never stored.
struct FreshKey {
    kid: Kid,
    jwk: Value,
    pkcs8: Vec<u8>,
}

impl FreshKey {
    fn generate() -> anyhow::Result<Self> {
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

/// RFC 7638: the hash of the required members in the order of their names, without white space.
fn thumbprint(x: &str, y: &str) -> Kid {
    let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Kid(URL_SAFE_NO_PAD.encode(Sha256::digest(required)))
}

/// The key-encryption key: seals private keys, and can be told from others by its id.
struct Kek {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl Kek {
    fn derive(secret: &Secret) -> Self {
        let id: [u8; 8] = secret.derive("kek-id");
        let key: [u8; 32] = secret.derive("signing-kek/v1");
        Self {
            id: format!("{:016x}", u64::from_be_bytes(id)),
            cipher: XChaCha20Poly1305::new(&key.into()),
        }
    }

    /// Nonce and ciphertext, bound to the key's name, its algorithm and this key-encryption key.
    fn seal(&self, key: &FreshKey) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::random();
        let aad = self.aad(&key.kid, ALGORITHM);
        let sealed = self
            .cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &key.pkcs8,
                    aad: aad.as_bytes(),
                },
            )
            .map_err(|aead::Error| anyhow!("could not seal a private key"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, key: &Model) -> anyhow::Result<EncodingKey> {
        let sealed = key
            .private_sealed
            .as_deref()
            .context("the private key was wiped")?;
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE>()
            .context("the sealed private key is too short")?;
        let aad = self.aad(&key.kid, &key.alg);
        let pkcs8 = self
            .cipher
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: aad.as_bytes(),
                },
            )
            .map_err(|aead::Error| anyhow!("the sealed private key is damaged"))?;
        Ok(EncodingKey::from_ec_der(&pkcs8))
    }

    fn aad(&self, kid: &Kid, alg: &str) -> String {
        format!("{kid}|{alg}|{}", self.id)
    }

    /// Sorts the keys into what this instance can do with each. A damaged one is reported and left
    /// out: the others still work.
    fn open_all(&self, rows: Vec<Model>, now: DateTime<Utc>) -> KeySet {
        let mut verifying = HashMap::new();
        let mut signing = None;
        let mut published = Vec::new();
        for row in rows {
            match verifying_key(&row) {
                Ok(key) => verifying.insert(row.kid.clone(), Arc::new(key)),
                Err(error) => {
                    tracing::error!(kid = %row.kid, "Signing key `{}` is unusable: {error:#}", row.kid);
                    continue;
                }
            };
            // The rows come oldest first, so the newest key that may sign is the one that does.
            if row.state == State::Active && row.activate_at <= now && row.kek_id == self.id {
                match self.open(&row) {
                    Ok(key) => {
                        let kid = row.kid.clone();
                        signing = Some(Arc::new(Signer { kid, key }));
                    }
                    Err(error) => tracing::error!(
                        kid = %row.kid, state = row.state.to_value(),
                        "Signing key `{}` cannot sign: {error:#}", row.kid
                    ),
                }
            }
            published.push(row.public_jwk);
        }
        KeySet {
            read_at: now,
            verifying,
            signing,
            jwks: Arc::new(json!({ "keys": published })),
        }
    }
}

/// The public half of a row, after a check that it is what its name says.
fn verifying_key(row: &Model) -> anyhow::Result<DecodingKey> {
    let coordinate = |name| {
        row.public_jwk
            .get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("`{name}` is missing"))
    };
    let (x, y) = (coordinate("x")?, coordinate("y")?);
    anyhow::ensure!(row.alg == ALGORITHM, "its algorithm is {}", row.alg);
    anyhow::ensure!(
        row.kid == thumbprint(x, y),
        "its id is not the thumbprint of its public key"
    );
    Ok(DecodingKey::from_ec_components(x, y)?)
}

/// The same algorithm as the library knows it.
pub(crate) const JWT_ALGORITHM: Algorithm = Algorithm::ES256;

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_thumbprint_is_that_of_rfc_7638() {
        // The EC key of RFC 7517, appendix A.1, and its thumbprint by another implementation.
        let kid = thumbprint(
            "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        );
        assert_eq!(kid.as_str(), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[test]
    fn a_sealed_key_opens_only_under_its_own_name_and_secret() {
        let kek = Kek::derive(&Secret::new("one secret"));
        let key = row(&kek, FreshKey::generate().unwrap());
        assert!(kek.open(&key).is_ok());

        let other = row(&kek, FreshKey::generate().unwrap());
        assert!(
            kek.open(&Model {
                kid: other.kid,
                ..key.clone()
            })
            .is_err()
        );
        assert!(
            kek.open(&Model {
                alg: "ES384".to_owned(),
                ..key.clone()
            })
            .is_err()
        );
        assert!(
            kek.open(&Model {
                private_sealed: None,
                ..key.clone()
            })
            .is_err()
        );
        assert!(
            kek.open(&Model {
                private_sealed: Some(vec![0; 8]),
                ..key.clone()
            })
            .is_err()
        );
        assert!(
            Kek::derive(&Secret::new("another secret"))
                .open(&key)
                .is_err()
        );
    }

    #[test]
    fn only_a_key_that_is_what_it_says_is_used() {
        let kek = Kek::derive(&Secret::new("one secret"));
        let good = row(&kek, FreshKey::generate().unwrap());
        let other = row(&kek, FreshKey::generate().unwrap());
        let renamed = Model {
            kid: Kid("another-name".to_owned()),
            ..good.clone()
        };
        let swapped = Model {
            public_jwk: other.public_jwk.clone(),
            ..good.clone()
        };
        let weak = Model {
            alg: "HS256".to_owned(),
            ..good.clone()
        };
        let not_yet = Model {
            activate_at: DateTime::UNIX_EPOCH + TimeDelta::days(1),
            ..other.clone()
        };
        let now = DateTime::UNIX_EPOCH;

        for bad in [renamed, swapped, weak] {
            let set = kek.open_all(vec![bad, good.clone()], now);
            assert_eq!(set.verifying.keys().collect::<Vec<_>>(), [&good.kid]);
            assert_eq!(set.jwks["keys"].as_array().unwrap().len(), 1);
        }
        let set = kek.open_all(vec![good.clone(), not_yet], now);
        assert_eq!(
            (set.verifying.len(), &set.signing.unwrap().kid),
            (2, &good.kid)
        );
        let elsewhere = Kek::derive(&Secret::new("another secret"));
        let set = elsewhere.open_all(vec![good, other], now);
        assert_eq!((set.verifying.len(), set.signing.is_none()), (2, true));
    }
}
