//! The end of a sign-in: `/oauth/github/callback`, and `/sign-in`, the development page that
//! replaces GitHub on the developer's own machine.

use app::App;
use askama::Template;
use http::{Method, StatusCode};
use oauth::{
    github, limits,
    sign_in::{self, Arrived, CallbackError, DevelopmentView, SESSION_TTL},
};
use poem::{Endpoint, Request, Response};
use url::form_urlencoded;

use crate::{
    http::{
        cookies::{Cookies, FlowCookie, SESSION},
        observe::ServerFailed,
        request_info::request_info,
    },
    instance::Instance,
    pages::{
        error_page::ErrorPage,
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

/// The URL of the development sign-in for one pending sign-in.
pub(super) fn location(state: &str) -> String {
    let state: String = form_urlencoded::byte_serialize(state.as_bytes()).collect();
    format!("{PATH}?state={state}")
}

/// The callback of GitHub.
pub(crate) struct Callback {
    app: App,
}

impl Callback {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn handle(&self, request: &Request) -> Result<Response, ErrorPage> {
        if let Some(response) = without_effect(request) {
            return response;
        }
        let visit = PageVisit::begin(&self.app, request, &limits::CALLBACK).await?;
        let response = self.finish(request).await;
        visit.finish_by_response(response).await
    }

    async fn finish(&self, request: &Request) -> Result<Response, ErrorPage> {
        let Fields(pairs) = Fields::of_query(request.uri());
        let state = github::state_of(&pairs).ok_or_else(|| error_page(CallbackError::Malformed))?;
        let cookies = Cookies::new(&self.app.config().public_url);
        let nonce = cookies.read(request.headers(), FlowCookie::SignIn, state);
        let info = request_info(&self.app, request);
        let arrived = github::callback(self.app.oauth(), &pairs, nonce, &info).await;
        completed(cookies, state, arrived.map_err(error_page)?)
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
    view: &'a DevelopmentView,
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
    ) -> Result<Response, ErrorPage> {
        let nonce = self.cookies().read(request.headers(), FlowCookie::SignIn, state);
        let view = sign_in::development_view(self.app.oauth(), state, nonce).await;
        let view = view.map_err(error_page)?;
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

    async fn submit(&self, mut request: Request) -> Result<Response, ErrorPage> {
        let form = Fields::of_form(&mut request).await?;
        let state = form.one("state").ok_or_else(|| error_page(CallbackError::Malformed))?;
        let name = form.one("name").unwrap_or_default();
        let cookies = self.cookies();
        let nonce = cookies.read(request.headers(), FlowCookie::SignIn, state);
        let info = request_info(&self.app, &request);
        match sign_in::development(self.app.oauth(), state, nonce, name, &info).await {
            Ok(arrived) => completed(cookies, state, arrived),
            Err(CallbackError::Name) => self.show(&request, state, Some(name)).await,
            Err(error) => Err(error_page(error)),
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
                None => Err(error_page(CallbackError::Malformed)),
            }
        };
        Ok(visit.finish_by_response(response).await?)
    }
}

/// The redirect after a completed sign-in.
fn completed(cookies: Cookies, state: &str, arrived: Arrived) -> Result<Response, ErrorPage> {
    let mut response = match &arrived {
        Arrived::ToClient { uri, .. } => see_other(uri)?,
        Arrived::ToAccount { .. } => see_other("/account")?,
    };
    if matches!(&arrived, Arrived::ToClient { outcome, .. } if outcome.is_failure()) {
        response.set_data(ServerFailed);
    }
    cookies.clear(response.headers_mut(), FlowCookie::SignIn, state);
    if let Arrived::ToAccount { session } = arrived {
        cookies.set_named(response.headers_mut(), SESSION, &session, SESSION_TTL);
    }
    Ok(response)
}

fn error_page(error: CallbackError) -> ErrorPage {
    const AGAIN: &str = "Go back to your app, or to the account page, and sign in again.";

    match error {
        CallbackError::Malformed | CallbackError::Name => {
            ErrorPage::bad_request("This link is broken", "This server did not create it.", AGAIN)
        }
        CallbackError::NotFound => ErrorPage::bad_request(
            "This sign-in is over",
            "It was finished already, or more than ten minutes have passed.",
            AGAIN,
        ),
        CallbackError::OtherBrowser => ErrorPage::new(
            StatusCode::FORBIDDEN,
            "Not the browser where you started",
            "This sign-in began in another browser, or your browser does not keep cookies. \
             Nothing has been changed.",
            "Finish it in the browser where you started. If somebody sent you this link, close \
             this page.",
        ),
        CallbackError::Refused(refusal) => {
            let page = ErrorPage::new(
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
        CallbackError::Denied => ErrorPage::new(
            StatusCode::FORBIDDEN,
            "You are not signed in",
            "You did not authorize this server at GitHub. Nothing has been changed.",
            AGAIN,
        ),
        CallbackError::Rejected => ErrorPage::bad_request(
            "The sign-in failed",
            "GitHub did not accept the code that your browser returned with, or sent no code.",
            AGAIN,
        ),
        CallbackError::Failed => ErrorPage::new(
            StatusCode::BAD_GATEWAY,
            "The sign-in failed",
            "This server could not use GitHub's response.",
            AGAIN,
        ),
        CallbackError::Unavailable => ErrorPage::unavailable(),
    }
}
