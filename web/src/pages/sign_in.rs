//! The end of a sign-in: `/oauth/<provider>/callback`, and `/sign-in`, the development page that
//! replaces an identity provider on the developer's own machine.

use std::sync::Arc;

use app::App;
use askama::Template;
use http::{Method, StatusCode};
use oauth::{
    limits,
    login::{
        self, ACCOUNT_SESSION_TTL, CallbackError, Destination, FinishedLogin, IdentityProvider,
        NamePageView, StartedLogin,
    },
    pending::PENDING_TTL,
};
use poem::{Endpoint, Request, Response};
use url::form_urlencoded;

use crate::{
    http::{
        cookies::{Cookies, FlowCookie, SESSION},
        error::ApiError,
        observe::ServerFailed,
        request_info::request_info,
    },
    instance::Instance,
    pages::{
        error_page,
        fields::Fields,
        frame::Frame,
        respond::{see_other, without_effect},
        visit::PageVisit,
    },
};

/// The path of the development sign-in.
pub(crate) const PATH: &str = "/sign-in";

/// The methods of the development sign-in.
pub(crate) const METHODS: &str = "GET, HEAD, POST";

/// The methods of the callback.
pub(crate) const CALLBACK_METHODS: &str = "GET, HEAD";

/// Redirects to the identity provider, and binds the sign-in to the browser.
pub(super) fn redirect(
    cookies: Cookies,
    request: &Request,
    started: &StartedLogin,
) -> Result<Response, ApiError> {
    let mut response = match &started.destination {
        Destination::External(url) => see_other(url)?,
        Destination::NamePage => {
            let state = form_urlencoded::byte_serialize(started.state.as_bytes());
            see_other(&format!("{PATH}?state={}", state.collect::<String>()))?
        }
    };
    cookies.set(
        request.headers(),
        response.headers_mut(),
        FlowCookie::SignIn,
        &started.state,
        &started.nonce,
        PENDING_TTL,
    );
    Ok(response)
}

/// The callback of an identity provider.
pub(crate) struct Callback {
    app: App,
    provider: Arc<dyn IdentityProvider>,
}

impl Callback {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance, provider: Arc<dyn IdentityProvider>) -> Self {
        Self { app: instance.app.clone(), provider }
    }

    async fn handle(&self, request: &Request) -> Result<Response, ApiError> {
        if let Some(response) = without_effect(request) {
            return response;
        }
        let visit = PageVisit::begin(&self.app, request, &limits::CALLBACK).await?;
        let response = self.finish(request).await;
        visit.finish_by_response(response).await
    }

    async fn finish(&self, request: &Request) -> Result<Response, ApiError> {
        let Fields(pairs) = Fields::of_query(request.uri());
        let error = |error| api_error(error, self.provider.label());
        let state = login::state_of(&pairs).ok_or_else(|| error(CallbackError::Malformed))?;
        let cookies = Cookies::new(&self.app.config().public_url);
        let nonce = cookies.read(request.headers(), FlowCookie::SignIn, state);
        let info = request_info(&self.app, request);
        let id = self.provider.id();
        let finished = login::callback(self.app.oauth(), id, &pairs, nonce, &info).await;
        completed(cookies, state, finished.map_err(error)?)
    }
}

impl Endpoint for Callback {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok(self.handle(&request).await?)
    }
}

/// The development sign-in: a page that asks for a name.
pub(crate) struct Development {
    app: App,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct DevelopmentPage<'a> {
    frame: &'a Frame,
    view: &'a NamePageView,
    state: &'a str,
    /// The name as typed.
    name: &'a str,
    /// Whether the name is invalid.
    refused: bool,
}

/// The initial value of the name field.
const DEFAULT_NAME: &str = "me";

impl Development {
    /// The page of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn show(
        &self,
        request: &Request,
        state: &str,
        refused: Option<&str>,
    ) -> Result<Response, ApiError> {
        let nonce = self.cookies().read(request.headers(), FlowCookie::SignIn, state);
        let view = login::name_page(self.app.oauth(), state, nonce).await;
        let view = view.map_err(own_error)?;
        let frame = Frame::of(request);
        let page = DevelopmentPage {
            frame: &frame,
            view: &view,
            state,
            name: refused.unwrap_or(DEFAULT_NAME),
            refused: refused.is_some(),
        };
        let status = match refused {
            Some(_) => StatusCode::BAD_REQUEST,
            None => StatusCode::OK,
        };
        Ok(frame.show(status, &page))
    }

    async fn submit(&self, mut request: Request) -> Result<Response, ApiError> {
        let form = Fields::of_form(&mut request).await?;
        let state = form.one("state").ok_or_else(|| own_error(CallbackError::Malformed))?;
        let name = form.one("name").unwrap_or_default();
        let cookies = self.cookies();
        let nonce = cookies.read(request.headers(), FlowCookie::SignIn, state);
        let info = request_info(&self.app, &request);
        match login::submit_name(self.app.oauth(), state, nonce, name, &info).await {
            Ok(finished) => completed(cookies, state, finished),
            Err(CallbackError::Name) => self.show(&request, state, Some(name)).await,
            Err(error) => Err(own_error(error)),
        }
    }

    fn cookies(&self) -> Cookies {
        Cookies::new(&self.app.config().public_url)
    }
}

impl Endpoint for Development {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let visit = PageVisit::begin(&self.app, &request, &limits::CALLBACK).await?;
        let response = if request.method() == Method::POST {
            self.submit(request).await
        } else {
            let query = Fields::of_query(request.uri());
            match query.one("state") {
                Some(state) => self.show(&request, state, None).await,
                None => Err(own_error(CallbackError::Malformed)),
            }
        };
        Ok(visit.finish_by_response(response).await?)
    }
}

/// The redirect after a completed sign-in.
fn completed(cookies: Cookies, state: &str, finished: FinishedLogin) -> Result<Response, ApiError> {
    let mut response = match &finished {
        FinishedLogin::ToClient { uri, .. } => see_other(uri)?,
        FinishedLogin::ToAccount { .. } => see_other("/account")?,
    };
    if matches!(&finished, FinishedLogin::ToClient { outcome, .. } if outcome.is_failure()) {
        response.set_data(ServerFailed);
    }
    cookies.clear(response.headers_mut(), FlowCookie::SignIn, state);
    if let FinishedLogin::ToAccount { session } = finished {
        cookies.set_named(response.headers_mut(), SESSION, &session, ACCOUNT_SESSION_TTL);
    }
    Ok(response)
}

/// Converts an error of the development sign-in, which has no identity provider.
fn own_error(error: CallbackError) -> ApiError {
    api_error(error, "the sign-in page")
}

/// Converts an error. `provider` is the label of the identity provider.
fn api_error(error: CallbackError, provider: &str) -> ApiError {
    const AGAIN: &str = "Go back to your app, or to the account page, and sign in again.";

    match error {
        CallbackError::Malformed | CallbackError::Name => {
            error_page::bad_request("This link is broken", "This server did not create it.", AGAIN)
        }
        CallbackError::NotFound => error_page::bad_request(
            "This sign-in is over",
            "It was finished already, or more than ten minutes have passed.",
            AGAIN,
        ),
        CallbackError::OtherBrowser => error_page::new(
            StatusCode::FORBIDDEN,
            "Not the browser where you started",
            "This sign-in began in another browser, or your browser does not keep cookies. \
             Nothing has been changed.",
            "Finish it in the browser where you started. If somebody sent you this link, close \
             this page.",
        ),
        CallbackError::Refused(refusal) => {
            let page = error_page::new(
                StatusCode::FORBIDDEN,
                "You may not use this server",
                format!("You are signed in as {}.", refusal.login),
                refusal.sentence,
            );
            match refusal.back {
                Some(back) => page.with_link("Go back to the app", back),
                None => page,
            }
        }
        CallbackError::Denied => error_page::new(
            StatusCode::FORBIDDEN,
            "You are not signed in",
            format!("You did not authorize this server at {provider}. Nothing has been changed."),
            AGAIN,
        ),
        CallbackError::Rejected => error_page::bad_request(
            "The sign-in failed",
            format!(
                "{provider} did not accept the code that your browser returned with, or sent no code."
            ),
            AGAIN,
        ),
        CallbackError::Failed => error_page::new(
            StatusCode::BAD_GATEWAY,
            "The sign-in failed",
            format!("This server could not use the response of {provider}."),
            AGAIN,
        ),
        CallbackError::Unavailable => error_page::unavailable(),
    }
}
