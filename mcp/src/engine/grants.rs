//! The open streams of this process by the authorization they were opened under, so that a
//! revocation closes them.
//!
//! A stream outlives the check of its access token. When the grant behind the token is revoked,
//! whoever learns of it publishes
//! [`crate::Signal::Revoked`] or calls [`crate::Engine::end_streams`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

type Open = Mutex<HashMap<Arc<str>, (CancellationToken, usize)>>;

/// Open streams by grant.
#[derive(Clone, Default)]
pub(super) struct Grants {
    open: Arc<Open>,
}

/// An open stream. It is forgotten when this is dropped.
pub(super) struct OpenStream {
    grants: Grants,
    grant: Arc<str>,
    revoked: CancellationToken,
}

impl Grants {
    pub(super) fn open(&self, grant: &Arc<str>) -> OpenStream {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (revoked, streams) = open.entry(Arc::clone(grant)).or_default();
        *streams += 1;
        let revoked = revoked.clone();
        drop(open);
        OpenStream { grants: self.clone(), grant: Arc::clone(grant), revoked }
    }

    pub(super) fn revoke(&self, grant: &str) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revoked, _)) = open.get(grant) {
            revoked.cancel();
        }
    }
}

impl OpenStream {
    /// Ends when the grant is revoked.
    pub(super) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.grants.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, streams)) = open.get_mut(&self.grant) {
            *streams -= 1;
            if *streams == 0 {
                open.remove(&self.grant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revocation_ends_the_streams_of_its_grant_only() {
        let grants = Grants::default();
        let (hers, his) = (Arc::from("hers"), Arc::from("his"));
        let (first, second, other) = (grants.open(&hers), grants.open(&hers), grants.open(&his));
        grants.revoke("hers");
        first.revoked().await;
        second.revoked().await;
        assert!(!other.revoked.is_cancelled());
        drop((first, second));
        assert!(!grants.open(&hers).revoked.is_cancelled(), "a later stream has its own fate");
    }
}
