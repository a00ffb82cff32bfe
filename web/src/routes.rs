//! Every path, one list, grouped by who calls it.

use std::sync::Arc;

use poem::{Endpoint, IntoEndpoint, Response, Route, get};

use crate::{
    Instance, api,
    cors::{PUBLIC_METHODS, Public},
    mcp,
    observe::{Named, Observed},
    pages,
};

/// The document of the protected resource, at the path that RFC 9728 derives from `…/mcp`. The
/// challenge of a 401 points here.
pub(crate) const PROTECTED_RESOURCE_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// What a platform asks every few seconds: logged only when the answer is bad.
pub(crate) const PROBES: [&str; 2] = ["/healthz", "/livez"];

/// The methods of a path that only shows something.
const READ: &str = "GET, HEAD";

/// Everything that one instance answers.
pub(crate) fn all(instance: &Instance) -> anyhow::Result<impl Endpoint<Output = Response> + use<>> {
    let api = api::service(instance);
    let document = api.spec();
    let api = Arc::new(api.into_endpoint());

    let routes = Listed::default()
        // MCP clients, with an access token.
        .at("/mcp", mcp::METHODS, mcp::Mcp::new(instance)?)
        // MCP clients that look for the way in: public, from any page.
        .at(
            "/.well-known/oauth-protected-resource",
            PUBLIC_METHODS,
            Public(api.clone()),
        )
        .at(PROTECTED_RESOURCE_MCP, PUBLIC_METHODS, Public(api.clone()))
        .at(
            "/.well-known/jwks.json",
            PUBLIC_METHODS,
            Public(api.clone()),
        )
        // The platform that runs us.
        .at("/healthz", READ, api.clone())
        .at("/livez", READ, api)
        // People with a browser.
        .at("/", READ, get(pages::welcome(instance)))
        .at("/docs", READ, get(pages::reference(instance)))
        .at(
            "/openapi.json",
            PUBLIC_METHODS,
            Public(get(pages::document(document))),
        );
    Ok(Observed(routes.0))
}

#[derive(Default)]
struct Listed(Route);

impl Listed {
    fn at(self, name: &'static str, methods: &'static str, inner: impl Endpoint + 'static) -> Self {
        let named = Named {
            name,
            methods,
            inner,
        };
        Self(self.0.at(name, named))
    }
}
