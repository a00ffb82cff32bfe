//! The pages of a signed-in user below `/account`.
//!
//! [`SignedIn`] does what all of them need: it counts the request against the rate limits, finds the
//! session, sends users without one to `/account`, and accepts only forms that are bound to the
//! session.

pub(crate) mod files;
mod job_words;
pub(crate) mod jobs;
pub(crate) mod section;
pub(crate) mod security;
mod security_words;
pub(super) mod session;
pub(crate) mod tabs;

use app::App;
use http::Method;
use oauth::{limits, login::Session};
use platform::db::Failure;
use poem::{Endpoint, Request, Response};

use super::{error_page, fields::Fields, frame::Frame, respond::see_other, visit::PageVisit};
use crate::{
    http::{error::ApiError, request_info::log_context},
    instance::Instance,
};

/// The request of a signed-in user for a page.
pub(crate) struct UserVisit {
    pub(crate) app: App,
    pub(crate) session: Session,
    pub(crate) frame: Frame,
    pub(crate) query: Fields,
    pub(crate) method: Method,
    /// The parameters `section` and `item` of the path, if it has them.
    pub(crate) section: Option<String>,
    pub(crate) item: Option<String>,
}

/// A page of a signed-in user.
pub(crate) trait UserPage: Send + Sync {
    /// Shows the page.
    fn show(&self, visit: UserVisit) -> impl Future<Output = Result<Response, ApiError>> + Send;

    /// Performs the action of a form of the page.
    fn act(
        &self,
        visit: UserVisit,
        form: Fields,
    ) -> impl Future<Output = Result<Response, ApiError>> + Send {
        drop((visit, form));
        std::future::ready(Err(error_page::forged()))
    }
}

/// Wraps a page of a signed-in user.
pub(crate) struct SignedIn<P> {
    app: App,
    page: P,
}

impl<P: UserPage> SignedIn<P> {
    /// Wraps a page of one instance.
    pub(crate) fn new(instance: &Instance, page: P) -> Self {
        Self { app: instance.app.clone(), page }
    }

    async fn respond(&self, mut request: Request) -> Result<Response, ApiError> {
        let Some(session) = session::find(&self.app, &request).await? else {
            return see_other(tabs::APPS);
        };
        let visit = UserVisit {
            app: self.app.clone(),
            session,
            frame: Frame::of(&request),
            query: Fields::of_query(request.uri()),
            method: request.method().clone(),
            section: parameter(&request, "section"),
            item: parameter(&request, "item"),
        };
        if visit.method != Method::POST {
            return self.page.show(visit).await;
        }
        let form = Fields::of_form(&mut request).await?;
        session::check_form(&visit.session, &form)?;
        self.page.act(visit, form).await
    }
}

impl<P: UserPage> Endpoint for SignedIn<P> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let visit = PageVisit::begin(&self.app, &request, &limits::USER_PAGES).await?;
        let context = log_context(&request);
        let response = self.respond(request).await;
        Ok(visit.finish(context.user().is_some(), response).await?)
    }
}

/// The value of a parameter of the path, as it is written in the URL.
fn parameter(request: &Request, name: &str) -> Option<String> {
    request.raw_path_param(name).map(str::to_owned)
}

/// The error page of a failed database or store, whose cause goes to the log.
pub(super) fn unavailable(error: &Failure) -> ApiError {
    tracing::error!(
        dependency = error.dependency(), error = ?error,
        "Could not serve a page of the account"
    );
    error_page::unavailable()
}
