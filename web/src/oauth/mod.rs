//! The OAuth endpoints: one file each. The rules are in `oauth`.
//!
//! | called by | in |
//! |---|---|
//! | clients, and libraries in web pages | [`metadata`], [`register`], [`token`], [`revoke`] |
//! | a user's browser | [`crate::pages`] |

mod credentials;
mod deferred_body;
mod dpop;
mod error;
mod form;
mod form_request;
mod machine;
pub(crate) mod metadata;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod token;

use http::{HeaderValue, header};
use mcp::http::OriginPolicy;
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::Tags;

use crate::{
    http::{
        client_address::local_port,
        error::{ApiError, from_poem},
        request_id::RequestId,
    },
    instance::Instance,
};

/// The group of these endpoints in the OpenAPI document.
#[derive(Tags)]
enum Tag {
    /// OAuth endpoints for clients.
    #[oai(rename = "Sign-in")]
    SignIn,
}

/// The methods of an endpoint that accepts a form.
pub(crate) const METHODS: &str = "POST, OPTIONS";

/// An endpoint for OAuth clients: checks `Host` and forbids caching.
pub(crate) struct ForClients<E> {
    inner: E,
    origin_policy: OriginPolicy,
}

impl<E> ForClients<E> {
    /// Wraps an endpoint of one instance.
    pub(crate) fn new(instance: &Instance, inner: E) -> anyhow::Result<Self> {
        let config = instance.app.config();
        Ok(Self {
            inner,
            origin_policy: OriginPolicy::new::<&str>(config.public_url.origin(), &[])?,
        })
    }
}

impl<E: Endpoint> Endpoint for ForClients<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request.data::<RequestId>().cloned();
        let port = Some(local_port(&request));
        let response = match self.origin_policy.check_host(request.uri(), request.headers(), port) {
            Ok(()) => self.inner.call(request).await,
            Err(foreign) => Err(ApiError::from(foreign).into()),
        };
        // Errors are converted here, inside CORS, so that pages can read them, too.
        let mut response = match (response, id) {
            (Ok(response), _) => response.into_response(),
            (Err(error), _) if error.is_from_response() => error.into_response(),
            (Err(error), Some(id)) => from_poem(error, METHODS).into_response(&id),
            (Err(error), None) => return Err(error),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        Ok(response)
    }
}
