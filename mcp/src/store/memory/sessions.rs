use async_trait::async_trait;
use tokio::time::Instant;

use super::state::{MAX_SESSIONS, Memory};
use crate::{
    caller::UserId,
    id::SessionId,
    store::{
        CatalogDigest, DeletedSession, MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTIONS, Session,
        Sessions, StoreError,
    },
    types::LogLevel,
};

#[async_trait]
impl Sessions for Memory {
    async fn create(
        &self,
        id: &SessionId,
        session: &Session,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut state = self.state();
        let evicted = state.make_room(&session.user, self.session_ttl);
        if state.sessions.len() >= MAX_SESSIONS {
            let idlest =
                state.sessions.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| id.clone());
            if let Some(idlest) = idlest {
                state.sessions.remove(&idlest);
            }
        }
        state.sessions.insert(id.clone(), (session.clone(), Instant::now()));
        Ok(evicted)
    }

    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let Some((session, touched)) = state.sessions.get_mut(id) else {
            return Ok(None);
        };
        if session.user != *user || now >= *touched + self.session_ttl {
            return Ok(None);
        }
        *touched = now;
        Ok(Some(session.clone()))
    }

    async fn set_log_level(&self, id: &SessionId, level: LogLevel) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.log_level = level;
        }
        Ok(())
    }

    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.catalog = catalog.clone();
        }
        Ok(())
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some((session, _)) = state.sessions.get_mut(id) else {
            return Ok(false);
        };
        let bytes: usize = session.subscriptions.iter().map(String::len).sum();
        let full = session.subscriptions.len() >= MAX_SUBSCRIPTIONS
            || bytes + uri.len() > MAX_SUBSCRIPTION_BYTES;
        if full && !session.subscriptions.contains(uri) {
            return Ok(false);
        }
        session.subscriptions.insert(uri.to_owned());
        Ok(true)
    }

    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError> {
        if let Some((session, _)) = self.state().sessions.get_mut(id) {
            session.subscriptions.remove(uri);
        }
        Ok(())
    }

    async fn delete(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<Option<DeletedSession>, StoreError> {
        let mut state = self.state();
        if state.sessions.get(id).is_some_and(|(session, _)| session.user != *user) {
            return Ok(None);
        }
        state.calls.retain(|it| it.writer.key.session != *id);
        let Some((session, last_use)) = state.sessions.remove(id) else {
            return Ok(None);
        };
        let has_expired = Instant::now() >= last_use + self.session_ttl;
        Ok((!has_expired).then_some(DeletedSession { began: session.began }))
    }
}
