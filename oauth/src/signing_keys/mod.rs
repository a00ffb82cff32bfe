//! The keys that sign access tokens, stored in the database so that all instances share them.
//!
//! The private key is encrypted with a key-encryption key that is derived from
//! `JWT_SIGNING_SECRET`; the public key is stored in plain text. So an instance that was started
//! with another secret cannot use the old private keys, creates one of its own, and still verifies
//! everything that the old ones signed: changing the secret signs no user out.
//!
//! The key set is cached in memory. It is reloaded every few seconds ([`SigningKeys::keep_up`]), or
//! when it is older than [`REFRESH_AFTER`], and at once when a token names a key that is not in it.
//! A reload that did not find the key is followed by a pause ([`RELOAD_PAUSE`]), so that invented
//! key ids cannot cause load on the database.
//!
//! # The lifecycle of a key
//!
//! | state | published | signs | until |
//! |---|---|---|---|
//! | pending | yes | no | its activation time: [`PREPUBLISHED`] or more after its creation |
//! | active | yes | yes | the activation time of its successor |
//! | retiring | yes | no | all tokens that it signed have expired ([`RETIRING_FOR`]) |
//! | retired | no | no | [`KEPT_FOR_FORENSICS`] has passed; the private key is deleted at once |
//! | revoked | no | no | the same, after an operator revoked it because it leaked |
//!
//! Every instance that signs maintains the keys ([`SigningKeys::keep_up`]); no other process has
//! to, and no leader is elected. Each step is one conditional statement that does nothing if
//! another instance was faster, and the process may be killed between any two steps: which key
//! signs follows from the times in the rows ([`rotation`]), so the steps only record what already
//! holds. A successor is created by an instance with the same secret as the key that it replaces; a
//! rotation that is requested by the schedule or an operator is only noted in the row.

mod key_set;
mod rotation;
mod sealed;
mod steps;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    Kid,
    oauth_signing_keys::{COLUMN, Column, Entity, Model, State},
};
use jsonwebtoken::DecodingKey;
use platform::{
    clock::Clock,
    db::{Database, Failure},
    secret::Secret,
};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    sea_query::Expr,
};
use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) use self::key_set::{ALGORITHM, JWT_ALGORITHM, Signer};
pub use self::rotation::{
    ABANDONED_AFTER, KEPT_FOR_FORENSICS, PREPUBLISHED, RETIRING_FOR, ROTATE_EVERY, SCHEDULED_AHEAD,
};
use self::{
    key_set::KeySet,
    rotation::{due, end, newest_that_signs},
    sealed::Kek,
};
use super::audit::{self, Event, RequestInfo};

/// The maximum age of a key set that is not reloaded by [`SigningKeys::keep_up`]. A revoked key is
/// trusted for about this long at most, or, while the database is unavailable, until it responds
/// again.
const REFRESH_AFTER: TimeDelta = TimeDelta::seconds(60);

/// The pause after a reload that did not find the key. A token signed by a brand-new key of another
/// instance is refused for this long at most, and only if another request has just named a key that
/// does not exist.
const RELOAD_PAUSE: TimeDelta = TimeDelta::seconds(5);

/// The pause after a failed reload: long enough that not every request queries a database that is
/// unavailable, and short, because until then an instance that has just started refuses every
/// token.
const FAILED_PAUSE: TimeDelta = TimeDelta::seconds(1);

/// The precision of `last_signed_at`: one write a minute, however many tokens are signed.
const SIGNED_AT_PRECISION: TimeDelta = TimeDelta::seconds(60);

/// The signing keys that one instance knows. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct SigningKeys(Arc<Inner>);

struct Inner {
    db: Database,
    clock: Arc<dyn Clock>,
    kek: Kek,
    /// The last key set that was read. `None` before the first read.
    known: RwLock<Option<Arc<KeySet>>>,
    /// Locked while the keys are read, so that one read serves all requests that wait for it.
    reloading: Arc<Mutex<Outcomes>>,
    /// When `last_signed_at` was last written.
    signed: std::sync::Mutex<Option<(Kid, DateTime<Utc>)>>,
}

/// Outcomes of earlier reads that delay the next one.
#[derive(Default)]
struct Outcomes {
    /// When a key was last looked up and not found.
    not_found_at: Option<DateTime<Utc>>,
    /// When the last read failed. `None` if it succeeded.
    failed_at: Option<DateTime<Utc>>,
}

/// The state of a signing key, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The key id.
    pub kid: Kid,
    /// The lifecycle state.
    pub state: State,
    /// Whether this instance can decrypt the private key.
    pub is_decryptable: bool,
    /// Whether this instance signs with it.
    pub signs: bool,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// When it begins to sign.
    pub activate_at: DateTime<Utc>,
    /// When it will be replaced. `None`: not yet decided.
    pub replace_at: Option<DateTime<Utc>>,
    /// When it last signed, to the minute.
    pub last_signed_at: Option<DateTime<Utc>>,
    /// When the last token that it signed expires. `None`: it still signs.
    pub retire_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl SigningKeys {
    /// Creates the key store. The first use reads the keys, and creates the first key if there is
    /// none.
    pub fn new(db: Database, clock: Arc<dyn Clock>, secret: &Secret) -> Self {
        Self(Arc::new(Inner {
            db,
            clock,
            kek: Kek::derive(secret),
            known: RwLock::default(),
            reloading: Arc::default(),
            signed: std::sync::Mutex::default(),
        }))
    }

    /// Returns the trusted public keys as a JWK Set (RFC 7517). Creates the first key if there is
    /// none, so the set is never empty.
    pub async fn jwks(&self) -> Result<Arc<Value>, Failure> {
        self.signer().await?;
        let set =
            self.known().context("no signing keys after a reload").map_err(Failure::Internal)?;
        Ok(Arc::clone(&set.jwks))
    }

    /// Returns the key to sign with. Creates one if this instance can decrypt none; if several
    /// instances do so at once, the unique index lets one succeed, and all sign with that key.
    pub(crate) async fn signer(&self) -> Result<Arc<Signer>, Failure> {
        if let Some(signer) = self.current().and_then(|set| set.signing.clone()) {
            return Ok(signer);
        }
        let mut outcomes = self.0.reloading.lock().await;
        // The previous holder of the lock may have done all of this.
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
            .ok_or_else(|| anyhow!("the active signing key of this instance cannot be decrypted"))
            .map_err(Failure::Internal)
    }

    /// Returns the public key of a key id, if it is trusted. An unknown key id causes at most one
    /// read of the database per [`RELOAD_PAUSE`].
    pub(crate) async fn verifier(&self, kid: &Kid) -> Result<Option<Arc<DecodingKey>>, Failure> {
        let now = self.0.clock.now();
        if let Some(key) = self.current().and_then(|set| set.verifier(kid, now)) {
            return Ok(Some(key));
        }
        let mut outcomes = Arc::clone(&self.0.reloading).lock_owned().await;
        // The previous holder of the lock may have read the key.
        if let Some(key) = self.known().and_then(|set| set.verifier(kid, now)) {
            return Ok(Some(key));
        }
        if outcomes.failed_at.is_some_and(|it| within(it, now, FAILED_PAUSE)) {
            return Err(unavailable_a_moment_ago());
        }
        if outcomes.not_found_at.is_some_and(|it| within(it, now, RELOAD_PAUSE)) {
            return Ok(None);
        }
        // Continues when the client disconnects: other requests wait for this read, too.
        let (keys, kid) = (self.clone(), kid.clone());
        let reading = tokio::spawn(async move {
            let found = keys.reload(&mut outcomes).await?.verifier(&kid, now);
            if found.is_none() {
                outcomes.not_found_at = Some(now);
            }
            Ok(found)
        });
        reading
            .await
            .context("the task that reloads the signing keys failed")
            .map_err(Failure::Internal)?
    }

    /// Returns whether a key is still trusted, from memory.
    pub(crate) fn still_trusts(&self, kid: &Kid) -> bool {
        self.current().is_some_and(|set| set.verifier(kid, self.0.clock.now()).is_some())
    }

    /// Reloads the keys and performs the steps that are due: requests a successor when a key is old
    /// enough, creates the successor, activates it, and retires keys that are no longer needed.
    /// Call it every few seconds in every instance that signs; it is harmless elsewhere.
    pub async fn keep_up(&self) -> Result<(), Failure> {
        let now = self.0.clock.now();
        let rows = {
            let mut outcomes = self.0.reloading.lock().await;
            let rows = self.read(&mut outcomes).await?;
            self.remember(rows.clone());
            rows
        };
        let steps = due(&rows, &self.0.kek.id, now);
        for step in &steps {
            self.perform(step, now).await?;
        }
        if !steps.is_empty() {
            self.reload(&mut *self.0.reloading.lock().await).await?;
        }
        Ok(())
    }

    /// Requests a rotation: each key that signs is replaced [`PREPUBLISHED`] from now, or sooner if
    /// that was decided already. Returns the time of the replacement. Safe to repeat, also by an
    /// instance whose secret decrypts none of the keys.
    pub async fn rotate(&self, request: &RequestInfo) -> Result<DateTime<Utc>, Failure> {
        let now = self.0.clock.now();
        let at = now + PREPUBLISHED;
        let transaction = platform::db::begin(&self.0.db).await?;
        Entity::update_many()
            .col_expr(Column::ReplaceAt, Expr::value(at))
            .filter(COLUMN.state.eq(State::Active))
            .filter(Condition::any().add(Column::ReplaceAt.is_null()).add(Column::ReplaceAt.gt(at)))
            .exec(&transaction)
            .await?;
        // A successor that is scheduled for later becomes active sooner.
        Entity::update_many()
            .col_expr(Column::ActivateAt, Expr::value(at))
            .filter(COLUMN.state.eq(State::Pending))
            .filter(COLUMN.activate_at.gt(at))
            .exec(&transaction)
            .await?;
        let event = Event::new(audit::Kind::KeyRotationRequested, request);
        audit::write(&transaction, now, &event).await?;
        transaction.commit().await?;
        event.log();
        Ok(at)
    }

    /// Revokes a key at once, because it leaked: every token that it signed becomes invalid on all
    /// instances within seconds. If it was the key that signs here, another one replaces it.
    /// Returns whether there was such a key to revoke.
    pub async fn revoke(&self, kid: &Kid, request: &RequestInfo) -> Result<bool, Failure> {
        let now = self.0.clock.now();
        let transaction = platform::db::begin(&self.0.db).await?;
        let revoked = end(Entity::update_many(), State::Revoked, now)
            .filter(COLUMN.kid.eq(kid.clone()))
            .filter(COLUMN.state.ne(State::Revoked))
            .exec(&transaction)
            .await?;
        if revoked.rows_affected == 0 {
            return Ok(false);
        }
        let event = Event::new(audit::Kind::KeyRevoked, request).detail(kid.to_string());
        audit::write(&transaction, now, &event).await?;
        transaction.commit().await?;
        event.log();
        self.reload(&mut *self.0.reloading.lock().await).await?;
        self.signer().await?;
        Ok(true)
    }

    /// Returns all keys, newest first.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, Failure> {
        let now = self.0.clock.now();
        let rows = Entity::find()
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Kid)
            .all(&self.0.db)
            .await?;
        let signing = newest_that_signs(&rows, &self.0.kek.id, now).map(|it| it.kid.clone());
        Ok(rows
            .into_iter()
            .map(|row| KeyInfo {
                is_decryptable: row.kek_id == self.0.kek.id && row.private_sealed.is_some(),
                signs: signing.as_ref() == Some(&row.kid),
                kid: row.kid,
                state: row.state,
                created_at: row.created_at,
                activate_at: row.activate_at,
                replace_at: row.replace_at,
                last_signed_at: row.last_signed_at,
                retire_at: row.retire_at,
            })
            .collect())
    }

    /// Stores when a key last signed, to the minute: a retiring key is kept until the last token
    /// that it signed has expired.
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
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the cached key set, and starts a reload in the background if it is old. Does not
    /// wait for it: while the database is unavailable, the cached set stays in use.
    fn current(&self) -> Option<Arc<KeySet>> {
        let set = self.known()?;
        let now = self.0.clock.now();
        if !within(set.read_at, now, REFRESH_AFTER) {
            self.refresh_in_background(now);
        }
        Some(set)
    }

    fn refresh_in_background(&self, now: DateTime<Utc>) {
        // If the lock is taken, another task is already reloading.
        let Ok(mut outcomes) = Arc::clone(&self.0.reloading).try_lock_owned() else {
            return;
        };
        if outcomes.failed_at.is_some_and(|it| within(it, now, FAILED_PAUSE)) {
            return;
        }
        let keys = self.clone();
        tokio::spawn(async move {
            if let Err(error) = keys.reload(&mut outcomes).await {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not reload the signing keys; using the cached ones"
                );
            }
        });
    }

    async fn reload(&self, outcomes: &mut Outcomes) -> Result<Arc<KeySet>, Failure> {
        let rows = self.read(outcomes).await?;
        Ok(self.remember(rows))
    }

    async fn read(&self, outcomes: &mut Outcomes) -> Result<Vec<Model>, Failure> {
        let rows = Entity::trusted().all(&self.0.db).await;
        outcomes.failed_at = rows.is_err().then(|| self.0.clock.now());
        Ok(rows?)
    }

    fn remember(&self, rows: Vec<Model>) -> Arc<KeySet> {
        let set = Arc::new(self.0.kek.open_all(rows, self.0.clock.now()));
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        set
    }
}

/// Returns whether less than `span` has passed. A clock that was set back counts as time that has
/// passed.
fn within(then: DateTime<Utc>, now: DateTime<Utc>, span: TimeDelta) -> bool {
    let passed = now - then;
    TimeDelta::zero() <= passed && passed < span
}

/// Returns the error for an unknown key soon after a failed read: the key may exist.
fn unavailable_a_moment_ago() -> Failure {
    Failure::Unavailable(sea_orm::DbErr::Custom(
        "the signing keys could not be read a moment ago".to_owned(),
    ))
}
