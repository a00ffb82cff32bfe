//! Watches whether the access of a caller ends while its call runs or its stream is open.

use std::sync::Arc;

use tokio::sync::watch;

use super::Inner;
use crate::caller::{AccessCheck, Caller};

/// The access of a caller, for the lifetime of a call or stream.
pub(super) struct Access {
    /// `None`: the engine has no [`AccessCheck`], and access never ends.
    watched: Option<WatchedAccess>,
}

struct WatchedAccess {
    check: Arc<dyn AccessCheck>,
    changes: watch::Receiver<u64>,
    caller: Caller,
}

impl Inner {
    /// Starts watching the access of a caller.
    pub(super) fn access(&self, caller: &Caller) -> Access {
        let watched = self.settings.access.as_ref().map(|check| {
            let mut changes = check.changes();
            // Access may have ended since the token was checked: check at the first wait.
            changes.mark_changed();
            WatchedAccess { check: Arc::clone(check), changes, caller: caller.clone() }
        });
        Access { watched }
    }
}

impl Access {
    /// Completes when the access has ended. Cancellation safe, and may be called again after that.
    pub(super) async fn ended(&mut self) {
        let Some(WatchedAccess { check, changes, caller }) = &mut self.watched else {
            return std::future::pending().await;
        };
        while changes.changed().await.is_ok() {
            if !check.is_allowed(caller) {
                // So that the next call completes, too.
                changes.mark_changed();
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex, time::Duration};

    use tokio::time::timeout;

    use super::*;
    use crate::caller::UserId;

    /// Denies callers by grant.
    struct Revoked {
        grants: Mutex<BTreeSet<String>>,
        changes: watch::Sender<u64>,
    }

    impl AccessCheck for Revoked {
        fn is_allowed(&self, caller: &Caller) -> bool {
            !self.grants.lock().unwrap().contains(&*caller.grant)
        }

        fn changes(&self) -> watch::Receiver<u64> {
            self.changes.subscribe()
        }
    }

    impl Revoked {
        fn open(self: &Arc<Self>, grant: &str) -> Access {
            let mut changes = self.changes();
            changes.mark_changed();
            let caller = Caller {
                user: UserId::new("dev:ada"),
                client: "tests".into(),
                scopes: BTreeSet::new(),
                grant: grant.into(),
                key: "a-key".into(),
                issued_at: 0,
                expires_at: i64::MAX,
                request: None,
            };
            Access {
                watched: Some(WatchedAccess { check: Arc::clone(self) as _, changes, caller }),
            }
        }

        fn revoke(&self, grant: &str) {
            self.grants.lock().unwrap().insert(grant.to_owned());
            self.changes.send_modify(|count| *count += 1);
        }
    }

    async fn has_ended(access: &mut Access) -> bool {
        timeout(Duration::from_millis(20), access.ended()).await.is_ok()
    }

    #[tokio::test]
    async fn a_revocation_ends_the_access_of_its_grant_only() {
        let revoked =
            Arc::new(Revoked { grants: Mutex::default(), changes: watch::Sender::new(0) });
        let [mut hers, mut his] = ["hers", "his"].map(|grant| revoked.open(grant));
        assert!(!has_ended(&mut hers).await);
        revoked.revoke("hers");
        assert!(has_ended(&mut hers).await);
        assert!(has_ended(&mut hers).await, "access stays ended");
        assert!(!has_ended(&mut his).await);
        let mut late = revoked.open("hers");
        assert!(
            has_ended(&mut late).await,
            "access that is watched only after the revocation has ended, too"
        );
    }
}
