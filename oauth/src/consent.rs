//! The person decides. Asked every time, before anybody goes to GitHub, and bound to the browser in
//! which the sign-in began.
//!
//! Looking is never destructive: reloads, a second tab and the back button show the same form, with
//! the same value in it, until a valid decision is made. Whoever lacks the cookie or the value of the
//! form changes nothing, so a stranger cannot end what somebody else began.

use subtle::ConstantTimeEq as _;

use super::{
    audit::{self, Event, RequestInfo},
    authorize::{Asked, error_uri},
    client::{ClientId, ClientKind},
    display_name::DisplayName,
    pending::{self, StoreUnavailable},
    redirect_uri::{self, Destination},
    scope,
    sign_in::{self, Purpose, SignInWith, Start},
};
use crate::server::Server;

/// What the page shows.
#[derive(Clone, Debug)]
pub struct ConsentView {
    /// Names the sign-in.
    pub transaction: String,
    /// What the form has to bring back.
    pub csrf: String,
    /// The client's id.
    pub client: ClientId,
    /// The name that the client gives itself.
    pub client_name: DisplayName,
    /// Who vouches for it.
    pub client_kind: ClientKind,
    /// Who will receive the code.
    pub destination: Destination,
    /// What the client will be allowed to do.
    pub permissions: Vec<Permission>,
    /// What the person may allow it besides.
    pub optional: Vec<Permission>,
    /// The resource that the tokens will be for.
    pub resource: String,
    /// How the person will sign in next.
    pub sign_in_with: SignInWith,
}

/// One line of what a client will be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The scope.
    pub scope: &'static str,
    /// What it allows, in words.
    pub words: &'static str,
    /// Whether it lets the client change anything.
    pub writes: bool,
}

/// What the person says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and these scopes besides, as far as they were offered.
    Approve(scope::Scopes),
    /// No.
    Deny,
}

/// Where the person goes next.
#[derive(Debug)]
pub enum Next {
    /// To GitHub.
    ToGitHub {
        /// The whole address.
        url: String,
        /// Names the hop; part of the address, and of the cookie's name.
        state: String,
        /// Binds it to the browser, in a cookie.
        nonce: String,
    },
    /// To the page that asks for a name, in development.
    ToDevelopmentSignIn {
        /// Names the hop.
        state: String,
        /// Binds it to the browser, in a cookie.
        nonce: String,
    },
    /// Back to the client.
    ToClient {
        /// The redirect URI with the answer in its query.
        uri: String,
    },
}

/// Why there is no consent page, or no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// The sign-in does not exist, has expired, or was decided already.
    #[error("the sign-in has expired or was finished already")]
    NotFound,
    /// It began in another browser.
    #[error("the sign-in began in another browser")]
    OtherBrowser,
    /// The form is not the one of this sign-in.
    #[error("the form does not belong to this sign-in")]
    Forged,
    /// Nothing can be concluded at the moment; the same request may succeed later.
    #[error("the sign-in cannot be looked up at the moment")]
    Unavailable,
}

impl From<StoreUnavailable> for ConsentError {
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!("A consent cannot be looked up: {error}");
        Self::Unavailable
    }
}

/// What to show. `nonce` is what the browser brought in the cookie of this sign-in.
pub async fn view(
    server: &Server,
    transaction: &str,
    nonce: Option<&str>,
) -> Result<ConsentView, ConsentError> {
    let asked = look(server, transaction, nonce).await?;
    let request = asked.request;
    Ok(ConsentView {
        transaction: transaction.to_owned(),
        csrf: asked.csrf,
        client: request.client,
        client_name: request.client_name,
        client_kind: request.client_kind,
        destination: redirect_uri::destination(&request.redirect_uri),
        permissions: permissions(&request.scope),
        optional: permissions(&asked.optional),
        resource: server.settings().public_url.mcp(),
        sign_in_with: sign_in::with(server),
    })
}

fn permission(scope: &'static str) -> Option<Permission> {
    Some(Permission { scope, words: scope::describe(scope)?, writes: scope == scope::NOTES_WRITE })
}

/// Takes a decision. Nothing but these values is read from the form: what is decided about is what
/// was asked, and of the added scopes only those count that were offered.
pub async fn decide(
    server: &Server,
    transaction: &str,
    csrf: &str,
    nonce: Option<&str>,
    decision: Decision,
    request: &RequestInfo,
) -> Result<Next, ConsentError> {
    let asked = look(server, transaction, nonce).await?;
    request.parties.set_client(asked.request.client.as_str());
    if !bool::from(asked.csrf.as_bytes().ct_eq(csrf.as_bytes())) {
        return Err(ConsentError::Forged);
    }
    // Only now, so that nothing above this line can end the sign-in; and in one step, so that of two
    // clicks one counts.
    let Asked { request: mut asked, optional, .. } =
        pending::take(server.pending(), transaction).await?.ok_or(ConsentError::NotFound)?;
    if let Decision::Approve(added) = &decision {
        asked.scope = asked.scope.union(&added.intersect(&optional));
    }
    let told = |kind| {
        let host = match redirect_uri::destination(&asked.redirect_uri) {
            Destination::Site { host } => host,
            Destination::ThisMachine => "this machine".to_owned(),
            Destination::App { scheme } => format!("{scheme}:"),
        };
        Event::new(kind, request).client(&asked.client).detail(format!("{} to {host}", asked.scope))
    };
    match decision {
        Decision::Deny => {
            sign_in::note(server, told(audit::Kind::ConsentDenied)).await;
            Ok(Next::ToClient {
                uri: error_uri(
                    server,
                    &asked.redirect_uri,
                    asked.state.as_deref(),
                    "access_denied",
                    "the person said no",
                ),
            })
        }
        Decision::Approve(_) => {
            sign_in::note(server, told(audit::Kind::ConsentGiven)).await;
            let start = sign_in::start(server, Purpose::Client(asked)).await?;
            Ok(match start {
                Start::GitHub { url, state, nonce } => Next::ToGitHub { url, state, nonce },
                Start::Development { state, nonce } => Next::ToDevelopmentSignIn { state, nonce },
                Start::Nothing => return Err(ConsentError::NotFound),
            })
        }
    }
}

async fn look(
    server: &Server,
    transaction: &str,
    nonce: Option<&str>,
) -> Result<Asked, ConsentError> {
    let asked: Asked =
        pending::peek(server.pending(), transaction).await?.ok_or(ConsentError::NotFound)?;
    if asked.nonce.is_of(nonce) { Ok(asked) } else { Err(ConsentError::OtherBrowser) }
}

/// What a set of scopes means on a page.
pub fn permissions(scope: &scope::Scopes) -> Vec<Permission> {
    scope.iter().filter_map(permission).collect()
}
