//! The authorization endpoint: validates an authorization request before the user is asked
//! anything.
//!
//! The order of the checks matters. Until the client and its redirect URI are known, the browser
//! must not be redirected, so these errors are shown as a page. After that, errors are sent to the
//! client by a redirect, with one exception: if the client registered dynamically (unverified) and
//! its redirect URI is a web site, the user sees a page with a link instead, so that the server is
//! no open redirector (OAuth 2.1).

mod parameters;

use std::time::Duration;

use platform::fetch::Unreachable;
use serde::{Deserialize, Serialize};

use self::parameters::{Parameters, Repeated};
use crate::{
    audit::RequestInfo,
    client::{self, Client, ClientError, ClientId, ClientKind},
    display_name::DisplayName,
    dpop::Thumbprint,
    pending::{self, PENDING_TTL, Record, SecretHash, StoreUnavailable, new_secret},
    pkce::{Challenge, PkceError},
    redirect_uri::{self, Destination},
    resource,
    scope::{ScopeList, Scopes},
    server::Server,
};

/// The maximum size of a query: the longest `state` and redirect URI, percent-encoded throughout,
/// and the short parameters beside them.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// The maximum length of `state`, in characters. Some clients keep their whole state in it.
pub const MAX_STATE_CHARS: usize = 2_048;

/// A pending authorization that was created by [`begin`].
#[derive(Debug)]
pub struct Begun {
    /// The id of the pending authorization, in the URL of the consent page.
    pub transaction: String,
    /// The value of the cookie that binds the pending authorization to the browser.
    pub browser_nonce: String,
}

/// Why an authorization request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizeError {
    /// Show an error page; do not redirect.
    Page(PageError),
    /// Redirect to the client, with the error.
    Redirect {
        /// The redirect URI with the authorization response in its query.
        uri: String,
    },
    /// A dependency failed. The same request may succeed later.
    Unavailable,
}

/// The error page, for errors that must not be sent to the client by a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageError {
    /// The request is malformed; contains the description.
    Request(&'static str),
    /// The client does not exist, was deleted, or is disabled.
    UnknownClient,
    /// The client's metadata document is invalid; contains the reason, as a sentence.
    ClientRefused(String),
    /// The host of the client's metadata document could not be reached.
    ClientUnreachable {
        /// The host name.
        host: String,
        /// The reason.
        why: Unreachable,
    },
    /// The client id is the URL of a metadata document, and this server does not fetch them.
    DocumentsOff,
    /// The rate limit for fetching metadata documents is exhausted; contains the time until a retry
    /// can succeed.
    TooManyDocuments(Duration),
    /// The redirect URI is not registered for the client.
    RedirectUri,
    /// The server offers no way to sign in.
    NoSignIn,
    /// The client's request is invalid. The user decides whether the error is sent to the client.
    Client {
        /// The self-declared name of the client.
        name: DisplayName,
        /// The OAuth error code.
        error: &'static str,
        /// The error description, for the developer of the client.
        description: &'static str,
        /// The site that would receive the response.
        destination: Destination,
        /// The redirect URI with the authorization response in its query, for a link.
        back: String,
    },
}

impl From<StoreUnavailable> for AuthorizeError {
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!(%error, "Could not store a pending authorization");
        Self::Unavailable
    }
}

/// A validated authorization request, stored while the user decides and signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) client: ClientId,
    pub(super) client_name: DisplayName,
    pub(super) client_kind: ClientKind,
    /// The redirect URI, exactly as the client sent or registered it.
    pub(super) redirect_uri: String,
    pub(super) challenge: Challenge,
    pub(super) scope: Scopes,
    pub(super) state: Option<String>,
    /// The key that the code is bound to (RFC 9449, section 10). Absent in records that older
    /// instances write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dpop_key: Option<Thumbprint>,
}

/// A pending authorization that waits for the user's consent.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingAuthorization {
    pub(super) request: Request,
    /// The scopes that the user may add to those of the request. Empty if the client named a scope,
    /// and in records that older instances write.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub(super) optional: Scopes,
    /// The CSRF token of the consent form. It is the same every time the page is shown, so that a
    /// reload or a second tab does not invalidate a form that is open.
    pub(super) csrf: String,
    pub(super) nonce: SecretHash,
}

impl Record for PendingAuthorization {
    const KIND: &'static str = "pend";
}

/// Validates an authorization request and stores it as a pending authorization. `pairs` are the
/// decoded query parameters, in their order.
pub async fn begin(
    server: &Server,
    pairs: &[(String, String)],
    request: &RequestInfo,
) -> Result<Begun, AuthorizeError> {
    let parameters = Parameters(pairs);
    let (client, redirect_uri) = identify(server, &parameters, request).await?;
    // From here on, errors can be sent to the client.
    let (asked, optional) =
        check(server, &client, &redirect_uri, &parameters).map_err(|error| {
            tracing::info!(
                client = %client.id, error = error.error, request_id = request.id,
                "Refused an authorization request: {}", error.description
            );
            error.report(server, &client, &redirect_uri, &parameters)
        })?;
    if server.providers().is_empty() {
        return Err(AuthorizeError::Page(PageError::NoSignIn));
    }
    let (transaction, browser_nonce) = (new_secret(), new_secret());
    let asked = PendingAuthorization {
        request: asked,
        optional,
        csrf: new_secret(),
        nonce: SecretHash::of(&browser_nonce),
    };
    pending::put(server.pending(), &transaction, &asked, PENDING_TTL).await?;
    Ok(Begun { transaction, browser_nonce })
}

/// Builds the redirect URI with an error response, with `state` and exactly one `iss`.
pub(super) fn error_uri(
    server: &Server,
    redirect_uri: &str,
    state: Option<&str>,
    error: &str,
    description: &str,
) -> String {
    let mut response = vec![("error", error)];
    if !description.is_empty() {
        response.push(("error_description", description));
    }
    response.extend(state.map(|state| ("state", state)));
    response.push(("iss", server.settings().public_url.as_str()));
    redirect_uri::with_response(redirect_uri, response)
}

/// Determines the client and its redirect URI. Errors in this part must not be sent by a redirect.
async fn identify(
    server: &Server,
    parameters: &Parameters<'_>,
    request: &RequestInfo,
) -> Result<(Client, String), AuthorizeError> {
    let page = |error| AuthorizeError::Page(error);
    if parameters.bytes() > MAX_QUERY_BYTES {
        return Err(page(PageError::Request("It is too long.")));
    }
    let repeated = |_: Repeated| {
        page(PageError::Request("It contains client_id or redirect_uri more than once."))
    };
    let client_id = parameters
        .one("client_id")
        .map_err(repeated)?
        .ok_or(page(PageError::Request("It contains no client_id.")))?;
    client::add_to_log_context(server, client_id, &request.log_context);
    let redirect_uri = parameters.one("redirect_uri").map_err(repeated)?;
    let client = client::find(server, client_id).await.map_err(|error| match error {
        ClientError::Unknown => page(PageError::UnknownClient),
        ClientError::Refused(why) => page(PageError::ClientRefused(why)),
        ClientError::Unreachable { host, why } => page(PageError::ClientUnreachable { host, why }),
        ClientError::DocumentsOff => page(PageError::DocumentsOff),
        ClientError::TooMany(wait) => page(PageError::TooManyDocuments(wait)),
        ClientError::Unavailable => AuthorizeError::Unavailable,
    })?;
    let redirect_uri = choose_redirect_uri(&client, redirect_uri).map_err(page)?;
    Ok((client, redirect_uri))
}

/// Determines the redirect URI of a request: the one that it contains, or else the client's only
/// registered one (RFC 6749, section 3.1.2.3).
fn choose_redirect_uri(client: &Client, redirect_uri: Option<&str>) -> Result<String, PageError> {
    match (redirect_uri, client.redirect_uris.as_slice()) {
        (Some(uri), registered) if registered.iter().any(|it| it.matches(uri)) => {
            Ok(uri.to_owned())
        }
        (Some(_), _) => {
            tracing::info!(client = %client.id, "Refused an unregistered redirect URI");
            Err(PageError::RedirectUri)
        }
        (None, [only]) => Ok(only.as_str().to_owned()),
        (None, _) => Err(PageError::Request(
            "It contains no redirect_uri, and the app has registered several.",
        )),
    }
}

/// Validates the remaining parameters, in the order of the specification. Returns the request, and
/// the scopes that the user may add to it.
fn check(
    server: &Server,
    client: &Client,
    redirect_uri: &str,
    parameters: &Parameters<'_>,
) -> Result<(Request, Scopes), RequestError> {
    if parameters.has_repeated() {
        return Err(RequestError::request("a parameter occurs more than once"));
    }
    let state = parameters.first("state");
    if state.is_some_and(|state| !is_returnable(state) || state.chars().count() > MAX_STATE_CHARS) {
        return Err(RequestError::request(
            "state must be up to 2,048 characters without control characters",
        ));
    }
    match parameters.first("response_type") {
        None => return Err(RequestError::request("response_type is required")),
        Some("code") => {}
        Some(_) => {
            return Err(RequestError::new(
                "unsupported_response_type",
                "response_type must be code",
            ));
        }
    }
    if parameters.first("response_mode").is_some_and(|it| it != "query") {
        return Err(RequestError::request("response_mode must be query"));
    }
    for (parameter, error) in
        [("request", "request_not_supported"), ("request_uri", "request_uri_not_supported")]
    {
        if parameters.first(parameter).is_some() {
            return Err(RequestError::new(error, "request objects are not supported"));
        }
    }
    let challenge = Challenge::parse(
        parameters.first("code_challenge"),
        parameters.first("code_challenge_method"),
    )
    .map_err(|error| {
        RequestError::request(match error {
            PkceError::ChallengeMissing => "code_challenge is required",
            PkceError::Method => "code_challenge_method must be S256",
            _ => "code_challenge must be 43 characters of base64url without padding",
        })
    })?;
    let (scope, optional) = requested_scope(
        server.settings().scopes,
        client,
        parameters.first("scope").unwrap_or_default(),
    )?;
    let resources = parameters.given("resource");
    resource::check(&server.settings().public_url, resources).map_err(|_another| {
        RequestError::new("invalid_target", "resource must be the MCP endpoint of this server")
    })?;
    if parameters.first("prompt").is_some_and(|prompt| prompt.split(' ').any(|it| it == "none")) {
        return Err(RequestError::new(
            "interaction_required",
            "prompt=none is not supported, because every sign-in requires the user",
        ));
    }
    // Like every unknown parameter, it is ignored while DPoP is off.
    let dpop_key = parameters.first("dpop_jkt").filter(|_| server.dpop().mode().is_on());
    let dpop_key = dpop_key.map(Thumbprint::parse).transpose().map_err(|_malformed| {
        RequestError::request("dpop_jkt must be 43 characters of base64url without padding")
    })?;
    let request = Request {
        client: client.id.clone(),
        client_name: client.name.clone(),
        client_kind: client.kind.clone(),
        redirect_uri: redirect_uri.to_owned(),
        challenge,
        scope,
        state: state.map(str::to_owned),
        dpop_key,
    };
    Ok((request, optional))
}

/// Determines the scope of a request, and the scopes that the user may add to it. A client gets the
/// known scopes that it names. A client that names no known scope gets read access, and the user is
/// offered the rest, because many clients cannot ask again later.
///
/// The operator limits the scopes of preregistered clients. The scope of other clients was chosen
/// by the client itself, so it is only its default: otherwise a client could never get a scope that
/// was added to the server after its registration.
fn requested_scope(
    scopes: ScopeList,
    client: &Client,
    text: &str,
) -> Result<(Scopes, Scopes), RequestError> {
    let invalid = |description| RequestError::new("invalid_scope", description);
    let named = scopes
        .parse(text)
        .map_err(|_malformed| invalid("scope must be names separated by spaces"))?;
    let registered = client.scope.as_ref().map(|scope| scopes.keep(scope));
    let registered = registered.filter(|scope| !scope.is_empty());
    if named.is_empty() {
        let offered = registered.unwrap_or_else(|| scopes.defaults());
        let read_only = scopes.default_request().intersect(&offered);
        let scope = if read_only.is_empty() { offered.clone() } else { read_only };
        let optional = offered.difference(&scope);
        return Ok((scope, optional));
    }
    let scope = match (&client.kind, registered) {
        // Challenges name all default scopes, so the client may ask for more than it may have.
        (ClientKind::Preregistered, Some(allowed)) => named.intersect(&allowed),
        _ => named,
    };
    if scope.is_empty() {
        return Err(invalid("scope contains no scope that the client is registered for"));
    }
    Ok((scope, Scopes::default()))
}

/// An error that is sent to the client.
struct RequestError {
    error: &'static str,
    description: &'static str,
}

impl RequestError {
    fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description }
    }

    fn request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    /// Chooses how the error is reported: by a redirect, or on a page with a link.
    fn report(
        &self,
        server: &Server,
        client: &Client,
        redirect_uri: &str,
        parameters: &Parameters<'_>,
    ) -> AuthorizeError {
        let state = parameters.one("state").ok().flatten();
        let state = state.filter(|it| is_returnable(it));
        let uri = error_uri(server, redirect_uri, state, self.error, self.description);
        let destination = redirect_uri::destination(redirect_uri);
        let is_site = matches!(destination, Destination::Site { .. });
        if client.kind == ClientKind::Dynamic && is_site {
            return AuthorizeError::Page(PageError::Client {
                name: client.name.clone(),
                error: self.error,
                description: self.description,
                destination,
                back: uri,
            });
        }
        AuthorizeError::Redirect { uri }
    }
}

/// Returns whether an error response may contain this `state`: any length that the query allows, so
/// that the client recognizes its request, but no control characters, which could split a header on
/// the receiving side.
fn is_returnable(state: &str) -> bool {
    !state.chars().any(char::is_control)
}
