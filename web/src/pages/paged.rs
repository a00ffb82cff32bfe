//! What surrounds every page.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use http::Method;
use poem::{Endpoint, Request, Response};

use super::{error_page::ErrorPage, frame::Frame, headers::protect};
use crate::{
    http::{
        client_address::local_port,
        error::{self, ApiError},
        origin::OriginPolicy,
    },
    instance::Instance,
};

/// A page, or a few with the same path: everything around what it says.
///
/// It answers under our own names only, has the headers that every page has, and turns whatever goes
/// wrong inside into a page.
pub(crate) struct Paged<E> {
    inner: E,
    origin_policy: OriginPolicy,
    https: bool,
    in_popups: bool,
    methods: &'static str,
}

impl<E: Endpoint<Output = Response>> Paged<E> {
    /// Wraps a page of one instance that takes these methods.
    pub(crate) fn new(
        instance: &Instance,
        methods: &'static str,
        inner: E,
    ) -> anyhow::Result<Self> {
        let config = instance.service.config();
        Ok(Self {
            inner,
            origin_policy: OriginPolicy::new(&config.public_url, &[])?,
            https: config.public_url.as_str().starts_with("https://"),
            in_popups: false,
            methods,
        })
    }

    /// The same for a step of a sign-in. A client in a web page shows it in a window that it opened,
    /// waits until that is closed, and hears of the end from its own page in it. To a window without
    /// its opener the first would happen at once, and the second never. All that the opener can do
    /// with ours is to send it elsewhere.
    pub(crate) fn in_popups(mut self) -> Self {
        self.in_popups = true;
        self
    }

    async fn answer(&self, request: Request) -> Result<Response, ErrorPage> {
        self.origin_policy.check_host(request.uri(), request.headers(), local_port(&request))?;
        match request.method() {
            method if !self.methods.split(", ").any(|it| *method == it) => {
                return Err(ApiError::MethodNotAllowed(self.methods).into());
            }
            // Anything but looking has to come from one of our own pages.
            &Method::POST if !self.is_from_here(&request) => return Err(ErrorPage::forged()),
            _ => {}
        }
        let answering = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        match answering.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(match error.downcast::<ErrorPage>() {
                Ok(page) => page,
                Err(error) => error::from_poem(error, self.methods).into(),
            }),
            Err(_panic) => Err(ErrorPage::internal()), // the panic hook has logged it
        }
    }

    /// Every browser of the last years says where a form was; an older one sends an `Origin`.
    fn is_from_here(&self, request: &Request) -> bool {
        let sites = request.headers().get_all("sec-fetch-site");
        if sites.iter().next().is_some() {
            return sites.iter().all(|site| site == "same-origin");
        }
        let port = local_port(request);
        let came_from = self.origin_policy.check(request.uri(), request.headers(), port);
        matches!(came_from, Ok(Some(_)))
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Paged<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let frame = Frame::of(&request);
        let answer = self.answer(request).await;
        let mut response = answer.unwrap_or_else(|page| page.show(&frame));
        protect(&mut response, self.https, self.in_popups);
        Ok(response)
    }
}
