//! Clean-up: functions that delete expired rows. The scheduler of the service calls them.
//!
//! Each call deletes at most [`BATCH`] rows in one statement and returns how many: repeat the call
//! while it returns [`BATCH`]. Several workers may run it concurrently; on Postgres, rows that one
//! worker has locked are skipped by the others, and on SQLite they run one after the other.
//! Retention times are configured ([`crate::server::Settings`]), or constants next to the lifetime
//! that they belong to, so that clean-up and validation use the same values.

use entity::{
    access_cutoffs, oauth_audit, oauth_clients, oauth_codes, oauth_grants, oauth_refresh_tokens,
    oauth_signing_keys::{self, State},
};
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait, QueryFilter as _, QuerySelect as _, QueryTrait as _,
    sea_query::{Expr, ExprTrait as _, LockBehavior, LockType, Query},
};

use super::{code, grant, signing_keys};
use crate::server::Server;

/// The maximum number of rows that one call deletes: few enough that other statements do not wait.
pub const BATCH: u64 = 500;

/// Deletes codes that expired [`code::RETENTION`] ago or more.
pub async fn codes(server: &Server) -> Result<u64, Failure> {
    use oauth_codes::{COLUMN, Column, Entity};

    let expired = COLUMN.expires_at.lte(server.clock().now() - code::RETENTION);
    batch::<Entity>(server, Column::CodeHash, Condition::all().add(expired)).await
}

/// Deletes refresh tokens of grants that ended `ENDED_GRANT_RETENTION` ago or more. Until then,
/// used tokens are kept to detect replays. Run it before [`grants`]: a grant can have thousands of
/// tokens.
pub async fn refresh_tokens(server: &Server) -> Result<u64, Failure> {
    use oauth_refresh_tokens::{Column, Entity};

    let ended = oauth_grants::Entity::find()
        .select_only()
        .column(oauth_grants::Column::Id)
        .filter(long_ended(server))
        .into_query();
    let of_ended = Expr::col((Entity, Column::GrantId)).in_subquery(ended);
    batch::<Entity>(server, Column::TokenHash, Condition::all().add(of_ended)).await
}

/// Deletes grants that ended `ENDED_GRANT_RETENTION` ago or more and have no refresh tokens left.
pub async fn grants(server: &Server) -> Result<u64, Failure> {
    use oauth_grants::{Column, Entity};
    use oauth_refresh_tokens as tokens;

    let remaining = Query::select()
        .expr(Expr::val(1))
        .from(tokens::Entity)
        .and_where(
            Expr::col((tokens::Entity, tokens::Column::GrantId)).equals((Entity, Column::Id)),
        )
        .take();
    let which = long_ended(server).add(Expr::exists(remaining).not());
    batch::<Entity>(server, Column::Id, which).await
}

/// Deletes clients that have expired unused, and that have no live grant.
pub async fn clients(server: &Server) -> Result<u64, Failure> {
    use oauth_clients::{COLUMN, Column, Entity};
    use oauth_grants as grants;

    let now = server.clock().now();
    let needed = Query::select()
        .expr(Expr::val(1))
        .from(grants::Entity)
        .and_where(
            Expr::col((grants::Entity, grants::Column::ClientId)).equals((Entity, Column::Id)),
        )
        .cond_where(grant::live(now))
        .take();
    let which = Condition::all().add(COLUMN.expires_at.lte(now)).add(Expr::exists(needed).not());
    batch::<Entity>(server, Column::Id, which).await
}

/// Deletes cutoffs that are older than any credential they could invalidate: they are kept as long
/// as revoked grants.
pub async fn cutoffs(server: &Server) -> Result<u64, Failure> {
    use access_cutoffs::{COLUMN, Column, Entity};

    let old = COLUMN.cutoff_at.lte(server.clock().now() - server.settings().ended_grant_retention);
    batch::<Entity>(server, Column::UserSub, Condition::all().add(old)).await
}

/// Deletes signing keys that have not been trusted for [`signing_keys::KEPT_FOR_FORENSICS`].
pub async fn keys(server: &Server) -> Result<u64, Failure> {
    use oauth_signing_keys::{COLUMN, Column, Entity};

    let long_ago = server.clock().now() - signing_keys::KEPT_FOR_FORENSICS;
    let which = Condition::all()
        .add(COLUMN.state.is_in([State::Retired, State::Revoked]))
        .add(COLUMN.wiped_at.lte(long_ago));
    batch::<Entity>(server, Column::Kid, which).await
}

/// Deletes rows of the audit log that are older than `AUDIT_RETENTION`.
pub async fn audit(server: &Server) -> Result<u64, Failure> {
    use oauth_audit::{COLUMN, Column, Entity};

    let old = COLUMN.at.lte(server.clock().now() - server.settings().audit_retention);
    batch::<Entity>(server, Column::Id, Condition::all().add(old)).await
}

/// Builds the condition for grants that ended `ENDED_GRANT_RETENTION` ago or more, by expiry or
/// revocation.
fn long_ended(server: &Server) -> Condition {
    let long_ago = server.clock().now() - server.settings().ended_grant_retention;
    Condition::all().add(oauth_grants::COLUMN.ends_at.lte(long_ago))
}

async fn batch<E: EntityTrait>(
    server: &Server,
    key: E::Column,
    which: Condition,
) -> Result<u64, Failure> {
    let keys = E::find()
        .select_only()
        .column(key)
        .filter(which)
        .limit(BATCH)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_query();
    let deleted =
        E::delete_many().filter(Expr::col(key).in_subquery(keys)).exec(server.db()).await?;
    Ok(deleted.rows_affected)
}
