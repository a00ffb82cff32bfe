//! Signing in: the redirect to the identity provider, the callback, and the browser session of the
//! account page.
//!
//! Users sign in with GitHub. On a local machine without a GitHub app, a page that asks for a name
//! replaces it; it exists only while the server is unreachable from other machines, and no setting
//! can change that.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::users as users_table;
use mcp::UserId;
use platform::{
    db::{self, Failure},
    secret::Secret,
};
use sea_orm::EntityTrait as _;
use serde::{Deserialize, Serialize};

pub use crate::sign_in_outcome::SignInOutcome;
pub use crate::sign_in_with::{SignInWith, with};
use crate::{
    access::{self, Authority},
    audit::{self, Event, RequestInfo},
    authorize::{Request, error_uri},
    code::{self, NewCode},
    display_name::DisplayName,
    gate,
    grant::Reason,
    kept_token,
    pending::{self, PENDING_TTL, Record, SecretHash, StoreUnavailable, new_secret},
    pkce::Verifier,
    record, redirect_uri, revoke,
};
use crate::{
    server::Server,
    users::{self, SignIn},
};

/// The lifetime of a session of the account page. Use does not extend it.
pub const SESSION_TTL: Duration = Duration::from_hours(12);

/// The OAuth error code and description for a sign-in that failed and would fail again.
const SIGN_IN_FAILED: (&str, &str) = ("server_error", "the sign-in failed");

/// The maximum length of a name on the development sign-in page, in bytes.
const MAX_NAME: usize = 39;

/// The redirect that starts an upstream login.
#[derive(Debug)]
pub enum Start {
    /// Redirect to GitHub.
    GitHub {
        /// The complete URL.
        url: String,
        /// The id of the pending login; part of the URL, and of the cookie's name.
        state: String,
        /// The value of the cookie that binds the pending login to the browser.
        nonce: String,
    },
    /// Redirect to the development page that asks for a name.
    Development {
        /// The id of the pending login.
        state: String,
        /// The value of the cookie that binds the pending login to the browser.
        nonce: String,
    },
    /// The server offers no way to sign in.
    Nothing,
}

/// Where the user is sent after the login.
#[derive(Debug)]
pub enum Arrived {
    /// Redirect to the client, with a code or an error.
    ToClient {
        /// The redirect URI with the authorization response in its query.
        uri: String,
        /// The outcome that the response reports.
        outcome: SignInOutcome,
    },
    /// Redirect to the account page.
    ToAccount {
        /// The value of the session cookie, valid for [`SESSION_TTL`].
        session: String,
    },
}

/// Why a login could not be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackError {
    /// The request does not have the form of a callback.
    Malformed,
    /// The pending login does not exist, has expired, or was finished already.
    NotFound,
    /// The login was started in another browser.
    OtherBrowser,
    /// The name is invalid; the user may enter another one.
    Name,
    /// The access policy refuses the user.
    Refused(Refusal),
    /// The user canceled the login, and no client waits for the response.
    Denied,
    /// The callback's parameters were rejected, and no client waits for the response. Anyone can
    /// send such a request, so it does not indicate a fault of this server.
    Rejected,
    /// GitHub's response cannot be used, and no client waits for a response.
    Failed,
    /// A dependency failed. A new attempt may succeed later.
    Unavailable,
}

/// The message for a user whom the access policy refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The login of the user.
    pub login: String,
    /// Why the user is refused, and whom to ask, in sentences.
    pub sentence: String,
    /// The client's redirect URI with the error `access_denied`, or `None` if no client waits.
    pub back: Option<String>,
}

impl From<StoreUnavailable> for CallbackError {
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!("Sign-in failed: {error}");
        Self::Unavailable
    }
}

/// A signed-in session of the account page.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user.
    pub user: UserId,
    /// The user's login name.
    pub login: String,
    /// The CSRF token that every form of the account page must contain.
    pub csrf: String,
    /// When the user signed in.
    pub signed_in_at: DateTime<Utc>,
}

/// The content of the development page that asks for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevelopmentView {
    /// The name of the client that waits. `None`: the login is for the account page.
    pub client_name: Option<DisplayName>,
}

/// What a login is for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// An authorization request of a client.
    Client(Request),
    /// A session of the account page.
    Account,
}

/// A pending login, stored while the user is at the identity provider.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hop {
    pub(crate) purpose: Purpose,
    pub(crate) nonce: SecretHash,
    /// The PKCE verifier of this server's request to the identity provider.
    pub(crate) verifier: String,
}

/// A pending login on the development page. It has its own record kind, so that a callback of
/// GitHub cannot finish it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct DevelopmentHop(Hop);

impl Record for DevelopmentHop {
    const KIND: &'static str = "dev";
}

/// The authenticated user, whom the access policy admits.
pub(crate) struct Person {
    pub(crate) sign_in: SignIn,
    pub(crate) gate_checked_at: Option<DateTime<Utc>>,
    pub(crate) github_token: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
struct StoredSession {
    user: UserId,
    login: String,
    csrf: String,
    signed_in_at: DateTime<Utc>,
}

impl Record for StoredSession {
    const KIND: &'static str = "session";
}

/// Starts a login for the account page.
pub async fn begin_account(server: &Server) -> Result<Start, StoreUnavailable> {
    start(server, Purpose::Account).await
}

/// Starts the redirect to the identity provider.
pub(crate) async fn start(server: &Server, purpose: Purpose) -> Result<Start, StoreUnavailable> {
    let (state, nonce, verifier) = (new_secret(), new_secret(), Verifier::generate());
    let hop =
        Hop { purpose, nonce: SecretHash::of(&nonce), verifier: verifier.expose().to_owned() };
    match (with(server), server.github()) {
        (SignInWith::GitHub, Some(github)) => {
            pending::put(server.pending(), &state, &GitHubHop(hop), PENDING_TTL).await?;
            let settings = server.settings();
            let (public_url, has_org) = (&settings.public_url, settings.gate.org.is_some());
            let url = github.authorize_url(public_url, has_org, &state, &verifier);
            Ok(Start::GitHub { url, state, nonce })
        }
        (SignInWith::Development, _) => {
            pending::put(server.pending(), &state, &DevelopmentHop(hop), PENDING_TTL).await?;
            Ok(Start::Development { state, nonce })
        }
        _ => Ok(Start::Nothing),
    }
}

/// Returns the content of the development page that asks for a name.
pub async fn development_view(
    server: &Server,
    state: &str,
    nonce: Option<&str>,
) -> Result<DevelopmentView, CallbackError> {
    let hop = development_hop(server, state, nonce).await?;
    Ok(DevelopmentView {
        client_name: match hop.purpose {
            Purpose::Client(request) => Some(request.client_name),
            Purpose::Account => None,
        },
    })
}

/// Finishes a login with the name that the user entered on that page.
pub async fn development(
    server: &Server,
    state: &str,
    nonce: Option<&str>,
    name: &str,
    request: &RequestInfo,
) -> Result<Arrived, CallbackError> {
    development_hop(server, state, nonce).await?.purpose.introduce(request);
    let name = development_name(name).ok_or(CallbackError::Name)?;
    let DevelopmentHop(hop) =
        pending::take(server.pending(), state).await?.ok_or(CallbackError::NotFound)?;
    let person = Person {
        sign_in: SignIn {
            user: UserId::new(format!("dev:{name}")),
            login: name,
            display_name: None,
        },
        gate_checked_at: None,
        github_token: None,
    };
    request.parties.set_user(person.sign_in.user.as_str());
    let known = users::get(server.db(), &person.sign_in.user).await;
    if matches!(known, Ok(Some(known)) if known.blocked_at.is_some()) {
        SignInOutcome::Refused.count();
        return Err(CallbackError::Refused(Refusal {
            sentence: gate::Closed::Blocked.sentence(&server.settings().gate),
            login: person.sign_in.login,
            back: hop.purpose.refusal_uri(server),
        }));
    }
    arrive(server, hop.purpose, person, request).await
}

async fn development_hop(
    server: &Server,
    state: &str,
    nonce: Option<&str>,
) -> Result<Hop, CallbackError> {
    if with(server) != SignInWith::Development {
        return Err(CallbackError::NotFound);
    }
    let DevelopmentHop(hop) =
        pending::peek(server.pending(), state).await?.ok_or(CallbackError::NotFound)?;
    if hop.nonce.is_of(nonce) { Ok(hop) } else { Err(CallbackError::OtherBrowser) }
}

fn development_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let plain = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    plain.then_some(name)
}

/// Completes a login: stores the user and the GitHub token (if needed), then issues the code or the
/// session that the login is for.
pub(crate) async fn arrive(
    server: &Server,
    purpose: Purpose,
    person: Person,
    request: &RequestInfo,
) -> Result<Arrived, CallbackError> {
    match come_in(server, &purpose, person, request).await {
        Ok(arrived) => {
            SignInOutcome::Ok.count();
            Ok(arrived)
        }
        Err(Trouble::Failure(failure)) => {
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Sign-in failed: could not complete the login"
            );
            purpose.unavailable(server, SignInOutcome::Failed)
        }
        Err(Trouble::Store(error)) => {
            tracing::error!("Sign-in failed: {error}");
            purpose.unavailable(server, SignInOutcome::Failed)
        }
    }
}

/// Why a login of an admitted user could not be completed.
enum Trouble {
    Failure(Failure),
    Store(StoreUnavailable),
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

async fn come_in(
    server: &Server,
    purpose: &Purpose,
    person: Person,
    request: &RequestInfo,
) -> Result<Arrived, Trouble> {
    let Person { sign_in, gate_checked_at, github_token } = person;
    let now = server.clock().now();
    let user = sign_in.user.clone();
    let login = sign_in.login.clone();
    let event =
        purpose.event(audit::Kind::SignedIn, request).user(&user).detail(format!("as {login}"));

    let transaction = db::begin(server.db()).await?;
    users::upsert(&transaction, now, sign_in).await?;
    let signed_in_at = access::issue_at(&transaction, now, &user).await?;
    users::is_member_of(&transaction, &user, server.settings().gate.org.as_deref()).await?;
    if let Some(checked_at) = gate_checked_at {
        use sea_orm::{QueryFilter as _, sea_query::Expr};
        users_table::Entity::update_many()
            .col_expr(users_table::Column::GateCheckedAt, Expr::value(checked_at))
            .filter(users_table::COLUMN.sub.eq(user.as_str()))
            .exec(&transaction)
            .await?;
    }
    kept_token::keep(&transaction, server, &user, github_token.as_ref()).await?;
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();

    match purpose {
        Purpose::Client(asked) => {
            let code = code::issue(
                server,
                NewCode {
                    client: asked.client.clone(),
                    redirect_uri: asked.redirect_uri.clone(),
                    redirect_uri_was_sent: asked.redirect_uri_was_sent,
                    challenge: asked.challenge,
                    scope: asked.scope.clone(),
                    user,
                    auth_time: now,
                    gate_checked_at,
                    request: request.clone(),
                },
            )
            .await?;
            let mut answer = vec![("code", code.expose())];
            answer.extend(asked.state.as_deref().map(|it| ("state", it)));
            answer.push(("iss", server.settings().public_url.as_str()));
            let uri = redirect_uri::with_answer(&asked.redirect_uri, answer);
            Ok(Arrived::ToClient { uri, outcome: SignInOutcome::Ok })
        }
        Purpose::Account => {
            let session = new_secret();
            let stored = StoredSession { user, login, csrf: new_secret(), signed_in_at };
            pending::put(server.pending(), &session, &stored, SESSION_TTL)
                .await
                .map_err(Trouble::Store)?;
            Ok(Arrived::ToAccount { session })
        }
    }
}

/// Finds the session of the account page by the value of its cookie. `Ok(None)`: there is no such
/// session, the account was deleted, or its access was ended ([`access`]).
pub async fn session(server: &Server, cookie: &str) -> Result<Option<Session>, CallbackError> {
    let Some(stored) = pending::peek::<StoredSession>(server.pending(), cookie).await? else {
        return Ok(None);
    };
    let authority = Authority {
        user: stored.user.clone(),
        grant: None,
        key: None,
        issued_at: stored.signed_in_at,
    };
    let looked_up = async {
        let exists = users::get(server.db(), &stored.user).await?.is_some();
        Ok::<_, Failure>(exists && access::denied(server.db(), &authority).await?.is_none())
    };
    let may_act = looked_up.await.map_err(|failure| {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not look up a session of the account page"
        );
        CallbackError::Unavailable
    })?;
    Ok(may_act.then_some(Session {
        user: stored.user,
        login: stored.login,
        csrf: stored.csrf,
        signed_in_at: stored.signed_in_at,
    }))
}

/// Ends all access of a user whom the access policy now refuses. Does nothing unless the refusal is
/// definite ([`gate::Closed::is_definite`]).
pub(crate) async fn end_access(
    server: &Server,
    user: &UserId,
    why: gate::Closed,
    request: &RequestInfo,
) {
    if !why.is_definite() {
        return;
    }
    let ended = async {
        // A user without a row has no access to end.
        if users::get(server.db(), user).await?.is_some() {
            revoke::user(server, user, Reason::Gate(why), request).await?;
        }
        Ok::<_, Failure>(())
    };
    if let Err(failure) = ended.await {
        tracing::error!(
            user = user.as_str(), dependency = failure.dependency(), error = ?failure,
            "Could not end the access of {user}; it ends at the next refresh"
        );
    }
}

/// Ends a session of the account page.
pub async fn sign_out(server: &Server, cookie: &str) -> Result<(), StoreUnavailable> {
    pending::take::<StoredSession>(server.pending(), cookie).await.map(drop)
}

/// Writes an event to the audit log. The event has already happened, so a failure is only logged;
/// the event itself is logged in any case.
pub(crate) async fn note(server: &Server, event: Event) {
    if let Err(failure) = record::record(server, event.clone()).await {
        event.log();
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not write an event to the audit log; it is only in this log"
        );
    }
}

impl Purpose {
    /// Adds the client id to the request's log context.
    pub(crate) fn introduce(&self, request: &RequestInfo) {
        if let Self::Client(asked) = self {
            request.parties.set_client(asked.client.as_str());
        }
    }

    pub(crate) fn event(&self, kind: audit::Kind, request: &RequestInfo) -> Event {
        let event = Event::new(kind, request);
        match self {
            Self::Client(asked) => event.client(&asked.client),
            Self::Account => event,
        }
    }

    /// Answers a login that the user canceled.
    pub(crate) fn denied(&self, server: &Server) -> Result<Arrived, CallbackError> {
        SignInOutcome::Denied.count();
        let told = ("access_denied", "the person said no");
        self.tell(server, told, CallbackError::Denied, SignInOutcome::Denied)
    }

    /// Answers a callback whose parameters were rejected. `counted` is the outcome for the metrics,
    /// if the parameters are genuine. The response does not report it, because anyone can send such
    /// a request.
    pub(crate) fn rejected(
        &self,
        server: &Server,
        counted: SignInOutcome,
    ) -> Result<Arrived, CallbackError> {
        counted.count();
        self.tell(server, SIGN_IN_FAILED, CallbackError::Rejected, SignInOutcome::Rejected)
    }

    /// Answers a login that failed because GitHub refuses this server, or sent a response that
    /// cannot be used.
    pub(crate) fn failed(
        &self,
        server: &Server,
        outcome: SignInOutcome,
    ) -> Result<Arrived, CallbackError> {
        outcome.count();
        self.tell(server, SIGN_IN_FAILED, CallbackError::Failed, outcome)
    }

    /// Answers a login that failed because GitHub or a store of this server did not respond.
    pub(crate) fn unavailable(
        &self,
        server: &Server,
        outcome: SignInOutcome,
    ) -> Result<Arrived, CallbackError> {
        outcome.count();
        let told = ("temporarily_unavailable", "the sign-in is not possible at the moment");
        self.tell(server, told, CallbackError::Unavailable, outcome)
    }

    /// Builds the redirect URI with the error `access_denied`, or `None` if no client waits.
    pub(crate) fn refusal_uri(&self, server: &Server) -> Option<String> {
        match self {
            Self::Client(asked) => {
                Some(asked.error_uri(server, "access_denied", "the person may not use this server"))
            }
            Self::Account => None,
        }
    }

    fn tell(
        &self,
        server: &Server,
        (error, description): (&str, &str),
        otherwise: CallbackError,
        outcome: SignInOutcome,
    ) -> Result<Arrived, CallbackError> {
        match self {
            Self::Client(asked) => {
                let uri = asked.error_uri(server, error, description);
                Ok(Arrived::ToClient { uri, outcome })
            }
            Self::Account => Err(otherwise),
        }
    }
}

impl Request {
    fn error_uri(&self, server: &Server, error: &str, description: &str) -> String {
        error_uri(server, &self.redirect_uri, self.state.as_deref(), error, description)
    }
}

/// A pending login at GitHub.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct GitHubHop(pub(crate) Hop);

impl Record for GitHubHop {
    const KIND: &'static str = "gh";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_development_is_plain() {
        for (text, name) in [("ada", "ada"), (" Ada ", "ada"), ("a.b-c_9", "a.b-c_9")] {
            assert_eq!(development_name(text).as_deref(), Some(name));
        }
        let long = "a".repeat(40);
        for bad in ["", "  ", "a b", "github:1", "ä", "a\0", "<b>", &long] {
            assert_eq!(development_name(bad), None, "{bad}");
        }
    }
}
