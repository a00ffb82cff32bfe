//! The HTTP side of sign-in: one file for each endpoint. The rules are in `service::oauth`.
//!
//! | who calls | where |
//! |---|---|
//! | clients, and libraries in web pages | [`metadata`], [`register`], [`token`], [`revoke`] |
//! | a person with a browser | [`crate::pages`] |

mod answer;
mod credentials;
mod form;
pub(crate) mod metadata;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod token;
mod unread;

use http::{HeaderValue, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::Tags;

use crate::{
    http::{client_address::local_port, error, origin::OriginPolicy, request_id::RequestId},
    instance::Instance,
};

/// The group of these endpoints in the document.
#[derive(Tags)]
enum Tag {
    /// For clients that want tokens.
    #[oai(rename = "Sign-in")]
    SignIn,
}

/// The methods of an endpoint that takes a form.
pub(crate) const METHODS: &str = "POST, OPTIONS";

/// An endpoint for clients: answers under our own names only, and nothing keeps its answers.
pub(crate) struct ForClients<E> {
    inner: E,
    origin_policy: OriginPolicy,
}

impl<E> ForClients<E> {
    /// Wraps an endpoint of one instance.
    pub(crate) fn new(instance: &Instance, inner: E) -> anyhow::Result<Self> {
        let config = instance.service.config();
        Ok(Self { inner, origin_policy: OriginPolicy::new(&config.public_url, &[])? })
    }
}

impl<E: Endpoint> Endpoint for ForClients<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request.data::<RequestId>().cloned();
        let port = local_port(&request);
        let answered = match self.origin_policy.check_host(request.uri(), request.headers(), port) {
            Ok(()) => self.inner.call(request).await,
            Err(error) => Err(error.into()),
        };
        // A failure is written here, not further out, so that a page can read it, too.
        let mut response = match (answered, id) {
            (Ok(answer), _) => answer.into_response(),
            (Err(error), _) if error.is_from_response() => error.into_response(),
            (Err(error), Some(id)) => error::from_poem(error, METHODS).into_response(&id),
            (Err(error), None) => return Err(error),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        Ok(response)
    }
}
