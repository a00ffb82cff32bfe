//! Discovery documents for clients.

#![expect(clippy::unused_async, reason = "poem-openapi requires async endpoints")]

use app::App;
use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, Tags, payload::Json, types::ParseFromJSON as _};

use crate::{
    http::{
        dpop,
        error::{ErrorBody, RETRY_AFTER_SECONDS},
        request_id::RequestId,
    },
    instance::Instance,
};

/// `/.well-known/…`.
#[derive(Clone)]
pub(crate) struct WellKnown {
    app: App,
}

#[derive(Tags)]
enum Tag {
    /// For clients that discover this server.
    Discovery,
}

/// The protected resource metadata of the MCP endpoint (RFC 9728).
#[derive(Object)]
struct ProtectedResource {
    /// The MCP endpoint, the audience of access tokens.
    resource: String,
    /// The authorization servers that issue access tokens for it.
    authorization_servers: Vec<String>,
    /// The scopes of access tokens.
    scopes_supported: Vec<String>,
    /// Where a request may carry the token.
    bearer_methods_supported: Vec<String>,
    /// A name for people.
    resource_name: String,
    /// The documentation.
    resource_documentation: String,
    /// The signature algorithms of DPoP proofs (RFC 9449). Absent if DPoP is off.
    #[oai(skip_serializing_if_is_none)]
    dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// Whether every access token has to be bound to a key. Absent if DPoP is off.
    #[oai(skip_serializing_if_is_none)]
    dpop_bound_access_tokens_required: Option<bool>,
}

/// The public keys that verify access tokens (RFC 7517).
#[derive(Object)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// An elliptic-curve public key.
#[derive(Object)]
struct PublicKey {
    kty: String,
    crv: String,
    x: String,
    y: String,
    alg: String,
    /// The key id in the header of tokens.
    kid: String,
    /// The use of the key: `sig`.
    #[oai(rename = "use")]
    usage: String,
}

#[derive(ApiResponse)]
enum ProtectedResourceResponse {
    /// The document.
    #[oai(status = 200)]
    Found(
        Json<ProtectedResource>,
        /// How long the document may be cached.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[derive(ApiResponse)]
enum KeySetResponse {
    /// The keys of all valid tokens.
    #[oai(status = 200)]
    Found(
        Json<KeySet>,
        /// How long the document may be cached.
        #[oai(header = "Cache-Control")]
        String,
    ),
    /// The keys cannot be read at the moment. Keep using the ones you have and ask again.
    #[oai(status = 503)]
    Unavailable(
        Json<ErrorBody>,
        /// Seconds to wait before asking again.
        #[oai(header = "Retry-After")]
        u32,
    ),
}

/// The `Cache-Control` of the documents. A new key is published for longer than this before it
/// signs.
const CACHE: &str = "public, max-age=300";

impl WellKnown {
    pub(super) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    fn document(&self, resource: String) -> ProtectedResourceResponse {
        let public_url = &self.app.config().public_url;
        let mode = self.app.oauth().dpop().mode();
        let document = ProtectedResource {
            resource,
            authorization_servers: vec![public_url.to_string()],
            scopes_supported: self
                .app
                .product()
                .scopes()
                .defaults()
                .iter()
                .map(str::to_owned)
                .collect(),
            bearer_methods_supported: vec!["header".to_owned()],
            resource_name: self.app.product().brand().program.to_owned(),
            resource_documentation: format!("{public_url}/"),
            dpop_signing_alg_values_supported: dpop::algorithms(&self.app),
            dpop_bound_access_tokens_required: mode.is_on().then_some(mode.is_required()),
        };
        ProtectedResourceResponse::Found(Json(document), CACHE.to_owned())
    }
}

#[OpenApi(tag = "Tag::Discovery")]
impl WellKnown {
    /// The MCP endpoint as a protected resource
    ///
    /// RFC 9728. The path that belongs to `/mcp`, and that the challenge of a 401 names.
    #[oai(
        path = "/.well-known/oauth-protected-resource/mcp",
        method = "get",
        operation_id = "protected_resource_of_mcp"
    )]
    async fn protected_resource_of_mcp(&self, request: &Request) -> ProtectedResourceResponse {
        let mut resource = self.app.config().public_url.mcp();
        // A client that uses the endpoint `/mcp/` compares this with its URL.
        if request.original_uri().path().ends_with('/') {
            resource.push('/');
        }
        self.document(resource)
    }

    /// The MCP endpoint as a protected resource, at the root
    ///
    /// The same document, for clients that look only at the root.
    #[oai(
        path = "/.well-known/oauth-protected-resource",
        method = "get",
        operation_id = "protected_resource"
    )]
    async fn protected_resource(&self) -> ProtectedResourceResponse {
        self.document(self.app.config().public_url.mcp())
    }

    /// The public keys of access tokens
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "keys")]
    async fn keys(&self, request: Data<&RequestId>) -> KeySetResponse {
        let keys = self.app.oauth().keys().jwks().await;
        match keys.map(|keys| KeySet::parse_from_json(Some((*keys).clone()))) {
            Ok(Ok(keys)) => KeySetResponse::Found(Json(keys), CACHE.to_owned()),
            Ok(Err(error)) => {
                panic!("the published key set is malformed: {}", error.into_message())
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not read the signing keys"
                );
                let description = "The keys cannot be read at the moment. Keep using the ones you \
                                   have and ask again in a few seconds.";
                let body = ErrorBody::new("temporarily_unavailable", description, &request);
                KeySetResponse::Unavailable(Json(body), RETRY_AFTER_SECONDS)
            }
        }
    }
}
