//! The wrapper around every page.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use http::Method;
use mcp::http::OriginPolicy;
use poem::{Endpoint, Request, Response};

use super::{error_page, frame::Frame, headers::protect};
use crate::{
    http::{
        client_address::local_port,
        error::{self, ApiError},
    },
    instance::Instance,
};

/// Wraps a page: checks `Host`, the method and the origin of forms, adds the security headers, and
/// converts errors and panics into error pages.
pub(crate) struct Paged<E> {
    inner: E,
    origin_policy: OriginPolicy,
    https: bool,
    in_popups: bool,
    methods: &'static str,
}

impl<E: Endpoint<Output = Response>> Paged<E> {
    /// Wraps a page of one instance that accepts these methods.
    pub(crate) fn new(
        instance: &Instance,
        methods: &'static str,
        inner: E,
    ) -> anyhow::Result<Self> {
        let config = instance.app.config();
        Ok(Self {
            inner,
            origin_policy: OriginPolicy::new::<&str>(config.public_url.origin(), &[])?,
            https: config.public_url.as_str().starts_with("https://"),
            in_popups: false,
            methods,
        })
    }

    /// Lets the page run in a popup of another site, for the steps of a sign-in. A client in a web
    /// page shows them in a popup, waits until the popup is closed, and gets the result from its
    /// own page in it. If the popup were isolated from its opener (COOP), it would look closed at
    /// once and the result would never arrive. The opener can do nothing with the page except
    /// navigate it elsewhere.
    pub(crate) fn in_popups(mut self) -> Self {
        self.in_popups = true;
        self
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let port = Some(local_port(&request));
        let checked = self.origin_policy.check_host(request.uri(), request.headers(), port);
        checked.map_err(ApiError::from)?;
        match request.method() {
            method if !self.methods.split(", ").any(|accepted| *method == accepted) => {
                return Err(ApiError::method_not_allowed(self.methods));
            }
            // A form must come from a page of this server.
            &Method::POST if !self.is_same_origin(&request) => return Err(error_page::forged()),
            _ => {}
        }
        let responding = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        match responding.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error::from_poem(error, self.methods)),
            Err(_panic) => Err(ApiError::internal()), // the panic hook has logged it
        }
    }

    /// Whether a form comes from a page of this server, according to `Sec-Fetch-Site` or, in older
    /// browsers, `Origin`.
    fn is_same_origin(&self, request: &Request) -> bool {
        let sites = request.headers().get_all("sec-fetch-site");
        if sites.iter().next().is_some() {
            return sites.iter().all(|site| site == "same-origin");
        }
        let port = Some(local_port(request));
        let origin = self.origin_policy.check(request.uri(), request.headers(), port);
        matches!(origin, Ok(Some(_)))
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Paged<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let frame = Frame::of(&request);
        let response = self.respond(request).await;
        let mut response = response.unwrap_or_else(|error| error_page::show(error, &frame));
        protect(&mut response, self.https, self.in_popups);
        Ok(response)
    }
}
