//! What is open or runs after its access token was checked, and asks again whether it still may.

use std::sync::Arc;

use tokio::sync::watch;

use super::Inner;
use crate::caller::{AccessCheck, Caller};

/// The access under which a stream is open or a call runs.
pub(super) struct Access {
    asked: Option<Asked>,
}

struct Asked {
    check: Arc<dyn AccessCheck>,
    changes: watch::Receiver<u64>,
    caller: Caller,
}

impl Inner {
    /// Begins to watch the access of a caller.
    pub(super) fn access(&self, caller: &Caller) -> Access {
        let asked = self.settings.access.as_ref().map(|check| {
            let mut changes = check.changes();
            // It may have ended since the token was checked: the first wait asks at once.
            changes.mark_changed();
            Asked { check: Arc::clone(check), changes, caller: caller.clone() }
        });
        Access { asked }
    }
}

impl Access {
    /// Completes when the access has ended. Cancel safe.
    pub(super) async fn ended(&mut self) {
        let Some(Asked { check, changes, caller }) = &mut self.asked else {
            return std::future::pending().await;
        };
        while changes.changed().await.is_ok() {
            if !check.is_allowed(caller) {
                // For the next one who asks.
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
            Access { asked: Some(Asked { check: Arc::clone(self) as _, changes, caller }) }
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
    async fn a_revocation_ends_what_was_opened_under_its_grant_only() {
        let revoked =
            Arc::new(Revoked { grants: Mutex::default(), changes: watch::Sender::new(0) });
        let [mut hers, mut his] = ["hers", "his"].map(|grant| revoked.open(grant));
        assert!(!has_ended(&mut hers).await);
        revoked.revoke("hers");
        assert!(has_ended(&mut hers).await);
        assert!(has_ended(&mut hers).await, "it stays ended");
        assert!(!has_ended(&mut his).await);
        let mut late = revoked.open("hers");
        assert!(has_ended(&mut late).await, "also what was opened a moment too late");
    }
}
