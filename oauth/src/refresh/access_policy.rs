//! The recheck of the access policy before an exchange.

use chrono::{DateTime, TimeDelta, Utc};
use entity::users as users_table;
use mcp::UserId;
use platform::db::Failure;
use sea_orm::{Condition, QueryFilter as _, sea_query::Expr};

use super::error::RefreshError;
use crate::{
    audit::RequestInfo,
    grant::{self, Reason},
    login::{
        policy::{self, DenialReason, PolicyDecision},
        users,
    },
    revoke,
    server::Server,
};

/// The age from which a result of the access policy is checked again.
pub const POLICY_RECHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How long the last positive result of the access policy is used while a recheck is impossible.
pub const POLICY_RESULT_VALID_FOR: TimeDelta = TimeDelta::hours(24);

/// How long other requests use the last result while one instance rechecks the access policy.
/// Longer than a recheck takes.
const RECHECK_CLAIM: TimeDelta = TimeDelta::seconds(15);

/// Checks the access policy for the user. The identity provider is asked again every
/// [`POLICY_RECHECK_AFTER`]. If the policy no longer admits the user, all grants of the user are
/// revoked.
pub(super) async fn check(
    server: &Server,
    user: &UserId,
    request: &RequestInfo,
) -> Result<(), RefreshError> {
    let now = server.clock().now();
    let (checked_at, satisfied) = match users::get(server.db(), user).await? {
        Some(known) if !users::is_blocked(&known) => (known.gate_checked_at, known.gate_org),
        Some(_) => return deny(server, user, DenialReason::Blocked, request).await,
        None => return deny(server, user, DenialReason::SignInAgain, request).await,
    };
    // The list is local, so it is checked every time.
    if !policy::is_listed(server, user).await? {
        policy::count_refusal(user, DenialReason::NotListed);
        return deny(server, user, DenialReason::NotListed, request).await;
    }
    // A result for other rules does not count; rows of older versions have none.
    let rules = policy::remote_rules_of(server, user);
    let same_rules = satisfied.as_deref() == rules.as_deref();
    let is_recent = same_rules && checked_at.is_some_and(|at| now - at < POLICY_RECHECK_AFTER);
    if is_recent || policy::is_open_to(server, user) {
        return Ok(());
    }
    let is_valid = (same_rules || satisfied.is_none())
        && checked_at.is_some_and(|at| now - at <= POLICY_RESULT_VALID_FOR);
    // Without any earlier result, every request rechecks; with an outdated one, only one request
    // does.
    let rechecks = claim_recheck(server, user, now).await? || checked_at.is_none();
    if !rechecks {
        return if is_valid { Ok(()) } else { Err(RefreshError::PolicyUnknown) };
    }
    match policy::recheck(server, user).await {
        PolicyDecision::Admitted => {
            grant::set_policy_checked_at(server.db(), user.as_str(), now).await?;
            users::set_policy_rules(server.db(), user, rules.as_deref()).await?;
            Ok(())
        }
        PolicyDecision::Denied(why) => deny(server, user, why, request).await,
        PolicyDecision::Unknown | PolicyDecision::Unreadable if is_valid => Ok(()),
        // A retry cannot decrypt the token either. A new sign-in stores a token that can be
        // decrypted.
        PolicyDecision::Unreadable => deny(server, user, DenialReason::SignInAgain, request).await,
        PolicyDecision::Unknown => Err(RefreshError::PolicyUnknown),
    }
}

/// Revokes all grants of the user: the access policy concerns the user, not the app.
async fn deny(
    server: &Server,
    user: &UserId,
    why: DenialReason,
    request: &RequestInfo,
) -> Result<(), RefreshError> {
    revoke::user(server, user, Reason::PolicyDenied(why), request).await?;
    Err(RefreshError::InvalidGrant("the access policy no longer admits the user"))
}

/// Claims the recheck of a user for this request. Returns `true` to only one caller per
/// [`RECHECK_CLAIM`].
async fn claim_recheck(
    server: &Server,
    user: &UserId,
    now: DateTime<Utc>,
) -> Result<bool, Failure> {
    let claimed = users_table::Entity::update_by_sub(user.as_str())
        .col_expr(users_table::Column::GateAskedAt, Expr::value(now))
        .filter(
            Condition::any()
                .add(users_table::COLUMN.gate_asked_at.is_null())
                .add(users_table::COLUMN.gate_asked_at.lte(now - RECHECK_CLAIM)),
        )
        .exec(server.db())
        .await?;
    Ok(claimed.rows_affected == 1)
}
