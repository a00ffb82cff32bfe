//! Sessions: one hash per session, and one sorted set per user.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    Redis,
    value::{millis, read, stored_text, write},
};
use crate::{
    caller::UserId,
    store::{
        CatalogDigest, DeletedSession, MAX_SESSIONS_PER_USER, MAX_SUBSCRIPTION_BYTES,
        MAX_SUBSCRIPTIONS, Session, SessionId, Sessions, StoreError,
    },
    types::LogLevel,
};

/// Field: the immutable part of the session, as JSON.
const FIXED: &str = "session";
const LEVEL: &str = "level";
const CATALOG: &str = "catalog";
/// Prefix of the fields that represent one subscription each.
const FOLLOWS: &str = "follows:";
/// The number of fields without subscriptions: [`FIXED`], [`LEVEL`] and [`CATALOG`].
const FIELDS: usize = 3;

impl Redis {
    /// The key of the sorted set of a user's sessions. In a cluster it is not on the node of the
    /// sessions themselves.
    fn sessions_key(&self, user: &UserId) -> String {
        format!("{}sessions:{user}", self.connection.prefix())
    }

    /// Adds a session to the user's set; removes and returns those above the limit.
    async fn count_session(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut count = self.scripts.session_count.prepare_invoke();
        count
            .key(self.sessions_key(user))
            .arg(id.as_str())
            .arg(millis(self.session_ttl))
            .arg(MAX_SESSIONS_PER_USER);
        let evicted: Vec<String> = self.script("user_session_add", &count).await?;
        Ok(evicted.iter().filter_map(|id| SessionId::parse(id)).collect())
    }

    /// Updates the last use of a session, if it is in the user's set.
    async fn touch_session(&self, user: &UserId, id: &SessionId) -> Result<(), StoreError> {
        let mut touch = self.scripts.session_touch.prepare_invoke();
        touch.key(self.sessions_key(user)).arg(id.as_str()).arg(millis(self.session_ttl));
        self.script("user_session_touch", &touch).await
    }
}

#[async_trait]
impl Sessions for Redis {
    async fn create(
        &self,
        id: &SessionId,
        session: &Session,
    ) -> Result<Vec<SessionId>, StoreError> {
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
        let adding = self.count_session(&session.user, id);
        let ((), evicted) = tokio::try_join!(self.pipeline("session_create", &pipeline), adding)?;
        Ok(evicted)
    }

    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let key = self.key(id, "session");
        let mut pipeline = redis::pipe();
        pipeline.hgetall(&key);
        pipeline.cmd("PEXPIRE").arg(&key).arg(millis(self.session_ttl)).ignore();
        let loading = self.pipeline::<(BTreeMap<String, String>,)>("session_load", &pipeline);
        let (loaded, touched) = tokio::join!(loading, self.touch_session(user, id));
        let (fields,) = loaded?;
        if let Err(error) = touched {
            // Redis refuses this write when its memory is full; the session was loaded regardless.
            tracing::debug!(%error, "Could not update the last use of a session");
        }
        let Some(fixed) = fields.get(FIXED) else {
            return Ok(None);
        };
        let mut session: Session = read(fixed)?;
        if session.user != *user {
            return Ok(None);
        }
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
        self.script("session_set", &set).await
    }

    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError> {
        let mut set = self.scripts.session_set.prepare_invoke();
        set.key(self.key(id, "session")).arg(CATALOG).arg(write(catalog)?);
        self.script("session_set", &set).await
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        let mut subscribe = self.scripts.session_subscribe.prepare_invoke();
        subscribe
            .key(self.key(id, "session"))
            .arg(format!("{FOLLOWS}{uri}"))
            .arg(FIELDS)
            .arg(MAX_SUBSCRIPTIONS)
            .arg(FOLLOWS)
            .arg(MAX_SUBSCRIPTION_BYTES);
        self.script("session_subscribe", &subscribe).await
    }

    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.hdel(self.key(id, "session"), format!("{FOLLOWS}{uri}")).ignore();
        self.pipeline("session_unsubscribe", &pipeline).await
    }

    async fn delete(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<Option<DeletedSession>, StoreError> {
        let mut remove = redis::pipe();
        remove.zrem(self.sessions_key(user), stored_text(id.as_str())).ignore();
        let mut delete = self.scripts.session_delete.prepare_invoke();
        delete.key(self.key(id, "session")).key(self.key(id, "waiting"));
        delete.arg(self.key(id, "call:")).arg(FIXED).arg(user.as_str());
        let deleting = self.script::<(bool, Option<String>)>("session_delete", &delete);
        let ((existed, fixed), ()) =
            tokio::try_join!(deleting, self.pipeline("user_session_remove", &remove))?;
        let session = fixed.and_then(|fixed| read::<Session>(&fixed).ok());
        Ok(existed.then(|| DeletedSession { began: session.and_then(|it| it.began) }))
    }
}
