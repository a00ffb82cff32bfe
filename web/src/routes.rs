//! The list of all paths, grouped by caller.

use std::sync::Arc;

use app::metrics::HTTP_FAILURES;
use http::Uri;
use poem::{Endpoint, EndpointExt as _, IntoEndpoint, Request, Response, Route, get};

use crate::{
    api::{
        self,
        downloads::{self, Downloads},
        metrics::{self, Metrics},
    },
    http::{
        body::NetworkBodies,
        cors::{PUBLIC_METHODS, Public},
        observe::{Named, Observed},
        probes::METRICS,
    },
    instance::Instance,
    mcp::{
        self,
        paths::{MCP, PROTECTED_RESOURCE_MCP, PROTECTED_RESOURCE_MCP_SLASH},
    },
    oauth::{self, ForClients},
    pages::{
        account::{self, Account},
        authorize::{self, Authorize},
        consent::{self, Consent},
        home::Home,
        not_found::NotFoundPage,
        paged::Paged,
        reference,
        sign_in::{self, Callback, Development},
        signed_in::{
            SignedIn, UserPage,
            files::{self, FilePage},
            jobs::{self, JobsPage},
            section::{self, SectionPage},
            security::SecurityPage,
            tabs,
        },
    },
};

const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";

const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// The methods of a read-only path.
const READ: &str = "GET, HEAD";

/// All endpoints of one instance.
pub(crate) fn all(instance: &Instance) -> anyhow::Result<impl Endpoint<Output = Response> + use<>> {
    let api = api::app(instance);
    let document = api.spec();
    let api = Arc::new(api.into_endpoint());

    let public = |inner| Public { methods: PUBLIC_METHODS, inner };
    let for_clients = |inner| -> anyhow::Result<_> {
        Ok(Public { methods: oauth::METHODS, inner: ForClients::new(instance, inner)? })
    };

    let routes = RouteList::default()
        // MCP clients, with an access token.
        .at(MCP, mcp::METHODS, mcp::Mcp::new(instance)?)
        .alias("/mcp/", MCP, mcp::METHODS, mcp::Mcp::new(instance)?)
        // Discovery by clients: public, from any origin.
        .at(PROTECTED_RESOURCE, PUBLIC_METHODS, public(api.clone()))
        .at(PROTECTED_RESOURCE_MCP, PUBLIC_METHODS, public(api.clone()))
        .alias(
            PROTECTED_RESOURCE_MCP_SLASH,
            PROTECTED_RESOURCE_MCP,
            PUBLIC_METHODS,
            Public { methods: PUBLIC_METHODS, inner: WithoutSlash(api.clone()) },
        )
        .at(AUTHORIZATION_SERVER, PUBLIC_METHODS, public(api.clone()))
        .at("/.well-known/jwks.json", PUBLIC_METHODS, public(api.clone()))
        // OAuth requests of clients: from any origin, without cookies.
        .at("/register", oauth::METHODS, for_clients(api.clone())?)
        .at("/token", oauth::METHODS, for_clients(api.clone())?)
        .at("/revoke", oauth::METHODS, for_clients(api.clone())?)
        // The platform that runs the server.
        .at("/healthz", READ, api.clone())
        .at("/livez", READ, api)
        .at(METRICS, metrics::METHODS, get(Metrics::new(instance)))
        // Downloads: anyone with the URL of a file.
        .at(downloads::PATH, downloads::METHODS, Downloads::new(instance))
        // Browsers, sent by a client: the steps of a sign-in.
        .step(instance, "/authorize", authorize::METHODS, Authorize::new(instance))?
        .step(instance, "/consent", consent::METHODS, Consent::new(instance))?
        .step(instance, sign_in::PATH, sign_in::METHODS, Development::new(instance))?
        .callbacks(instance)?
        // Browsers, opened by the user.
        .page(instance, "/", READ, Home::new(instance))?
        .page(instance, "/account", account::METHODS, Account::new(instance))?
        .page(instance, account::DELETE_PATH, READ, Account::new(instance))?
        .user_page(instance, tabs::JOBS, jobs::METHODS, JobsPage)?
        .user_page(instance, files::PATH, READ, FilePage)?
        .user_page(instance, tabs::SECURITY, READ, SecurityPage)?
        .user_page(instance, section::PATH, section::METHODS, SectionPage)?
        .user_page(instance, section::ITEM_PATH, section::METHODS, SectionPage)?
        .page(instance, "/docs", READ, reference::Docs::new(instance))?
        .at(
            "/openapi.json",
            PUBLIC_METHODS,
            Public { methods: PUBLIC_METHODS, inner: get(reference::document(document)) },
        );
    let routes = routes.0.data(NetworkBodies::new(&instance.bodies, &instance.app));
    Ok(Observed::new(*instance.app.product().brand(), NotFoundPage::new(instance, routes)))
}

/// Removes the trailing slash of the path, which the router of the API does not know.
struct WithoutSlash<E>(E);

impl<E: Endpoint> Endpoint for WithoutSlash<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> poem::Result<Self::Output> {
        let path = request.uri().path().trim_end_matches('/');
        // A path without its trailing slash is always valid; if not, the router responds.
        if let Ok(uri) = Uri::try_from(path) {
            *request.uri_mut() = uri;
        }
        self.0.call(request).await
    }
}

#[derive(Default)]
struct RouteList(Route);

impl RouteList {
    fn at(self, name: &'static str, methods: &'static str, inner: impl Endpoint + 'static) -> Self {
        self.alias(name, name, methods, inner)
    }

    /// Adds another path for the route that is called `name` in logs and metrics.
    fn alias(
        self,
        path: &'static str,
        name: &'static str,
        methods: &'static str,
        inner: impl Endpoint + 'static,
    ) -> Self {
        HTTP_FAILURES.add([name, "status"], 0);
        let named = Named { name, methods, inner };
        Self(self.0.at(path, named))
    }

    /// Adds a page.
    fn page(
        self,
        instance: &Instance,
        name: &'static str,
        methods: &'static str,
        inner: impl Endpoint<Output = Response> + 'static,
    ) -> anyhow::Result<Self> {
        let inner = Paged::new(instance, methods, inner)?;
        Ok(self.at(name, methods, inner))
    }

    /// Adds a page of a signed-in user.
    fn user_page(
        self,
        instance: &Instance,
        name: &'static str,
        methods: &'static str,
        page: impl UserPage + 'static,
    ) -> anyhow::Result<Self> {
        self.page(instance, name, methods, SignedIn::new(instance, page))
    }

    /// Adds the callbacks of the identity providers. Their paths come from the configuration, which
    /// is read once, so their names, which have to be static, live as long as the process.
    fn callbacks(self, instance: &Instance) -> anyhow::Result<Self> {
        let providers = instance.app.oauth().providers().iter();
        providers.filter_map(|provider| Some((provider, provider.callback_path()?))).try_fold(
            self,
            |routes, (provider, path)| {
                let callback = Callback::new(instance, Arc::clone(provider));
                let name = path.to_owned().leak();
                routes.step(instance, name, sign_in::CALLBACK_METHODS, callback)
            },
        )
    }

    /// Adds a page that is a step of a sign-in.
    fn step(
        self,
        instance: &Instance,
        name: &'static str,
        methods: &'static str,
        inner: impl Endpoint<Output = Response> + 'static,
    ) -> anyhow::Result<Self> {
        let inner = Paged::new(instance, methods, inner)?.in_popups();
        Ok(self.at(name, methods, inner))
    }
}
