//! Assertions can be used once (RFC 7523, section 3): the id of each (`jti`) is stored until the
//! assertion has expired, by one atomic operation of the store that all instances share.

use std::time::Duration;

use crate::{
    jwt::SKEW,
    server::Server,
    used_ids::{IdKind, UsedId, UsedIdsUnavailable},
};

/// How much longer than the assertion is valid its id is stored: the clocks of instances differ.
const MARGIN: i64 = SKEW + 60;

/// Returns whether this is the first use of an assertion: of several concurrent callers at all
/// instances, one gets `true`. Call it after all other checks, so that only the issuer can store ids.
/// `expires_at` is in seconds since the Unix epoch.
pub(crate) async fn is_first_use(
    server: &Server,
    issuer: &str,
    id: &str,
    expires_at: i64,
) -> Result<bool, UsedIdsUnavailable> {
    let left = expires_at.saturating_sub(server.clock().now().timestamp()).saturating_add(MARGIN);
    let ttl = Duration::from_secs(u64::try_from(left).unwrap_or_default());
    server.used_ids().record(&used_id(issuer, id), ttl).await
}

/// Makes an assertion usable again, because the request with it failed for reasons of this server, and
/// changed nothing. Best effort: if it fails, the client needs a new assertion.
pub(crate) async fn forget(server: &Server, issuer: &str, id: &str) {
    if let Err(error) = server.used_ids().forget(&used_id(issuer, id)).await {
        tracing::info!(%error, "Could not make an assertion usable again; the client needs a new one");
    }
}

fn used_id(issuer: &str, id: &str) -> UsedId {
    UsedId::new(IdKind::Assertion, issuer, id)
}
