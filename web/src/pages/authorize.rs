//! `GET /authorize`: the authorization endpoint. A client sends the user's browser here.

use app::App;
use http::StatusCode;
use oauth::{
    authorize::{self, AuthorizeError, PageError},
    limits,
    login::HOW_TO_SET_UP,
    pending::PENDING_TTL,
    redirect_uri::Destination,
};
use poem::{Endpoint, Request, Response};
use url::form_urlencoded;

use crate::{
    http::{
        cookies::{Cookies, FlowCookie},
        error::ApiError,
        fetch_metadata::is_embedded,
        rate_limit,
        request_info::request_info,
    },
    instance::Instance,
    pages::{
        error_page,
        fields::Fields,
        respond::{see_other, without_effect},
    },
};

/// The methods of the endpoint.
pub(crate) const METHODS: &str = "GET, HEAD";

/// The endpoint.
pub(crate) struct Authorize {
    app: App,
}

impl Authorize {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn begin(&self, request: &Request) -> Result<Response, ApiError> {
        if let Some(answer) = without_effect(request) {
            return answer;
        }
        if is_embedded(request) {
            return Err(error_page::embedded());
        }
        let network = rate_limit::network_and_site(&self.app, request);
        rate_limit::take(&self.app, &limits::AUTHORIZE, &network).await?;
        let query = request.uri().query().unwrap_or_default();
        if query.len() > authorize::MAX_QUERY_BYTES {
            return Err(api_error(PageError::Request("The request is too long.")));
        }
        let Fields(pairs) = Fields::of_query(request.uri());
        let info = request_info(&self.app, request);
        let begun = match authorize::begin(self.app.oauth(), &pairs, &info).await {
            Ok(begun) => begun,
            Err(AuthorizeError::Page(error)) => return Err(api_error(error)),
            Err(AuthorizeError::Redirect { uri }) => return see_other(&uri),
            Err(AuthorizeError::Unavailable) => return Err(error_page::unavailable()),
        };
        let txn = form_urlencoded::byte_serialize(begun.transaction.as_bytes());
        // A relative URL, because the cookie belongs to the host that the browser uses, which may
        // differ from the public URL.
        let mut response = see_other(&format!("/consent?txn={}", txn.collect::<String>()))?;
        Cookies::new(&self.app.config().public_url).set(
            request.headers(),
            response.headers_mut(),
            FlowCookie::Transaction,
            &begun.transaction,
            &begun.browser_nonce,
            PENDING_TTL,
        );
        Ok(response)
    }
}

impl Endpoint for Authorize {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok(self.begin(&request).await?)
    }
}

/// The page for a request whose error must not be sent to the client.
fn api_error(error: PageError) -> ApiError {
    match error {
        PageError::Request(what) => error_page::bad_request(
            "This link is broken",
            format!("An app sent you here, but its request is not complete. {what}"),
            "Go back to the app and connect again. If that does not help, its developer has to fix \
             it.",
        ),
        PageError::UnknownClient => error_page::bad_request(
            "This app is not known here",
            "It never registered with this server, or its registration has expired.",
            "Remove this server from the app, add it again, and connect again.",
        ),
        PageError::ClientRefused(why) => error_page::bad_request(
            "This app cannot be identified",
            "It identifies itself by a document on the web, and that document cannot be used.",
            "Try again in a minute. If that does not help, the app's developer has to fix it.",
        )
        .with_detail(why),
        PageError::ClientUnreachable { host, why } => error_page::bad_request(
            "This server could not reach the app's site",
            format!(
                "The app identifies itself by a document at {host}, and this server could not \
                 fetch it: {why}. The app itself may be fine.",
            ),
            "Try again in a minute. If that does not help, tell the operator of this server.",
        )
        .with_operator_hint(format!(
            "let the server reach {host} (HTTPS_PROXY), give it the document (CLIENT_DOCUMENTS), or \
             let apps register instead (CLIENT_METADATA_DOCUMENTS=off)."
        )),
        PageError::DocumentsOff => error_page::bad_request(
            "This app has to register here",
            "It identifies itself by a document on the web, and this server does not fetch such \
             documents.",
            "Remove this server from the app, add it again, and connect again: the app then \
             registers. If that does not help, tell the operator of this server.",
        )
        .with_operator_hint(
            "CLIENT_METADATA_DOCUMENTS is off, and CLIENT_DOCUMENTS does not have the document of \
             this app.",
        ),
        PageError::TooManyDocuments(wait) => error_page::too_many(
            "This server has fetched too many documents for apps within a minute, so it waits before it \
             fetches the one that identifies this app.",
            wait,
        ),
        PageError::RedirectUri => error_page::bad_request(
            "This app's redirect address is not registered",
            "It asked this server to redirect you to an address that it has not registered, so \
             nothing was sent.",
            "Do not go on if you did not start this. If you did, remove this server from the app, \
             add it again, and connect again.",
        ),
        PageError::NoSignIn => error_page::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Sign-in is not set up yet",
            "The operator of this server has not set up an identity provider.",
            HOW_TO_SET_UP,
        ),
        PageError::Client { name, error, description, destination, back } => {
            error_page::bad_request(
                "This app made a mistake",
                format!(
                    "{name} (an unverified name) asked for something that this server does not \
                     offer."
                ),
                "Go back only if you started this there.",
            )
            .with_link(link_text(destination), back)
            .with_detail(format!("{error}: {description}"))
        }
    }
}

fn link_text(destination: Destination) -> String {
    match destination {
        Destination::Site { host } => format!("Go back to {host}"),
        Destination::ThisMachine | Destination::App { .. } => "Go back".to_owned(),
    }
}
