//! The documents by which a client finds the way in.

#![expect(clippy::unused_async, reason = "poem-openapi wants every endpoint to be async")]

use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, Tags, payload::Json, types::ParseFromJSON as _};
use service::{Service, oauth::scope};

use crate::{
    http::{
        error::{ErrorBody, RETRY_AFTER_SECONDS},
        request_id::RequestId,
    },
    instance::Instance,
};

/// `/.well-known/…`.
#[derive(Clone)]
pub(crate) struct WellKnown {
    service: Service,
}

#[derive(Tags)]
enum Tag {
    /// For clients that look for the way in.
    Discovery,
}

/// What the MCP endpoint is and who gives out its access tokens (RFC 9728).
#[derive(Object)]
struct ProtectedResource {
    /// The MCP endpoint. Access tokens are made for exactly this.
    resource: String,
    /// Who gives out access tokens for it.
    authorization_servers: Vec<String>,
    /// The scopes that a token can have.
    scopes_supported: Vec<String>,
    /// Where a token may stand in a request.
    bearer_methods_supported: Vec<String>,
    /// A name for people.
    resource_name: String,
    /// Where to read more.
    resource_documentation: String,
}

/// The public halves of the keys that sign access tokens (RFC 7517).
#[derive(Object)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// One public key, an elliptic-curve one.
#[derive(Object)]
struct PublicKey {
    kty: String,
    crv: String,
    x: String,
    y: String,
    alg: String,
    /// The name by which a token says which key signed it.
    kid: String,
    /// What the key is for: `sig`.
    #[oai(rename = "use")]
    usage: String,
}

#[derive(ApiResponse)]
enum ProtectedResourceAnswer {
    /// The document.
    #[oai(status = 200)]
    Found(
        Json<ProtectedResource>,
        /// How long the document may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[derive(ApiResponse)]
enum KeySetAnswer {
    /// All keys that a valid token may be signed with.
    #[oai(status = 200)]
    Found(
        Json<KeySet>,
        /// How long the document may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
    /// The keys cannot be read at the moment. Go on with the ones you have and ask again.
    #[oai(status = 503)]
    Away(
        Json<ErrorBody>,
        /// Seconds until it is worth asking again.
        #[oai(header = "Retry-After")]
        u32,
    ),
}

/// A new key is published for longer than this before it signs.
const CACHE: &str = "public, max-age=300";

impl WellKnown {
    pub(super) fn new(instance: &Instance) -> Self {
        Self { service: instance.service.clone() }
    }

    fn document(&self, resource: String) -> ProtectedResourceAnswer {
        let public_url = &self.service.config().public_url;
        let document = ProtectedResource {
            resource,
            authorization_servers: vec![public_url.to_string()],
            scopes_supported: scope::ALL.iter().map(ToString::to_string).collect(),
            bearer_methods_supported: vec!["header".to_owned()],
            resource_name: "notes-mcp".to_owned(),
            resource_documentation: format!("{public_url}/"),
        };
        ProtectedResourceAnswer::Found(Json(document), CACHE.to_owned())
    }
}

#[OpenApi(tag = "Tag::Discovery")]
impl WellKnown {
    /// The MCP endpoint as a protected resource
    ///
    /// RFC 9728. This is the path that belongs to `/mcp`, and the one that a 401 names.
    #[oai(
        path = "/.well-known/oauth-protected-resource/mcp",
        method = "get",
        operation_id = "protected_resource_of_mcp"
    )]
    async fn protected_resource_of_mcp(&self, request: &Request) -> ProtectedResourceAnswer {
        let mut resource = self.service.config().public_url.mcp();
        // A client that writes the endpoint `/mcp/` compares that with what it reads here.
        if request.original_uri().path().ends_with('/') {
            resource.push('/');
        }
        self.document(resource)
    }

    /// The MCP endpoint as a protected resource, at the root
    ///
    /// The same document, for clients that look at the root only.
    #[oai(
        path = "/.well-known/oauth-protected-resource",
        method = "get",
        operation_id = "protected_resource"
    )]
    async fn protected_resource(&self) -> ProtectedResourceAnswer {
        self.document(self.service.config().public_url.mcp())
    }

    /// The public keys of access tokens
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "keys")]
    async fn keys(&self, request: Data<&RequestId>) -> KeySetAnswer {
        let keys = self.service.keys().jwks().await;
        match keys.map(|keys| KeySet::parse_from_json(Some((*keys).clone()))) {
            Ok(Ok(keys)) => KeySetAnswer::Found(Json(keys), CACHE.to_owned()),
            Ok(Err(error)) => panic!("our own key set is malformed: {}", error.into_message()),
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not read the signing keys: {error}"
                );
                let description = "The keys cannot be read at the moment. Go on with the ones you \
                                   have and ask again in a few seconds.";
                let body = ErrorBody::new("temporarily_unavailable", description, &request);
                KeySetAnswer::Away(Json(body), RETRY_AFTER_SECONDS)
            }
        }
    }
}
