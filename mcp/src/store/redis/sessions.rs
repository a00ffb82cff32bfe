//! Sessions: one hash each.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    Redis,
    value::{millis, read, write},
};
use crate::{
    store::{CatalogDigest, MAX_SUBSCRIPTIONS, Session, SessionId, Sessions, StoreError},
    types::LogLevel,
};

/// What never changes, as JSON.
const FIXED: &str = "session";
const LEVEL: &str = "level";
const CATALOG: &str = "catalog";
/// One field per followed resource begins so.
const FOLLOWS: &str = "follows:";
/// [`FIXED`], [`LEVEL`] and [`CATALOG`].
const FIELDS: usize = 3;

#[async_trait]
impl Sessions for Redis {
    async fn create(&self, id: &SessionId, session: &Session) -> Result<(), StoreError> {
        let key = self.key(id, "session");
        let fixed = Session { subscriptions: BTreeSet::new(), ..session.clone() };
        let mut pipeline = redis::pipe();
        pipeline
            .atomic()
            .hset_multiple(
                &key,
                &[
                    (FIXED, write(&fixed)?),
                    (LEVEL, write(&session.log_level)?),
                    (CATALOG, write(&session.catalog)?),
                ],
            )
            .ignore();
        for uri in &session.subscriptions {
            pipeline.hset(&key, format!("{FOLLOWS}{uri}"), "").ignore();
        }
        pipeline.cmd("PEXPIRE").arg(&key).arg(millis(self.session_ttl)).ignore();
        self.pipeline(&pipeline).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let key = self.key(id, "session");
        let mut pipeline = redis::pipe();
        pipeline.hgetall(&key);
        pipeline.cmd("PEXPIRE").arg(&key).arg(millis(self.session_ttl)).ignore();
        let (fields,): (BTreeMap<String, String>,) = self.pipeline(&pipeline).await?;
        let Some(fixed) = fields.get(FIXED) else {
            return Ok(None);
        };
        let mut session: Session = read(fixed)?;
        if let Some(level) = fields.get(LEVEL) {
            session.log_level = read(level)?;
        }
        if let Some(catalog) = fields.get(CATALOG) {
            session.catalog = read(catalog)?;
        }
        let follows = fields.keys().filter_map(|it| it.strip_prefix(FOLLOWS));
        session.subscriptions = follows.map(str::to_owned).collect();
        Ok(Some(session))
    }

    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError> {
        let mut set = self.scripts.session_set.prepare_invoke();
        set.key(self.key(id, "session")).arg(LEVEL).arg(write(&level)?);
        self.script(&set).await
    }

    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError> {
        let mut set = self.scripts.session_set.prepare_invoke();
        set.key(self.key(id, "session")).arg(CATALOG).arg(write(catalog)?);
        self.script(&set).await
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        let mut subscribe = self.scripts.session_subscribe.prepare_invoke();
        subscribe
            .key(self.key(id, "session"))
            .arg(format!("{FOLLOWS}{uri}"))
            .arg(FIELDS)
            .arg(MAX_SUBSCRIPTIONS);
        self.script(&subscribe).await
    }

    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.hdel(self.key(id, "session"), format!("{FOLLOWS}{uri}")).ignore();
        self.pipeline(&pipeline).await
    }

    async fn delete(&self, id: &SessionId) -> Result<bool, StoreError> {
        let mut delete = self.scripts.session_delete.prepare_invoke();
        delete.key(self.key(id, "session")).key(self.key(id, "waiting")).arg(self.key(id, "call:"));
        self.script(&delete).await
    }
}
