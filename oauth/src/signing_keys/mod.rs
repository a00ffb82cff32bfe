//! The keys that sign access tokens, kept in the database so that all instances share them.
//!
//! The private half of a key is sealed under a key-encryption key that is derived from
//! `JWT_SIGNING_SECRET`; the public half is in clear. So an instance that was started with another
//! secret cannot use the old private keys, makes one of its own, and still verifies everything that
//! the old ones signed: changing the secret signs nobody out.
//!
//! A key set is held in memory. It is read again every few seconds ([`SigningKeys::keep_up`]), or
//! when it is older than [`REFRESH_AFTER`], and at once when a token names a key that is not in it.
//! A reading that did not find the key is followed by a pause ([`RELOAD_PAUSE`]), so that invented
//! key ids cannot become load on the database.
//!
//! # The life of a key
//!
//! | state | published | signs | until |
//! |---|---|---|---|
//! | pending | yes | no | its time has come: [`PREPUBLISHED`] after it was made, or more |
//! | active | yes | yes | its successor's time has come |
//! | retiring | yes | no | all that it signed has expired ([`RETIRING_FOR`]) |
//! | retired | no | no | [`KEPT_FOR_FORENSICS`] has passed; the private half is gone at once |
//! | revoked | no | no | the same: somebody said that it leaked |
//!
//! Every instance that signs looks after the keys ([`SigningKeys::keep_up`]); no other process has
//! to, and none needs to be chosen. Each step is one conditional statement that does nothing if
//! somebody else was faster, and the program may be killed between any two of them: which key signs
//! follows from the times in the rows ([`life`]), so the steps only write down what already holds.
//! A successor is made by an instance with the same secret as the key that it replaces; whoever asks
//! for one, be it the schedule or a person, only leaves a note in the row.

mod key_set;
mod life;
mod rotation;
mod sealed;

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

/// How old a key set may become where nobody keeps it up. A revoked key is trusted for this long at
/// most.
const REFRESH_AFTER: TimeDelta = TimeDelta::seconds(60);

/// How long nothing is looked up after a look-up in vain. A token signed by a
/// brand-new key of another instance is refused for this long at most, and only if somebody has just
/// sent one that names a key that does not exist.
const RELOAD_PAUSE: TimeDelta = TimeDelta::seconds(5);

/// The same after a failed one: enough that a database in trouble is not asked by every request, and
/// short, because until then an instance that has just started refuses every token.
const FAILED_PAUSE: TimeDelta = TimeDelta::seconds(1);

/// How exactly `last_signed_at` is kept: one write a minute, however many tokens are signed.
const SIGNED_AT_PRECISION: TimeDelta = TimeDelta::seconds(60);

/// The signing keys as one instance knows them. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct SigningKeys(Arc<Inner>);

struct Inner {
    db: Database,
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

/// What there is to know of a key, for whoever looks after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub kid: Kid,
    /// Where it is in its life.
    pub state: State,
    /// Whether this instance can open its private half.
    pub ours: bool,
    /// Whether this instance signs with it.
    pub signs: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it signs.
    pub activate_at: DateTime<Utc>,
    /// When it will be replaced, if that is settled.
    pub replace_at: Option<DateTime<Utc>>,
    /// When it last signed, to the minute.
    pub last_signed_at: Option<DateTime<Utc>>,
    /// From when on nothing that it signed is valid, if it no longer signs.
    pub retire_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl SigningKeys {
    /// Reads nothing yet: the first use does, and makes the first key if there is none.
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

    /// The public keys whose signatures count, as the JWK Set that is published (RFC 7517). Makes
    /// the first key if there is none, so it is never empty.
    pub async fn jwks(&self) -> Result<Arc<Value>, Failure> {
        self.signer().await?;
        let set = self.known().context("no keys after a reading").map_err(Failure::Internal)?;
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
        let now = self.0.clock.now();
        if let Some(key) = self.current().and_then(|set| set.verifier(kid, now)) {
            return Ok(Some(key));
        }
        let mut outcomes = Arc::clone(&self.0.reloading).lock_owned().await;
        // Whoever held the lock before may have read the key that we are looking for.
        if let Some(key) = self.known().and_then(|set| set.verifier(kid, now)) {
            return Ok(Some(key));
        }
        if outcomes.failed.is_some_and(|it| within(it, now, FAILED_PAUSE)) {
            return Err(unavailable_a_moment_ago());
        }
        if outcomes.in_vain.is_some_and(|it| within(it, now, RELOAD_PAUSE)) {
            return Ok(None);
        }
        // Goes on when the client hangs up: the others wait for this reading, too.
        let (keys, kid) = (self.clone(), kid.clone());
        let reading = tokio::spawn(async move {
            let found = keys.reload(&mut outcomes).await?.verifier(&kid, now);
            if found.is_none() {
                outcomes.in_vain = Some(now);
            }
            Ok(found)
        });
        reading.await.context("the reading of the keys ended").map_err(Failure::Internal)?
    }

    /// Whether signatures of a key still count, from memory.
    pub(crate) fn still_trusts(&self, kid: &Kid) -> bool {
        self.current().is_some_and(|set| set.verifier(kid, self.0.clock.now()).is_some())
    }

    /// Reads the keys and does what is due: asks for a successor when a key is old enough, makes the
    /// successor, lets it take over, and ends what nobody needs any more. To be called every few
    /// seconds by every instance that signs, and harmless anywhere else.
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
            self.take(step, now).await?;
        }
        if !steps.is_empty() {
            self.reload(&mut *self.0.reloading.lock().await).await?;
        }
        Ok(())
    }

    /// Asks for new keys: each key that signs is replaced [`PREPUBLISHED`] from now, or sooner if
    /// that was settled. Gives that time. Safe to repeat, also by somebody whose secret opens none
    /// of the keys.
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
        // A successor that waits for the schedule need not wait any longer.
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

    /// Ends the trust in a key at once, because it leaked: every token that it signed is worth
    /// nothing, everywhere, within seconds. If it was the one that signs here, another one takes its
    /// place. Says whether there was such a key to revoke.
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

    /// All keys that there are, newest first.
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
                ours: row.kek_id == self.0.kek.id && row.private_sealed.is_some(),
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
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        if outcomes.failed.is_some_and(|it| within(it, now, FAILED_PAUSE)) {
            return;
        }
        let keys = self.clone();
        tokio::spawn(async move {
            if let Err(error) = keys.reload(&mut outcomes).await {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "The signing keys could not be read again: {error}"
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
        outcomes.failed = rows.is_err().then(|| self.0.clock.now());
        Ok(rows?)
    }

    fn remember(&self, rows: Vec<Model>) -> Arc<KeySet> {
        let set = Arc::new(self.0.kek.open_all(rows, self.0.clock.now()));
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        set
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
