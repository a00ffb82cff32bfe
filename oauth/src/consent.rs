//! The consent page. The user is asked at every authorization, before the redirect to the identity
//! provider, and the decision is bound to the browser in which the authorization was started.
//!
//! Viewing the page changes nothing: reloads, a second tab and the back button show the same form
//! with the same CSRF token, until a valid decision is made. Requests without the cookie or the
//! CSRF token change nothing, so an attacker cannot end another user's pending authorization.

use subtle::ConstantTimeEq as _;

use super::{
    audit::{self, Event, RequestInfo},
    authorize::{self, PendingAuthorization, error_uri},
    client::{ClientId, ClientKind},
    display_name::DisplayName,
    login::{
        IdentityProvider, StartedLogin,
        pending_login::LoginFor,
        start::{PreparedLogin, StartError, prepare},
    },
    pending::{self, StoreUnavailable},
    record,
    redirect_uri::{self, Destination},
    scope,
};
use crate::server::Server;

/// The content of the consent page.
#[derive(Clone, Debug)]
pub struct ConsentView {
    /// The id of the pending authorization.
    pub transaction: String,
    /// The CSRF token that the form must contain.
    pub csrf: String,
    /// The client's id.
    pub client: ClientId,
    /// The self-declared name of the client.
    pub client_name: DisplayName,
    /// How the client is known, and so how far its identity is verified.
    pub client_kind: ClientKind,
    /// The recipient of the code.
    pub destination: Destination,
    /// The permissions that the client will get.
    pub permissions: Vec<Permission>,
    /// The permissions that the user may add.
    pub optional: Vec<Permission>,
    /// The resource that the tokens will be for.
    pub resource: String,
    /// How the user will sign in next, in a sentence. `None`: the server has no identity provider.
    pub sign_in: Option<String>,
    /// The identity providers that the user chooses from. Empty unless there are several.
    pub providers: Vec<ProviderChoice>,
}

/// An identity provider that the user can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderChoice {
    /// The id, for [`Decision::Approve`].
    pub id: String,
    /// The name.
    pub label: String,
}

/// A permission, as the consent page shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The scope.
    pub scope: &'static str,
    /// The description of what it allows.
    pub words: &'static str,
    /// Whether it allows changes.
    pub writes: bool,
}

/// The user's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Approve.
    Approve {
        /// The scopes to add, as far as they were offered.
        added: scope::Scopes,
        /// The id of the identity provider to sign in with. `None`: the first one.
        provider: Option<String>,
    },
    /// Deny.
    Deny,
}

/// Where the user is sent after the decision.
#[derive(Debug)]
pub enum Next {
    /// Redirect to the identity provider.
    ToSignIn(StartedLogin),
    /// Redirect to the client.
    ToClient {
        /// The redirect URI with the authorization response in its query.
        uri: String,
    },
}

/// Why a consent page cannot be shown, or a decision cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// The pending authorization does not exist, has expired, or was decided already.
    #[error("the sign-in has expired or was finished already")]
    NotFound,
    /// The authorization was started in another browser.
    #[error("the sign-in began in another browser")]
    OtherBrowser,
    /// The CSRF token is wrong.
    #[error("the form does not belong to this sign-in")]
    Forged,
    /// The identity provider is unavailable, or refuses this server. Contains its label. The
    /// authorization is still pending.
    #[error("{0} is not available")]
    Provider(String),
    /// A dependency failed. The same request may succeed later.
    #[error("the sign-in cannot be looked up at the moment")]
    Unavailable,
}

impl From<StartError> for ConsentError {
    fn from(error: StartError) -> Self {
        match error {
            // The page that the form is from shows no such provider.
            StartError::NoProvider => Self::Forged,
            StartError::Provider(label) => Self::Provider(label),
            StartError::Unavailable => Self::Unavailable,
        }
    }
}

impl From<StoreUnavailable> for ConsentError {
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!(%error, "Could not look up a pending authorization");
        Self::Unavailable
    }
}

/// Returns the content of the consent page. `nonce` is the value of the cookie of this
/// authorization.
pub async fn view(
    server: &Server,
    transaction: &str,
    nonce: Option<&str>,
) -> Result<ConsentView, ConsentError> {
    let asked = peek(server, transaction, nonce).await?;
    let request = asked.request;
    Ok(ConsentView {
        transaction: transaction.to_owned(),
        csrf: asked.csrf,
        client: request.client,
        client_name: request.client_name,
        client_kind: request.client_kind,
        destination: redirect_uri::destination(&request.redirect_uri),
        permissions: permissions(server, &request.scope),
        optional: permissions(server, &asked.optional),
        resource: server.settings().public_url.mcp(),
        sign_in: sign_in_sentence(server),
        providers: choices(server),
    })
}

fn sign_in_sentence(server: &Server) -> Option<String> {
    let things = server.settings().things;
    match server.providers() {
        [] => None,
        [provider] => Some(provider.texts(things).consent),
        _ => Some(format!(
            "The next page asks you to sign in, so that the app gets access to your {things} only."
        )),
    }
}

/// Returns the identity providers that users choose from: all of them, if there are several.
fn choices(server: &Server) -> Vec<ProviderChoice> {
    let choice = |provider: &dyn IdentityProvider| ProviderChoice {
        id: provider.id().to_owned(),
        label: provider.label().to_owned(),
    };
    match server.providers() {
        [] | [_] => Vec::new(),
        several => several.iter().map(|provider| choice(&**provider)).collect(),
    }
}

/// Takes the user's decision. Only these values are read from the form: the decision is about the
/// stored request, and added scopes count only if they were offered.
pub async fn decide(
    server: &Server,
    transaction: &str,
    csrf: &str,
    nonce: Option<&str>,
    decision: Decision,
    request: &RequestInfo,
) -> Result<Next, ConsentError> {
    let asked = peek(server, transaction, nonce).await?;
    request.log_context.set_client(asked.request.client.as_str());
    if !bool::from(asked.csrf.as_bytes().ct_eq(csrf.as_bytes())) {
        return Err(ConsentError::Forged);
    }
    let login = match &decision {
        Decision::Approve { provider, .. } => {
            Some(prepare_login(server, &asked.request, provider.as_deref(), request).await?)
        }
        Decision::Deny => None,
    };
    // Taken only after all checks, so that a failed check does not end the authorization; and
    // atomically, so that only one of two clicks counts.
    let PendingAuthorization { request: mut asked, optional, .. } =
        pending::take(server.pending(), transaction).await?.ok_or(ConsentError::NotFound)?;
    if let Decision::Approve { added, .. } = &decision {
        asked.scope = asked.scope.union(&added.intersect(&optional));
    }
    let event = |kind| {
        let host = match redirect_uri::destination(&asked.redirect_uri) {
            Destination::Site { host } => host,
            Destination::ThisMachine => "this machine".to_owned(),
            Destination::App { scheme } => format!("{scheme}:"),
        };
        Event::new(kind, request).client(&asked.client).detail(format!("{} to {host}", asked.scope))
    };
    match login {
        None => {
            record::note(server, event(audit::Kind::ConsentDenied)).await;
            Ok(Next::ToClient {
                uri: error_uri(
                    server,
                    &asked.redirect_uri,
                    asked.state.as_deref(),
                    "access_denied",
                    "the user denied the request",
                ),
            })
        }
        Some(login) => {
            record::note(server, event(audit::Kind::ConsentGiven)).await;
            Ok(Next::ToSignIn(login.store(server, LoginFor::Client(asked)).await?))
        }
    }
}

/// Prepares the login at the chosen identity provider.
async fn prepare_login<'a>(
    server: &'a Server,
    asked: &authorize::Request,
    provider: Option<&str>,
    request: &RequestInfo,
) -> Result<PreparedLogin<'a>, ConsentError> {
    let Some(provider) = server.provider_or_first(provider) else {
        return Err(match server.providers() {
            [] => ConsentError::NotFound,
            _ => ConsentError::Forged,
        });
    };
    let purpose = LoginFor::Client(asked.clone());
    Ok(prepare(server, provider, &purpose, request).await?)
}

async fn peek(
    server: &Server,
    transaction: &str,
    nonce: Option<&str>,
) -> Result<PendingAuthorization, ConsentError> {
    let asked: PendingAuthorization =
        pending::peek(server.pending(), transaction).await?.ok_or(ConsentError::NotFound)?;
    if asked.nonce.is_of(nonce) { Ok(asked) } else { Err(ConsentError::OtherBrowser) }
}

/// Returns the permissions of a set of scopes, as pages show them.
pub fn permissions(server: &Server, scopes: &scope::Scopes) -> Vec<Permission> {
    let permission = |scope: &scope::Scope| Permission {
        scope: scope.name,
        words: scope.words,
        writes: scope.writes,
    };
    server.settings().scopes.of(scopes).map(permission).collect()
}
