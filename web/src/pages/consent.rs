//! `/consent`: the user approves or denies an authorization request.

use app::App;
use askama::Template;
use http::{Method, StatusCode};
use oauth::{
    client::ClientKind,
    consent::{self, ConsentError, ConsentView, Decision, Next},
    limits,
    redirect_uri::Destination,
    scope::Scopes,
};
use platform::public_url::PublicUrl;
use poem::{Endpoint, Request, Response};

use super::sign_in;
use crate::{
    http::{
        cookies::{Cookies, FlowCookie},
        error::ApiError,
        request_info::{log_context, request_info},
    },
    instance::Instance,
    pages::{error_page, fields::Fields, frame::Frame, respond::see_other, visit::PageVisit},
};

/// The methods of the page.
pub(crate) const METHODS: &str = "GET, HEAD, POST";

/// The page.
pub(crate) struct Consent {
    app: App,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    frame: &'a Frame,
    view: &'a ConsentView,
    /// The host of this server.
    host: &'a str,
}

impl Consent {
    /// The page of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn view(&self, request: &Request) -> Result<Response, ApiError> {
        let query = Fields::of_query(request.uri());
        let txn = query.one("txn").ok_or_else(|| api_error(ConsentError::NotFound))?;
        let nonce = self.cookies().read(request.headers(), FlowCookie::Transaction, txn);
        let view = consent::view(self.app.oauth(), txn, nonce).await;
        let view = view.map_err(api_error)?;
        log_context(request).set_client(view.client.as_str());
        let frame = Frame::of(request);
        let page =
            ConsentPage { frame: &frame, view: &view, host: host(&self.app.config().public_url) };
        Ok(frame.show(StatusCode::OK, &page))
    }

    async fn decide(&self, mut request: Request) -> Result<Response, ApiError> {
        let form = Fields::of_form(&mut request).await?;
        let txn = form.one("txn").ok_or_else(|| api_error(ConsentError::NotFound))?;
        let csrf = form.one("csrf").ok_or_else(error_page::forged)?;
        // A button for each provider sends `provider` instead of `decision`.
        let provider = form.one("provider");
        let decision = match form.one("decision").or(provider.map(|_| "approve")) {
            Some("approve") => {
                let added = form.all("scope").map(Scopes::named);
                let added = added.fold(Scopes::default(), |all, scope| all.union(&scope));
                Decision::Approve { added, provider: provider.map(str::to_owned) }
            }
            Some("deny") => Decision::Deny,
            _ => return Err(error_page::forged()),
        };
        let cookies = self.cookies();
        let nonce = cookies.read(request.headers(), FlowCookie::Transaction, txn);
        let info = request_info(&self.app, &request);
        let next = consent::decide(self.app.oauth(), txn, csrf, nonce, decision, &info).await;
        let mut response = match next.map_err(api_error)? {
            Next::ToClient { uri } => see_other(&uri)?,
            Next::ToSignIn(started) => sign_in::redirect(cookies, &request, &started)?,
        };
        cookies.clear(response.headers_mut(), FlowCookie::Transaction, txn);
        Ok(response)
    }

    fn cookies(&self) -> Cookies {
        Cookies::new(&self.app.config().public_url)
    }
}

impl Endpoint for Consent {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let visit = PageVisit::begin(&self.app, &request, &limits::CONSENT).await?;
        let response = match *request.method() {
            Method::POST => self.decide(request).await,
            _ => self.view(&request).await,
        };
        Ok(visit.finish_by_response(response).await?)
    }
}

fn api_error(error: ConsentError) -> ApiError {
    match error {
        ConsentError::NotFound => error_page::bad_request(
            "This sign-in is over",
            "You have decided already, or more than ten minutes have passed.",
            "Go back to your app and connect again.",
        ),
        ConsentError::OtherBrowser => error_page::new(
            StatusCode::FORBIDDEN,
            "Not the browser where you started",
            "This sign-in began in another browser, or your browser does not keep cookies. \
             Nothing has been changed.",
            "Open the link in the browser where you started, or go back to your app and connect \
             again. If somebody sent you this link, close this page.",
        ),
        ConsentError::Forged => error_page::forged(),
        ConsentError::Provider(label) => error_page::provider_unavailable(&label),
        ConsentError::Unavailable => error_page::unavailable(),
    }
}

/// The host and port of this server, as the page shows them.
fn host(url: &PublicUrl) -> &str {
    let url = url.as_str();
    url.split_once("://").map_or(url, |(_, host)| host)
}
