//! The beginning of a sign-in: what a client asks for, checked before anybody is bothered with it.
//!
//! The order of the checks matters. Until the client and its redirect URI are known, nothing may be
//! sent anywhere, so those problems are a page. From then on the client is told, by a redirect, with
//! one exception: a client that nobody vouches for and that asks for an answer at some web site could
//! use us to lend that site our name, so the person sees a page with a link instead (OAuth 2.1 on
//! open redirectors).

use std::time::Duration;

use platform::fetch::Unreachable;
use serde::{Deserialize, Serialize};

use super::{
    audit::RequestInfo,
    client::{self, Client, ClientError, ClientId, ClientKind},
    display_name::DisplayName,
    pending::{self, PENDING_TTL, Record, SecretHash, StoreUnavailable, new_secret},
    pkce::Challenge,
    redirect_uri::{self, Destination},
    resource,
    scope::Scopes,
    sign_in_with::{self, SignInWith},
};
use crate::server::Server;

/// The longest query that is read: the longest `state` and redirect URI, percent-encoded throughout,
/// and the short parameters beside them.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// The longest `state` that is accepted, in characters. Some clients keep all that they have to
/// remember in it.
pub const MAX_STATE_CHARS: usize = 2_048;

/// A sign-in has begun.
#[derive(Debug)]
pub struct Begun {
    /// Names the sign-in in the address of the consent page.
    pub transaction: String,
    /// Binds it to the browser, in a cookie.
    pub browser_nonce: String,
}

/// Why no sign-in begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizeError {
    /// The person is told, and nothing is sent anywhere.
    Page(PageError),
    /// The client is told: this is the whole address to go to.
    Redirect {
        /// The redirect URI with the answer in its query.
        uri: String,
    },
    /// Nothing can be concluded at the moment; the same request may succeed later.
    Unavailable,
}

/// What a person is told when nothing may be sent to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageError {
    /// The request is broken; says how.
    Request(&'static str),
    /// There is no such client, or no longer.
    UnknownClient,
    /// The client's metadata document cannot be used; says why in a sentence.
    ClientRefused(String),
    /// This server could not reach the site of the client's metadata document.
    ClientUnreachable {
        /// The host of the site.
        host: String,
        /// What failed.
        why: Unreachable,
    },
    /// The client names a metadata document, and this server fetches none.
    DocumentsOff,
    /// Too many metadata documents were fetched lately; worth another try after this long.
    TooManyDocuments(Duration),
    /// The client has not registered where the answer shall go.
    RedirectUri,
    /// There is no way to sign in here.
    NoSignIn,
    /// The client made a mistake. Whether it is told is up to the person.
    Client {
        /// The name that the client gives itself.
        name: DisplayName,
        /// The error code of the protocol.
        error: &'static str,
        /// What is wrong, for whoever wrote the client.
        description: &'static str,
        /// The site that would receive the answer.
        destination: Destination,
        /// The redirect URI with the answer in its query, for a link.
        back: String,
    },
}

impl From<StoreUnavailable> for AuthorizeError {
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!("A sign-in cannot begin: {error}");
        Self::Unavailable
    }
}

/// What a client asks for, once everything about it is right. Kept while the person is busy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) client: ClientId,
    pub(super) client_name: DisplayName,
    pub(super) client_kind: ClientKind,
    /// Exactly as the client sent or registered it.
    pub(super) redirect_uri: String,
    /// Whether the client sent it, rather than leaving it to its registration. Older instances do not
    /// write it; they require the parameter.
    #[serde(default = "yes")]
    pub(super) redirect_uri_was_sent: bool,
    pub(super) challenge: Challenge,
    pub(super) scope: Scopes,
    pub(super) state: Option<String>,
}

fn yes() -> bool {
    true
}

/// A sign-in that waits for the person to agree.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// What the person may add to the scope of the request. Empty if the client named a scope, and in
    /// what older instances write.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub(super) optional: Scopes,
    /// What the form of the consent page has to bring back. The same at every look, so that no
    /// reload and no second tab makes the form in front of the person worthless.
    pub(super) csrf: String,
    pub(super) nonce: SecretHash,
}

impl Record for Asked {
    const KIND: &'static str = "pend";
}

/// Takes the query of an authorization request, decoded, in its order.
pub async fn begin(
    server: &Server,
    pairs: &[(String, String)],
    request: &RequestInfo,
) -> Result<Begun, AuthorizeError> {
    let parameters = Parameters(pairs);
    let (client, target) = identify(server, &parameters, request).await?;
    // From here on the client is told.
    let (asked, optional) = check(server, &client, &target, &parameters).map_err(|problem| {
        tracing::info!(
            client = %client.id, error = problem.error, request_id = request.id,
            "An authorization request is refused: {}", problem.description
        );
        problem.tell(server, &client, &target.uri, &parameters)
    })?;
    if sign_in_with::with(server) == SignInWith::Nothing {
        return Err(AuthorizeError::Page(PageError::NoSignIn));
    }
    let (transaction, browser_nonce) = (new_secret(), new_secret());
    let asked = Asked {
        request: asked,
        optional,
        csrf: new_secret(),
        nonce: SecretHash::of(&browser_nonce),
    };
    pending::put(server.pending(), &transaction, &asked, PENDING_TTL).await?;
    Ok(Begun { transaction, browser_nonce })
}

/// The address that tells a client something went wrong, with `state` and exactly one `iss`.
pub(super) fn error_uri(
    server: &Server,
    redirect_uri: &str,
    state: Option<&str>,
    error: &str,
    description: &str,
) -> String {
    let mut answer = vec![("error", error)];
    if !description.is_empty() {
        answer.push(("error_description", description));
    }
    answer.extend(state.map(|it| ("state", it)));
    answer.push(("iss", server.settings().public_url.as_str()));
    redirect_uri::with_answer(redirect_uri, answer)
}

/// Where the answer goes.
struct Target {
    uri: String,
    /// Whether the request names it.
    was_sent: bool,
}

/// The client and where its answer goes: the part in which nothing is sent anywhere.
async fn identify(
    server: &Server,
    parameters: &Parameters<'_>,
    request: &RequestInfo,
) -> Result<(Client, Target), AuthorizeError> {
    let page = |error| AuthorizeError::Page(error);
    if parameters.bytes() > MAX_QUERY_BYTES {
        return Err(page(PageError::Request("The request is too long.")));
    }
    let twice =
        |_: Twice| page(PageError::Request("The request names its client or its target twice."));
    let client_id = parameters
        .one("client_id")
        .map_err(twice)?
        .ok_or(page(PageError::Request("The request does not name a client.")))?;
    client::introduce(server, client_id, &request.parties);
    let redirect_uri = parameters.one("redirect_uri").map_err(twice)?;
    let client = client::find(server, client_id).await.map_err(|error| match error {
        ClientError::Unknown => page(PageError::UnknownClient),
        ClientError::Refused(why) => page(PageError::ClientRefused(why)),
        ClientError::Unreachable { host, why } => page(PageError::ClientUnreachable { host, why }),
        ClientError::DocumentsOff => page(PageError::DocumentsOff),
        ClientError::TooMany(wait) => page(PageError::TooManyDocuments(wait)),
        ClientError::Unavailable => AuthorizeError::Unavailable,
    })?;
    let target = target(&client, redirect_uri).map_err(page)?;
    Ok((client, target))
}

/// The redirect URI of a request: the one that it names, or else the only registered one (RFC 6749,
/// section 3.1.2.3).
fn target(client: &Client, redirect_uri: Option<&str>) -> Result<Target, PageError> {
    match (redirect_uri, client.redirect_uris.as_slice()) {
        (Some(uri), registered) if registered.iter().any(|it| it.matches(uri)) => {
            Ok(Target { uri: uri.to_owned(), was_sent: true })
        }
        (Some(_), _) => {
            tracing::info!(client = %client.id, "A redirect URI that is not registered is refused");
            Err(PageError::RedirectUri)
        }
        (None, [only]) => Ok(Target { uri: only.as_str().to_owned(), was_sent: false }),
        (None, _) => Err(PageError::Request(
            "It does not say where the answer goes (redirect_uri), and the app has registered \
             several addresses.",
        )),
    }
}

/// Everything else, in the order of the specification: the request, and what the person may add to
/// its scope.
fn check(
    server: &Server,
    client: &Client,
    target: &Target,
    parameters: &Parameters<'_>,
) -> Result<(Request, Scopes), Problem> {
    if parameters.repeat_anything() {
        return Err(Problem::request("a parameter stands twice"));
    }
    let state = parameters.first("state");
    if state.is_some_and(|it| !is_returnable(it) || it.chars().count() > MAX_STATE_CHARS) {
        return Err(Problem::request(
            "state must be up to 2,048 characters without control characters",
        ));
    }
    match parameters.first("response_type") {
        None => return Err(Problem::request("response_type is required")),
        Some("code") => {}
        Some(_) => {
            return Err(Problem::new("unsupported_response_type", "response_type must be code"));
        }
    }
    if parameters.first("response_mode").is_some_and(|it| it != "query") {
        return Err(Problem::request("response_mode must be query"));
    }
    for (parameter, error) in
        [("request", "request_not_supported"), ("request_uri", "request_uri_not_supported")]
    {
        if parameters.first(parameter).is_some() {
            return Err(Problem::new(error, "request objects are not supported"));
        }
    }
    let challenge = Challenge::parse(
        parameters.first("code_challenge"),
        parameters.first("code_challenge_method"),
    )
    .map_err(|error| {
        Problem::request(match error {
            super::pkce::PkceError::ChallengeMissing => "code_challenge is required",
            super::pkce::PkceError::Method => "code_challenge_method must be S256",
            _ => "code_challenge must be 43 characters of base64url without padding",
        })
    })?;
    let (scope, optional) = requested_scope(client, parameters.first("scope").unwrap_or_default())?;
    let resources = parameters.given("resource");
    resource::check(&server.settings().public_url, resources).map_err(|_another| {
        Problem::new("invalid_target", "resource must be the MCP endpoint of this server")
    })?;
    if parameters.first("prompt").is_some_and(|it| it.split(' ').any(|it| it == "none")) {
        return Err(Problem::new("interaction_required", "every sign-in asks the person"));
    }
    let request = Request {
        client: client.id.clone(),
        client_name: client.name.clone(),
        client_kind: client.kind.clone(),
        redirect_uri: target.uri.clone(),
        redirect_uri_was_sent: target.was_sent,
        challenge,
        scope,
        state: state.map(str::to_owned),
    };
    Ok((request, optional))
}

/// The scope of a request, and what the person may add to it. A client gets what it names, as far as
/// that exists and it has registered for it; a client that names nothing known gets read access, and
/// the person is offered the rest, because many clients cannot ask again later.
fn requested_scope(client: &Client, text: &str) -> Result<(Scopes, Scopes), Problem> {
    let invalid = |description| Problem::new("invalid_scope", description);
    let named = Scopes::parse(text)
        .map_err(|_malformed| invalid("scope must be names separated by spaces"))?;
    let allowed = client.scope.clone().unwrap_or_else(Scopes::all);
    if named.is_empty() {
        let usual = Scopes::default_request().intersect(&allowed);
        let scope = if usual.is_empty() { allowed.clone() } else { usual };
        let optional = allowed.difference(&scope);
        return Ok((scope, optional));
    }
    // The challenges of this server name all scopes, so a client that has registered for fewer asks for
    // more than it may have.
    let scope = named.intersect(&allowed);
    if scope.is_empty() {
        return Err(invalid("scope names nothing that the client has registered for"));
    }
    Ok((scope, Scopes::default()))
}

/// A mistake that a client is told of.
struct Problem {
    error: &'static str,
    description: &'static str,
}

impl Problem {
    fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description }
    }

    fn request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    fn tell(
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
        let at_a_site = matches!(destination, Destination::Site { .. });
        if client.kind == ClientKind::Dynamic && at_a_site {
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

/// Whether an error may hold this `state`: any length that a query has, so that the client recognizes
/// its request, but no characters that could break up a header on the receiving side.
fn is_returnable(state: &str) -> bool {
    !state.chars().any(char::is_control)
}

/// The parameters of a query.
struct Parameters<'a>(&'a [(String, String)]);

/// A parameter stands more than once.
struct Twice;

impl<'a> Parameters<'a> {
    /// About as long as the query was: what is encoded was longer, never shorter.
    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
    }

    fn all(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The values of a parameter. One without a value counts as omitted (RFC 6749 section 3.1).
    fn given(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).filter(|it| !it.is_empty())
    }

    fn first(&self, name: &'a str) -> Option<&'a str> {
        self.given(name).next()
    }

    /// The value of a parameter that may stand once; one without a value counts as omitted.
    fn one(&self, name: &'a str) -> Result<Option<&'a str>, Twice> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Twice);
        }
        Ok(first.filter(|it| !it.is_empty()))
    }

    /// Whether one of the parameters that may stand once stands twice. Several resources are
    /// allowed, and judged together.
    fn repeat_anything(&self) -> bool {
        const ONCE: [&str; 11] = [
            "client_id",
            "redirect_uri",
            "state",
            "response_type",
            "response_mode",
            "scope",
            "code_challenge",
            "code_challenge_method",
            "prompt",
            "request",
            "request_uri",
        ];
        ONCE.iter().any(|it| self.one(it).is_err())
    }
}
