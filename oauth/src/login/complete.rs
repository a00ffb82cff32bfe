//! The completion of a login of an admitted user: the user's row, and the code or session that the
//! login is for.

use chrono::{DateTime, Utc};
use entity::users as users_table;
use platform::{
    db::{self, Failure},
    secret::Secret,
};
use sea_orm::{EntityTrait as _, QueryFilter as _, sea_query::Expr};

use super::{
    outcome::SignInOutcome,
    pending_login::LoginFor,
    report::as_login,
    result::{CallbackError, FinishedLogin},
    session, upstream_token,
    users::{self, SignIn},
};
use crate::{
    access,
    audit::{self, RequestInfo},
    code::{self, NewCode},
    pending::StoreUnavailable,
    redirect_uri,
    server::Server,
};

/// An authenticated user whom the access policy admits.
pub(super) struct AdmittedUser {
    pub(super) sign_in: SignIn,
    /// When the access policy was checked. `None`: it has no rules.
    pub(super) gate_checked_at: Option<DateTime<Utc>>,
    /// The rules at the provider that the user satisfies.
    pub(super) rules: Option<String>,
    /// The user's token at the provider, to be stored.
    pub(super) token: Option<Secret>,
}

/// Completes a login: stores the user, and the token at the provider if it is needed, then issues
/// the code or the session that the login is for.
pub(super) async fn complete(
    server: &Server,
    purpose: LoginFor,
    user: AdmittedUser,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    match store_and_issue(server, &purpose, user, request).await {
        Ok(finished) => {
            SignInOutcome::Ok.count();
            Ok(finished)
        }
        Err(CompletionError::Failure(failure)) => {
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Sign-in failed: could not complete the login"
            );
            purpose.unavailable(server, SignInOutcome::Failed)
        }
        Err(CompletionError::Store(error)) => {
            tracing::error!(%error, "Sign-in failed: could not create the session");
            purpose.unavailable(server, SignInOutcome::Failed)
        }
    }
}

/// Why a login of an admitted user could not be completed.
enum CompletionError {
    Failure(Failure),
    Store(StoreUnavailable),
}

impl<E: Into<Failure>> From<E> for CompletionError {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

async fn store_and_issue(
    server: &Server,
    purpose: &LoginFor,
    admitted: AdmittedUser,
    request: &RequestInfo,
) -> Result<FinishedLogin, CompletionError> {
    let AdmittedUser { sign_in, gate_checked_at, rules, token } = admitted;
    let now = server.clock().now();
    let user = sign_in.user.clone();
    let login = sign_in.login.clone();
    let mut event = purpose.event(audit::Kind::SignedIn, request).user(&user);
    if let Some(detail) = as_login(&login) {
        event = event.detail(detail);
    }

    let transaction = db::begin(server.db()).await?;
    users::upsert(&transaction, now, sign_in).await?;
    let signed_in_at = access::issue_at(&transaction, now, &user).await?;
    users::set_policy_rules(&transaction, &user, rules.as_deref()).await?;
    if let Some(checked_at) = gate_checked_at {
        users_table::Entity::update_many()
            .col_expr(users_table::Column::GateCheckedAt, Expr::value(checked_at))
            .filter(users_table::COLUMN.sub.eq(user.as_str()))
            .exec(&transaction)
            .await?;
    }
    upstream_token::keep(&transaction, server, &user, token.as_ref()).await?;
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();

    match purpose {
        LoginFor::Client(authorization) => {
            let code = code::issue(
                server,
                NewCode {
                    client: authorization.client.clone(),
                    redirect_uri: authorization.redirect_uri.clone(),
                    challenge: authorization.challenge,
                    scope: authorization.scope.clone(),
                    user,
                    auth_time: now,
                    gate_checked_at,
                    dpop_key: authorization.dpop_key.clone(),
                    request: request.clone(),
                },
            )
            .await?;
            let mut response = vec![("code", code.expose())];
            response.extend(authorization.state.as_deref().map(|state| ("state", state)));
            response.push(("iss", server.settings().public_url.as_str()));
            let uri = redirect_uri::with_response(&authorization.redirect_uri, response);
            Ok(FinishedLogin::ToClient { uri, outcome: SignInOutcome::Ok })
        }
        LoginFor::Account => {
            let session = session::create(server, user, login, signed_in_at).await;
            Ok(FinishedLogin::ToAccount { session: session.map_err(CompletionError::Store)? })
        }
    }
}
