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
//! follows from the times in the rows ([`signs`]), so the steps only write down what already holds.
//! A successor is made by an instance with the same secret as the key that it replaces; whoever asks
//! for one, be it the schedule or a person, only leaves a note in the row.

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
    ExprTrait as _, QueryFilter as _, QueryOrder as _, Set,
    sea_query::{Alias, Expr, OnConflict, Query, SelectStatement},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{
    access_token::{LEEWAY, MAX_TTL},
    audit::{self, Event, RequestInfo},
};
use crate::{clock::Clock, db::Failure, secret::Secret};

/// The only algorithm. Every client library can check it, and it needs no RSA implementation.
pub(crate) const ALGORITHM: &str = "ES256";

/// How long a key signs before it is replaced.
pub const ROTATE_EVERY: TimeDelta = TimeDelta::days(30);

/// How long before its time a successor is published that the schedule asks for: a day, so that
/// everybody who keeps a copy of the JWK Set has seen it.
pub const SCHEDULED_AHEAD: TimeDelta = TimeDelta::hours(24);

/// How long a successor is published before it signs, at the least: the time for which others may
/// keep a copy of the JWK Set (5 min), or a deploy takes in which an instance comes to be that was
/// started with older code, whichever is longer.
pub const PREPUBLISHED: TimeDelta = TimeDelta::minutes(10);

/// How long a key is trusted after it last signed: as long as a token can live, and a little more.
pub const RETIRING_FOR: TimeDelta =
    TimeDelta::seconds(MAX_TTL.as_secs().cast_signed() + 60 * LEEWAY);

/// How long the row of a key is kept that is no longer trusted, without its private half: to tell
/// what a token was that turns up in an investigation.
pub const KEPT_FOR_FORENSICS: TimeDelta = TimeDelta::days(90);

/// A key that has not signed for this long, while a newer one of another secret has, belongs to
/// instances that are gone: old and new ones run side by side for minutes during a deploy.
const ABANDONED_AFTER: TimeDelta = TimeDelta::minutes(10);

/// How much earlier than the row says a pending key is believed. Instances' clocks differ by less.
const EARLY: TimeDelta = TimeDelta::seconds(60);

/// How old a key set may become where nobody keeps it up. A revoked key is trusted for this long at
/// most.
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
    verifying: HashMap<Kid, Verifier>,
    signing: Option<Arc<Signer>>,
    jwks: Arc<Value>,
}

/// A public half, and from when on its signatures count.
struct Verifier {
    key: Arc<DecodingKey>,
    from: DateTime<Utc>,
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
        let mut outcomes = self.0.reloading.lock().await;
        // Whoever held the lock before may have read the key that we are looking for.
        if let Some(key) = self.known().and_then(|set| set.verifier(kid, now)) {
            return Ok(Some(key));
        }
        if outcomes.failed.is_some_and(|it| within(it, now, RELOAD_PAUSE)) {
            return Err(unavailable_a_moment_ago());
        }
        if outcomes.in_vain.is_some_and(|it| within(it, now, RELOAD_PAUSE)) {
            return Ok(None);
        }
        let found = self.reload(&mut outcomes).await?.verifier(kid, now);
        if found.is_none() {
            outcomes.in_vain = Some(now);
        }
        Ok(found)
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
        let transaction = crate::db::begin(&self.0.db).await?;
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
        let transaction = crate::db::begin(&self.0.db).await?;
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
        if outcomes.failed.is_some_and(|it| within(it, now, RELOAD_PAUSE)) {
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
        let rows = self.read(outcomes).await?;
        Ok(self.remember(rows))
    }

    async fn read(&self, outcomes: &mut Outcomes) -> Result<Vec<Model>, Failure> {
        // Stays if this future is dropped half-way, which counts as a failure.
        outcomes.failed = Some(self.0.clock.now());
        let rows = Entity::trusted().all(&self.0.db).await?;
        outcomes.failed = None;
        Ok(rows)
    }

    fn remember(&self, rows: Vec<Model>) -> Arc<KeySet> {
        let set = Arc::new(self.0.kek.open_all(rows, self.0.clock.now()));
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        set
    }

    async fn insert_first_key(&self) -> Result<(), Failure> {
        let now = self.0.clock.now();
        self.insert(State::Active, now, now).await
    }

    /// Makes a key, unless there is one in the same state under the same secret: then somebody
    /// else's is as good as ours.
    async fn insert(
        &self,
        state: State,
        activate_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let fresh = FreshKey::generate().map_err(Failure::Internal)?;
        let sealed = self.0.kek.seal(&fresh).map_err(Failure::Internal)?;
        let kid = fresh.kid.clone();
        let row = ActiveModel {
            kid: Set(fresh.kid),
            alg: Set(ALGORITHM.to_owned()),
            public_jwk: Set(fresh.jwk),
            private_sealed: Set(Some(sealed)),
            kek_id: Set(self.0.kek.id.clone()),
            state: Set(state),
            created_at: Set(now),
            activate_at: Set(activate_at),
            retire_at: Set(None),
            wiped_at: Set(None),
            last_signed_at: Set(None),
            replace_at: Set(None),
        };
        let on_conflict = OnConflict::new().do_nothing().to_owned();
        let inserted =
            Entity::insert(row).on_conflict(on_conflict).exec_without_returning(&self.0.db).await?;
        if inserted == 1 {
            self.tell(audit::Kind::KeyCreated, &kid).await?;
        }
        Ok(())
    }

    /// Takes one step, unless somebody else has.
    async fn take(&self, step: &Step, now: DateTime<Utc>) -> Result<(), Failure> {
        let db = &self.0.db;
        match step {
            Step::AskForSuccessor(kid) => {
                Entity::update_many()
                    .col_expr(Column::ReplaceAt, Expr::value(now + SCHEDULED_AHEAD))
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Active))
                    .filter(COLUMN.replace_at.is_null())
                    .exec(db)
                    .await?;
            }
            Step::MakeSuccessor { activate_at } => {
                self.insert(State::Pending, *activate_at, now).await?;
            }
            Step::TakeOver { kid, kek_id } => {
                retire(Entity::update_many(), now)
                    .filter(COLUMN.kek_id.eq(kek_id.as_str()))
                    .filter(COLUMN.state.eq(State::Active))
                    .filter(Expr::exists(successor(kid, now)))
                    .exec(db)
                    .await?;
                let active = Entity::update_many()
                    .col_expr(Column::State, Expr::value(State::Active))
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Pending))
                    .filter(Expr::exists(active(kek_id)).not())
                    .exec(db)
                    .await?;
                if active.rows_affected == 1 {
                    self.tell(audit::Kind::KeyActivated, kid).await?;
                }
            }
            Step::Abandon(kid) => {
                retire(Entity::update_many(), now)
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Active))
                    .filter(not_signed_since(now - ABANDONED_AFTER))
                    .exec(db)
                    .await?;
            }
            Step::Retire(kid) => {
                let retired = end(Entity::update_many(), State::Retired, now)
                    .filter(COLUMN.kid.eq(kid.clone()))
                    .filter(COLUMN.state.eq(State::Retiring))
                    .filter(COLUMN.retire_at.lte(now))
                    .filter(not_signed_since(now - RETIRING_FOR))
                    .exec(db)
                    .await?;
                if retired.rows_affected == 1 {
                    self.tell(audit::Kind::KeyRetired, kid).await?;
                }
            }
        }
        Ok(())
    }

    async fn tell(&self, what: audit::Kind, kid: &Kid) -> Result<(), Failure> {
        let event = Event::new(what, &RequestInfo::none()).detail(kid.to_string());
        audit::write(&self.0.db, self.0.clock.now(), &event).await?;
        event.log();
        Ok(())
    }
}

/// Something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A key has signed for long enough.
    AskForSuccessor(Kid),
    /// A key of this instance's secret is to be replaced, and there is nothing to replace it with.
    MakeSuccessor { activate_at: DateTime<Utc> },
    /// A pending key's time has come.
    TakeOver { kid: Kid, kek_id: String },
    /// Nobody has the secret of a key any more.
    Abandon(Kid),
    /// All that a key signed has expired.
    Retire(Kid),
}

/// What is due, of the keys that are trusted. `kek_id`: the secret of this instance.
fn due(rows: &[Model], kek_id: &str, now: DateTime<Utc>) -> Vec<Step> {
    let pending_under =
        |kek_id: &str| rows.iter().any(|it| it.state == State::Pending && it.kek_id == kek_id);
    let mut steps = Vec::new();
    for row in rows {
        match row.state {
            State::Pending if row.activate_at <= now => {
                steps.push(Step::TakeOver { kid: row.kid.clone(), kek_id: row.kek_id.clone() });
            }
            State::Active if is_abandoned(row, rows, now) => {
                steps.push(Step::Abandon(row.kid.clone()));
            }
            State::Active => match row.replace_at {
                None if row.activate_at + ROTATE_EVERY <= now => {
                    steps.push(Step::AskForSuccessor(row.kid.clone()));
                }
                Some(at) if row.kek_id == kek_id && !pending_under(kek_id) => {
                    let activate_at = Ord::max(at, now + PREPUBLISHED);
                    steps.push(Step::MakeSuccessor { activate_at });
                }
                _ => {}
            },
            State::Retiring => {
                let expired = row.retire_at.is_some_and(|it| it <= now)
                    && row.last_signed_at.is_none_or(|it| it <= now - RETIRING_FOR);
                if expired {
                    steps.push(Step::Retire(row.kid.clone()));
                }
            }
            State::Pending | State::Retired | State::Revoked => {}
        }
    }
    steps
}

/// Whether the instances that could sign with a key are gone: instances with another secret came
/// after it, have signed since, and it has not.
fn is_abandoned(key: &Model, rows: &[Model], now: DateTime<Utc>) -> bool {
    let quiet_since = key.last_signed_at.unwrap_or(key.activate_at);
    quiet_since <= now - ABANDONED_AFTER
        && rows.iter().any(|other| {
            other.state == State::Active
                && other.kek_id != key.kek_id
                // Not when it was to sign: that may lie after the day on which its secret went.
                && other.activate_at > key.created_at
                && other.activate_at <= now - ABANDONED_AFTER
                && other.last_signed_at.is_some_and(|it| it > quiet_since)
        })
}

/// Whether a key is one to sign with, as far as its row tells. A pending one is from its time on,
/// whether or not anybody has written that down yet.
fn signs(row: &Model, now: DateTime<Utc>) -> bool {
    matches!(row.state, State::Pending | State::Active) && row.activate_at <= now
}

/// The key that an instance with this secret signs with.
fn newest_that_signs<'a>(rows: &'a [Model], kek_id: &str, now: DateTime<Utc>) -> Option<&'a Model> {
    rows.iter()
        .filter(|row| row.kek_id == kek_id && signs(row, now))
        .max_by(|a, b| (a.activate_at, &a.kid).cmp(&(b.activate_at, &b.kid)))
}

/// A key signs no more.
fn retire(update: sea_orm::UpdateMany<Entity>, now: DateTime<Utc>) -> sea_orm::UpdateMany<Entity> {
    update
        .col_expr(Column::State, Expr::value(State::Retiring))
        .col_expr(Column::RetireAt, Expr::value(now + RETIRING_FOR))
}

/// A key is no longer trusted, and its private half is gone.
fn end(
    update: sea_orm::UpdateMany<Entity>,
    state: State,
    now: DateTime<Utc>,
) -> sea_orm::UpdateMany<Entity> {
    update
        .col_expr(Column::State, Expr::value(state))
        .col_expr(Column::PrivateSealed, Expr::value(None::<Vec<u8>>))
        .col_expr(Column::WipedAt, Expr::value(now))
}

fn not_signed_since(then: DateTime<Utc>) -> Condition {
    Condition::any().add(Column::LastSignedAt.is_null()).add(Column::LastSignedAt.lte(then))
}

/// A pending key whose time has come.
fn successor(kid: &Kid, now: DateTime<Utc>) -> SelectStatement {
    other_keys()
        .and_where(Expr::col((Alias::new(OTHER), Column::Kid)).eq(kid.clone()))
        .and_where(Expr::col((Alias::new(OTHER), Column::State)).eq(State::Pending))
        .and_where(Expr::col((Alias::new(OTHER), Column::ActivateAt)).lte(now))
        .take()
}

/// The active key under a secret.
fn active(kek_id: &str) -> SelectStatement {
    other_keys()
        .and_where(Expr::col((Alias::new(OTHER), Column::KekId)).eq(kek_id))
        .and_where(Expr::col((Alias::new(OTHER), Column::State)).eq(State::Active))
        .take()
}

/// What the table is called where a condition looks at other rows than the one that is changed.
const OTHER: &str = "other";

fn other_keys() -> SelectStatement {
    Query::select().expr(Expr::val(1)).from_as(Entity, Alias::new(OTHER)).take()
}

impl KeySet {
    /// The public half of a key, if its signatures count now.
    fn verifier(&self, kid: &Kid, now: DateTime<Utc>) -> Option<Arc<DecodingKey>> {
        let verifier = self.verifying.get(kid)?;
        (verifier.from <= now).then(|| Arc::clone(&verifier.key))
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
            .encrypt(&XNonce::from(nonce), Payload { msg: &key.pkcs8, aad: aad.as_bytes() })
            .map_err(|aead::Error| anyhow!("could not seal a private key"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, key: &Model) -> anyhow::Result<EncodingKey> {
        let sealed = key.private_sealed.as_deref().context("the private key was wiped")?;
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE>().context("the sealed private key is too short")?;
        let aad = self.aad(&key.kid, &key.alg);
        let pkcs8 = self
            .cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: aad.as_bytes() })
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
        let mut sound = Vec::new();
        for row in rows {
            match verifying_key(&row) {
                Ok(key) => {
                    let verifier = Verifier { key: Arc::new(key), from: row.activate_at - EARLY };
                    verifying.insert(row.kid.clone(), verifier);
                    sound.push(row);
                }
                Err(error) => {
                    tracing::error!(kid = %row.kid, "Signing key `{}` is unusable: {error:#}", row.kid);
                }
            }
        }
        KeySet {
            read_at: now,
            verifying,
            signing: self.signer(&sound, now),
            jwks: Arc::new(json!({
                "keys": sound.into_iter().map(|it| it.public_jwk).collect::<Vec<_>>(),
            })),
        }
    }

    /// The newest key that signs and can be opened.
    fn signer(&self, rows: &[Model], now: DateTime<Utc>) -> Option<Arc<Signer>> {
        let mut candidates = rows.to_vec();
        while let Some(row) = newest_that_signs(&candidates, &self.id, now) {
            let kid = row.kid.clone();
            match self.open(row) {
                Ok(key) => return Some(Arc::new(Signer { kid, key })),
                Err(error) => tracing::error!(
                    %kid, state = row.state.to_value(), "Signing key `{kid}` cannot sign: {error:#}"
                ),
            }
            candidates.retain(|it| it.kid != kid);
        }
        None
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
    anyhow::ensure!(row.kid == thumbprint(x, y), "its id is not the thumbprint of its public key");
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

    fn day(n: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(n)
    }

    /// Keys without content, for rules that look at states and times alone.
    fn bare(kid: &str, kek_id: &str, state: State, activate_at: DateTime<Utc>) -> Model {
        Model {
            kid: Kid(kid.to_owned()),
            alg: ALGORITHM.to_owned(),
            public_jwk: Value::Null,
            private_sealed: None,
            kek_id: kek_id.to_owned(),
            state,
            created_at: activate_at,
            activate_at,
            retire_at: None,
            wiped_at: None,
            last_signed_at: None,
            replace_at: None,
        }
    }

    #[test]
    fn what_is_due_follows_from_the_rows() {
        let kid = |it: &str| Kid(it.to_owned());
        let now = day(100);
        let minutes = |n| now - TimeDelta::minutes(n);
        let active = bare("a", "ours", State::Active, day(90));
        let old = Model { activate_at: day(70), ..active.clone() };
        let asked = |at| Model { replace_at: Some(at), ..old.clone() };
        let pending = |at| bare("p", "ours", State::Pending, at);
        let retiring =
            |at| Model { retire_at: Some(at), ..bare("r", "gone", State::Retiring, day(1)) };
        let signed = |at, key: &Model| Model { last_signed_at: Some(at), ..key.clone() };
        let elsewhere = bare("e", "theirs", State::Active, minutes(30));
        let make = |activate_at| Step::MakeSuccessor { activate_at };
        let take_over = || Step::TakeOver { kid: kid("p"), kek_id: "ours".to_owned() };

        for (why, rows, expected) in [
            ("nothing to do", vec![active.clone()], vec![]),
            ("old enough", vec![old.clone()], vec![Step::AskForSuccessor(kid("a"))]),
            (
                "to the moment",
                vec![Model { activate_at: day(70) + TimeDelta::microseconds(1), ..old.clone() }],
                vec![],
            ),
            ("asked for", vec![asked(day(101))], vec![make(day(101))]),
            ("asked for at short notice", vec![asked(now)], vec![make(now + PREPUBLISHED)]),
            ("made", vec![asked(day(101)), pending(day(101))], vec![]),
            ("its time has come", vec![asked(now), pending(now)], vec![take_over()]),
            ("killed half-way", vec![retiring(day(101)), pending(now)], vec![take_over()]),
            (
                "another secret's is not ours to make",
                vec![Model { kek_id: "theirs".to_owned(), ..asked(day(101)) }],
                vec![],
            ),
            ("still valid", vec![retiring(now + TimeDelta::seconds(1))], vec![]),
            ("expired", vec![retiring(now)], vec![Step::Retire(kid("r"))]),
            (
                "signed late",
                vec![signed(now - RETIRING_FOR + TimeDelta::seconds(1), &retiring(now))],
                vec![],
            ),
            (
                "signed long ago",
                vec![signed(now - RETIRING_FOR, &retiring(now))],
                vec![Step::Retire(kid("r"))],
            ),
            (
                "abandoned",
                vec![signed(minutes(10), &active), signed(minutes(1), &elsewhere)],
                vec![Step::Abandon(kid("a"))],
            ),
            (
                "abandoned without ever having signed",
                vec![active.clone(), signed(minutes(1), &elsewhere)],
                vec![Step::Abandon(kid("a"))],
            ),
            (
                "signed lately",
                vec![signed(minutes(9), &active), signed(minutes(1), &elsewhere)],
                vec![],
            ),
            (
                "the other one does not sign",
                vec![signed(minutes(20), &active), elsewhere.clone()],
                vec![],
            ),
            (
                "the other one signed before",
                vec![signed(minutes(20), &active), signed(minutes(25), &elsewhere)],
                vec![],
            ),
            (
                "the other one is young",
                vec![
                    signed(minutes(20), &active),
                    signed(minutes(1), &Model { activate_at: minutes(9), ..elsewhere.clone() }),
                ],
                vec![],
            ),
        ] {
            assert_eq!(due(&rows, "ours", now), expected, "{why}");
        }
    }

    #[test]
    fn the_newest_key_signs_whose_time_has_come() {
        let now = day(100);
        let rows = [
            bare("retiring", "ours", State::Retiring, day(99)),
            bare("old", "ours", State::Active, day(1)),
            bare("due", "ours", State::Pending, now),
            bare("not yet", "ours", State::Pending, now + TimeDelta::seconds(1)),
            bare("theirs", "theirs", State::Active, now),
        ];
        let signing = |rows| newest_that_signs(rows, "ours", now).map(|it| it.kid.as_str());
        assert_eq!(signing(&rows), Some("due"));
        assert_eq!(signing(&rows[..2]), Some("old"));
        assert_eq!(signing(&rows[..1]), None);
        assert_eq!(signing(&rows[3..]), None);
    }

    #[test]
    fn a_pending_key_verifies_nothing_before_its_time() {
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
    fn a_key_is_trusted_for_longer_than_any_token_lives() {
        assert!(RETIRING_FOR > TimeDelta::from_std(MAX_TTL).unwrap());
        assert!(SCHEDULED_AHEAD > PREPUBLISHED && ROTATE_EVERY > SCHEDULED_AHEAD);
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
        assert!(kek.open(&Model { kid: other.kid, ..key.clone() }).is_err());
        assert!(kek.open(&Model { alg: "ES384".to_owned(), ..key.clone() }).is_err());
        assert!(kek.open(&Model { private_sealed: None, ..key.clone() }).is_err());
        assert!(kek.open(&Model { private_sealed: Some(vec![0; 8]), ..key.clone() }).is_err());
        assert!(Kek::derive(&Secret::new("another secret")).open(&key).is_err());
    }

    #[test]
    fn only_a_key_that_is_what_it_says_is_used() {
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
